//! A users service that does to each create what a script says: the faults that a client can meet.

use std::cell::Cell;
use std::future::pending;
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
use users_rpc::{transport, users_capnp::users};

/// Is part of each e-mail address, by which the bytes of a create are recognised.
pub const EMAIL_DOMAIN: &str = "@conformance.example.com";

/// What the service does with a create.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Creates,
    /// Says that an earlier call stored the user.
    Replays,
    SaysEmailTaken,
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
}

impl users::Server for Connection {
    async fn create_user(
        self: Rc<Self>,
        params: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), Error> {
        let request = params.get()?;
        let time_given = Duration::from_millis(request.get_context()?.get_timeout_ms().into());
        let mut response = results.get();
        let step = self.script.take_step();
        match step {
            Step::Creates | Step::Replays => {
                response.set_replayed(step == Step::Replays);
                let mut user = response.init_user();
                user.set_id(request.get_id()?);
                user.set_email(request.get_email()?);
                user.set_name(request.get_name()?);
                return Ok(());
            }
            Step::SaysEmailTaken => {
                response.set_email_taken(());
                return Ok(());
            }
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
