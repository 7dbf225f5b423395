//! A users service that does to each create what a script says: the faults that a client can meet.

use std::cell::Cell;
use std::future::pending;
use std::net::TcpListener;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use capnp::{Error, text};
use credentials::ServerTls;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, duplex, sink, split,
};
use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;
use users_rpc::transport;
use users_rpc::users_capnp::{call_context, create_user_response, users};

/// Is part of each e-mail address, by which the bytes of a create are recognised.
pub const EMAIL_DOMAIN: &str = "@conformance.example.com";

/// What the service does with a create, and with each user of a call that creates many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Creates,
    /// Says that an earlier call stored the user.
    Replays,
    SaysEmailTaken,
    /// Gives the users of a call every answer there is, in turn.
    AnswersEachItsOwn,
    Overloaded,
    /// Refuses the call as `overloaded` when the time is over that its caller gave.
    OverloadedInTheEnd,
    Fails,
    Unimplemented,
    /// Never answers.
    Hangs,
    /// Answers with bytes that are no message.
    SendsGarbage,
    DiesAfterReading,
    /// Ends when the bytes of the call have arrived, and are not looked at.
    DiesBeforeReading,
    /// Refuses connections from now on. Comes after a step that ends the connection, or first.
    GoesAway,
}

/// What the service answers of one user.
#[derive(Clone, Copy)]
enum Answer {
    Created,
    Replayed,
    EmailTaken,
    IdConflict,
    Invalid,
    /// Of one of many users only, like the next.
    Overloaded,
    Failed,
}

const EVERY_ANSWER: [Answer; 7] = [
    Answer::Created,
    Answer::Replayed,
    Answer::EmailTaken,
    Answer::IdConflict,
    Answer::Invalid,
    Answer::Overloaded,
    Answer::Failed,
];

/// Starts a service on a port of its own, which follows the script and repeats its last step for ever.
/// It has no other method, not even `health`. Returns its address; it ends with this process.
pub fn start(script: &'static [Step]) -> String {
    start_with(script, None)
}

/// The same with mutual TLS. The address has the name `localhost`.
pub fn start_with_tls(script: &'static [Step], tls: ServerTls) -> String {
    start_with(script, Some(tls)).replace("127.0.0.1", "localhost")
}

fn start_with(script: &'static [Step], tls: Option<ServerTls>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    if script[0] != Step::GoesAway {
        thread::spawn(move || {
            let runtime = LocalRuntime::new().unwrap();
            runtime.block_on(serve(listener, script, tls));
        });
    }
    addr
}

/// What is left of the script, for all connections.
struct Script {
    steps: Cell<&'static [Step]>,
    goes_away: Notify,
    is_away: Notify,
}

impl Script {
    fn take_step(&self) -> Step {
        let steps = self.steps.get();
        if let [_, rest @ ..] = steps
            && !rest.is_empty()
        {
            self.steps.set(rest);
        }
        steps[0]
    }

    /// Closes the port before the connection ends, when the script says that the service is away then.
    async fn leave_if_told(&self) {
        if self.steps.get()[0] == Step::GoesAway {
            self.goes_away.notify_one();
            self.is_away.notified().await;
        }
    }
}

async fn serve(listener: TcpListener, steps: &'static [Step], tls: Option<ServerTls>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let script = Rc::new(Script {
        steps: Cell::new(steps),
        goes_away: Notify::new(),
        is_away: Notify::new(),
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.unwrap();
                let (script, tls) = (script.clone(), tls.clone());
                spawn_local(async move {
                    let Some(tls) = tls else {
                        return Connection::serve(socket, script).await;
                    };
                    if let Ok(stream) = tls.accept(socket).await {
                        Connection::serve(stream, script).await;
                    }
                });
            }
            () = script.goes_away.notified() => break,
        }
    }
    drop(listener);
    script.is_away.notify_one();
    pending::<()>().await;
}

/// The service as one connection sees it.
struct Connection {
    script: Rc<Script>,
    dies: Notify,
    garbage: Notify,
}

impl Connection {
    /// Carries bytes between the stream and the RPC system, until one of them or the script ends it.
    async fn serve(stream: impl AsyncRead + AsyncWrite, script: Rc<Script>) {
        let connection = Rc::new(Self {
            script,
            dies: Notify::new(),
            garbage: Notify::new(),
        });
        let (near, far) = duplex(64 * 1024);
        let bootstrap: users::Client = capnp_rpc::new_client_from_rc(connection.clone());
        spawn_local(transport::server(far, bootstrap.client).system);

        let (mut from_peer, mut to_peer) = split(stream);
        let (mut from_rpc, mut to_rpc) = split(near);
        let requests = async {
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(count @ 1..) = from_peer.read(&mut buffer).await {
                let bytes = &buffer[..count];
                if connection.dies_before_reading(bytes) || to_rpc.write_all(bytes).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = requests => {}
            _ = copy(&mut from_rpc, &mut to_peer) => {}
            () = connection.dies.notified() => {}
            () = connection.garbage.notified() => {
                let _ = to_peer.write_all(&[b'?'; 1024]).await;
                let _ = copy(&mut from_peer, &mut sink()).await;
            }
        }
        connection.script.leave_if_told().await;
    }

    fn dies_before_reading(&self, bytes: &[u8]) -> bool {
        let marker = EMAIL_DOMAIN.as_bytes();
        let is_create = bytes.windows(marker.len()).any(|window| window == marker);
        let dies = is_create && self.script.steps.get()[0] == Step::DiesBeforeReading;
        if dies {
            self.script.take_step();
        }
        dies
    }

    /// Does what the script says to a call that creates. Returns the answers that its users get in turn, if
    /// it is to have an answer.
    async fn answers(&self, context: call_context::Reader<'_>) -> Result<&'static [Answer], Error> {
        let time_given = Duration::from_millis(context.get_timeout_ms().into());
        match self.script.take_step() {
            Step::Creates => return Ok(&[Answer::Created]),
            Step::Replays => return Ok(&[Answer::Replayed]),
            Step::SaysEmailTaken => return Ok(&[Answer::EmailTaken]),
            Step::AnswersEachItsOwn => return Ok(&EVERY_ANSWER),
            Step::Overloaded => return Err(Error::overloaded("busy".into())),
            Step::OverloadedInTheEnd => {
                sleep(time_given).await;
                return Err(Error::overloaded("too late".into()));
            }
            Step::Fails => return Err(Error::failed("who knows".into())),
            Step::Unimplemented => return Err(Error::unimplemented("what".into())),
            Step::SendsGarbage => self.garbage.notify_one(),
            Step::DiesAfterReading => self.dies.notify_one(),
            Step::Hangs | Step::DiesBeforeReading | Step::GoesAway => {}
        }
        pending().await
    }
}

impl users::Server for Connection {
    async fn create_user(
        self: Rc<Self>,
        params: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let answers = self.answers(request.get_context()?).await?;
        let user = [request.get_id()?, request.get_email()?, request.get_name()?];
        write_answer(answers[0], user, results.get());
        Ok(())
    }

    async fn create_users(
        self: Rc<Self>,
        params: users::CreateUsersParams,
        mut results: users::CreateUsersResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let answers = self.answers(request.get_context()?).await?;
        let users = request.get_users()?;
        let mut list = results.get().init_results(users.len());
        for ((i, new), answer) in (0..).zip(users.iter()).zip(answers.iter().cycle()) {
            let mut result = list.reborrow().get(i);
            match answer {
                Answer::Overloaded => result.set_overloaded(()),
                Answer::Failed => result.set_failed(()),
                _ => {
                    let user = [new.get_id()?, new.get_email()?, new.get_name()?];
                    write_answer(*answer, user, result.init_done());
                }
            }
        }
        Ok(())
    }
}

/// Writes an answer of a user with this id, e-mail address and name.
fn write_answer(
    answer: Answer,
    [id, email, name]: [text::Reader; 3],
    mut response: create_user_response::Builder,
) {
    response.set_replayed(matches!(answer, Answer::Replayed));
    match answer {
        Answer::Created | Answer::Replayed => {
            let mut user = response.init_user();
            user.set_id(id);
            user.set_email(email);
            user.set_name(name);
        }
        Answer::EmailTaken => response.set_email_taken(()),
        Answer::IdConflict => response.set_id_conflict(()),
        Answer::Invalid => {
            let mut error = response.init_invalid(1).get(0);
            error.set_field("email");
            error.set_reason("must be better");
        }
        Answer::Overloaded | Answer::Failed => unreachable!("a create has no such answer"),
    }
}
