//! A users service that does to each create what a script says: the faults that a client can meet.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use capnp::Error;
use credentials::ServerTls;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, duplex, sink, split,
};
use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;
use users_rpc::transport;
use users_rpc::users_capnp::{call_context, users};

use crate::messages::{new_user, write_answer, write_answers};
use crate::{Answer, Attempts, NewUser, Step};

/// Is part of each e-mail address, by which the bytes of a create are recognised.
pub const EMAIL_DOMAIN: &str = "@conformance.example.com";

/// A service that follows a script, and repeats its last step for ever. It has no method but those that
/// create, not even `health`. It ends with this process.
pub struct ScriptedService {
    /// Where it listens: `HOST:PORT`.
    pub addr: String,
    /// What has reached it.
    pub attempts: Attempts,
}

impl ScriptedService {
    /// Starts a service on a port of its own.
    pub fn start(script: &'static [Step]) -> io::Result<Self> {
        Self::start_with(script, None)
    }

    /// The same with mutual TLS. The address has the name `localhost`.
    pub fn start_with_tls(script: &'static [Step], tls: ServerTls) -> io::Result<Self> {
        Self::start_with(script, Some(tls))
    }

    fn start_with(steps: &'static [Step], tls: Option<ServerTls>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let host = if tls.is_some() {
            "localhost"
        } else {
            "127.0.0.1"
        };
        let addr = format!("{host}:{}", listener.local_addr()?.port());

        let attempts = Attempts::default();
        if steps[0] != Step::GoesAway {
            let attempts = attempts.clone();
            thread::Builder::new().spawn(move || {
                let served = LocalRuntime::new()
                    .and_then(|runtime| runtime.block_on(serve(listener, steps, attempts, tls)));
                if let Err(error) = served {
                    eprintln!("the scripted service cannot go on: {error}");
                }
            })?;
        }
        Ok(Self { addr, attempts })
    }
}

/// What is left of the script, for all connections.
struct Script {
    steps: Cell<&'static [Step]>,
    attempts: Attempts,
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

async fn serve(
    listener: TcpListener,
    steps: &'static [Step],
    attempts: Attempts,
    tls: Option<ServerTls>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let script = Rc::new(Script {
        steps: Cell::new(steps),
        attempts,
        goes_away: Notify::new(),
        is_away: Notify::new(),
    });

    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
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
    pending().await
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
            self.script.attempts.arrived(None);
        }
        dies
    }

    /// Does what the script says to a call that creates these users. Returns the answers that they get in
    /// turn, if the call is to have an answer.
    async fn answers(
        &self,
        users: Vec<NewUser>,
        context: call_context::Reader<'_>,
    ) -> Result<&'static [Answer], Error> {
        let attempts = &self.script.attempts;
        let number = attempts.arrived(Some(users));
        let step = self.script.take_step();
        match step {
            Step::OverloadedInTheEnd => {
                sleep(Duration::from_millis(context.get_timeout_ms().into())).await;
            }
            Step::SendsGarbage => self.garbage.notify_one(),
            Step::DiesAfterReading => self.dies.notify_one(),
            _ => {}
        }

        let Some(answers) = step.answers() else {
            return pending().await;
        };
        attempts.answered(number, answers);
        match step {
            Step::Overloaded => Err(Error::overloaded("busy".into())),
            Step::OverloadedInTheEnd => Err(Error::overloaded("too late".into())),
            Step::Fails => Err(Error::failed("who knows".into())),
            Step::Unimplemented => Err(Error::unimplemented("what".into())),
            _ => Ok(answers),
        }
    }
}

impl users::Server for Connection {
    async fn create_user(
        self: Rc<Self>,
        params: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let user = [request.get_id()?, request.get_email()?, request.get_name()?];
        let users = vec![new_user(user)?];
        let answers = self.answers(users, request.get_context()?).await?;
        write_answer(answers[0], user, &mut results)
    }

    async fn create_users(
        self: Rc<Self>,
        params: users::CreateUsersParams,
        mut results: users::CreateUsersResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let users = request.get_users()?;
        let new = users
            .iter()
            .map(|new| new_user([new.get_id()?, new.get_email()?, new.get_name()?]))
            .collect::<Result<_, Error>>()?;
        let answers = self.answers(new, request.get_context()?).await?;
        write_answers(answers, users, &mut results)
    }
}
