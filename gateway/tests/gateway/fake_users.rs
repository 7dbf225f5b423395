//! A fake users service: a real vat on a real socket, with given answers.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio_util::sync::CancellationToken;
use users_rpc::transport;
use users_rpc::users_capnp::{user, users};
use uuid::Uuid;

/// What the fake answers to `createUser`, and to the reads where it fits.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Stored,
    Replayed,
    Invalid,
    EmailTaken,
    IdConflict,
    Overloaded,
    Failed,
    /// Ends the connection instead of answering.
    Disconnect,
    /// Never.
    Silence,
    Unimplemented,
    /// As `Stored`; and each connection ends when it is known to be healthy.
    HangUp,
}

pub const JANES_ID: &str = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";

/// A call that reached the fake.
#[derive(Clone, Debug)]
pub struct ReceivedCall {
    /// Of the user; or the e-mail address to find, or the size and the token of a page.
    pub id: String,
    pub timeout_ms: u32,
}

/// A fake users service. It gives the answers in turn, and the last one ever after.
pub struct FakeUsers {
    pub addr: SocketAddr,
    pub received: Arc<Mutex<Vec<ReceivedCall>>>,
    /// How many there have been.
    pub connections: Arc<AtomicUsize>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl FakeUsers {
    pub fn start(answers: &[Answer]) -> Self {
        // On a port that stays free when it stops.
        let addr = postgres_server::ports::free_addr().unwrap();
        Self::start_on(TcpListener::bind(addr).unwrap(), answers)
    }

    pub fn start_on(listener: TcpListener, answers: &[Answer]) -> Self {
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (received, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (log, stopped, answers) = (received.clone(), stop.clone(), answers.to_vec());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let thread = std::thread::spawn(move || {
            let runtime = LocalRuntime::new();
            let fake = Rc::new(Fake {
                answers: RefCell::new(answers),
                received: log,
                connections: count,
            });
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let serve = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        fake.connections.fetch_add(1, Ordering::Relaxed);
                        tokio::task::spawn_local(fake.clone().serve(stream));
                    }
                };
                tokio::select! { () = serve => {}, () = stopped.cancelled() => {} }
            });
        });
        Self {
            addr,
            received,
            connections,
            stop,
            thread: Some(thread),
        }
    }

    pub fn calls(&self) -> usize {
        self.received.lock().unwrap().len()
    }
}

impl Drop for FakeUsers {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().unwrap().join();
    }
}

struct Fake {
    answers: RefCell<Vec<Answer>>,
    received: Arc<Mutex<Vec<ReceivedCall>>>,
    connections: Arc<AtomicUsize>,
}

/// The fake as one connection sees it.
struct FakeConnection {
    fake: Rc<Fake>,
    hang_up: CancellationToken,
}

impl Fake {
    async fn serve(self: Rc<Self>, stream: tokio::net::TcpStream) {
        let hang_up = CancellationToken::new();
        let users = FakeConnection {
            fake: self,
            hang_up: hang_up.clone(),
        };
        let bootstrap: users::Client = capnp_rpc::new_client(users);
        let connection = transport::server(stream, bootstrap.client);
        let disconnector = connection.system.get_disconnector();
        tokio::task::spawn_local(connection.system);
        hang_up.cancelled().await;
        let _ = disconnector.await;
    }
}

impl FakeConnection {
    async fn next(&self) -> Result<Answer, capnp::Error> {
        let answer = {
            let mut answers = self.fake.answers.borrow_mut();
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0]
            }
        };
        match answer {
            Answer::Overloaded => Err(capnp::Error::overloaded("busy".into())),
            Answer::Failed => Err(capnp::Error::failed("who knows".into())),
            Answer::Unimplemented => Err(capnp::Error::unimplemented("what".into())),
            Answer::Disconnect | Answer::Silence => {
                if let Answer::Disconnect = answer {
                    self.hang_up.cancel();
                }
                std::future::pending().await
            }
            answer => Ok(answer),
        }
    }

    fn record(&self, received: ReceivedCall) {
        self.fake.received.lock().unwrap().push(received);
    }
}

fn set_jane(mut user: user::Builder, id: &str) {
    user.set_id(id);
    user.set_email("jane@example.com");
    user.set_name("Jane Doe");
}

impl users::Server for FakeConnection {
    async fn create_user(
        self: Rc<Self>,
        params: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let (id, email) = (
            request.get_id()?.to_string()?,
            request.get_email()?.to_string()?,
        );
        let timeout_ms = request.get_context()?.get_timeout_ms();
        self.record(ReceivedCall {
            id: id.clone(),
            timeout_ms,
        });
        let answer = self.next().await?;
        let mut response = results.get();
        response.set_replayed(matches!(answer, Answer::Replayed));
        match answer {
            Answer::Invalid => {
                let fields = ["email", "name", "id"];
                // The nil UUID is the only invalid id that a gateway sends.
                let faults = if id == Uuid::nil().to_string() { 3 } else { 2 };
                let mut faults = response.init_invalid(faults);
                for (i, field) in (0..faults.len()).zip(fields) {
                    let mut fault = faults.reborrow().get(i);
                    fault.set_field(field);
                    fault.set_reason("must be better");
                }
            }
            Answer::EmailTaken => response.set_email_taken(()),
            Answer::IdConflict => response.set_id_conflict(()),
            _ => {
                let mut user = response.init_user();
                user.set_id(&id);
                user.set_email(&email);
                user.set_name(request.get_name()?);
            }
        }
        Ok(())
    }

    async fn get_user(
        self: Rc<Self>,
        params: users::GetUserParams,
        mut results: users::GetUserResults,
    ) -> Result<(), capnp::Error> {
        let id = params.get()?.get_id()?.to_string()?;
        self.record(ReceivedCall {
            id: id.clone(),
            timeout_ms: 0,
        });
        match self.next().await? {
            Answer::Stored => set_jane(results.get().init_user(), &id),
            _ => results.get().set_not_found(()),
        }
        Ok(())
    }

    async fn find_user(
        self: Rc<Self>,
        params: users::FindUserParams,
        mut results: users::FindUserResults,
    ) -> Result<(), capnp::Error> {
        let id = params.get()?.get_email()?.to_string()?;
        let timeout_ms = 0;
        self.record(ReceivedCall { id, timeout_ms });
        match self.next().await? {
            Answer::Stored => set_jane(results.get().init_user(), JANES_ID),
            _ => results.get().set_not_found(()),
        }
        Ok(())
    }

    /// The first page has a next one, which is the last.
    async fn list_users(
        self: Rc<Self>,
        params: users::ListUsersParams,
        mut results: users::ListUsersResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let (size, token) = (request.get_page_size(), request.get_page_token()?);
        let id = format!("{size} {}", token.to_str()?);
        let timeout_ms = 0;
        self.record(ReceivedCall { id, timeout_ms });
        if let Answer::Invalid = self.next().await? {
            let mut error = results.get().init_invalid(1).get(0);
            error.set_field("pageSize");
            error.set_reason("must be better");
            return Ok(());
        }
        let mut page = results.get().init_page();
        if token.is_empty() {
            page.set_next_page_token("next");
        }
        set_jane(page.init_users(1).get(0), JANES_ID);
        Ok(())
    }

    async fn health(
        self: Rc<Self>,
        _: users::HealthParams,
        mut results: users::HealthResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_serving(true);
        let answer = self.fake.answers.borrow()[0];
        if let Answer::HangUp = answer {
            // When the answer is out.
            let hang_up = self.hang_up.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                hang_up.cancel();
            });
        }
        Ok(())
    }
}
