//! A gateway in front of a fake users service, which is a real vat on a real socket.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser as _;
use gateway::Settings;
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;
use users_rpc::{transport, users_capnp::users};

/// What the fake answers to `createUser`, and to `getUser` where it fits.
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

/// A call that reached the fake.
#[derive(Clone, Debug)]
pub struct Seen {
    pub id: String,
    pub timeout_ms: u32,
}

/// A fake users service. It gives the answers in turn, and the last one ever after.
pub struct FakeUsers {
    pub addr: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
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
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (log, stopped, answers) = (seen.clone(), stop.clone(), answers.to_vec());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            let fake = Rc::new(Fake {
                answers: RefCell::new(answers),
                seen: log,
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
            seen,
            connections,
            stop,
            thread: Some(thread),
        }
    }

    pub fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
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
    seen: Arc<Mutex<Vec<Seen>>>,
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

    fn note(&self, seen: Seen) {
        self.fake.seen.lock().unwrap().push(seen);
    }
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
        self.note(Seen {
            id: id.clone(),
            timeout_ms,
        });
        let answer = self.next().await?;
        let mut response = results.get();
        response.set_replayed(matches!(answer, Answer::Replayed));
        match answer {
            Answer::Invalid => {
                let mut faults = response.init_invalid(2);
                for (i, field) in [(0, "email"), (1, "name")] {
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
        self.note(Seen {
            id: id.clone(),
            timeout_ms: 0,
        });
        match self.next().await? {
            Answer::Stored => {
                let mut user = results.get().init_user();
                user.set_id(&id);
                user.set_email("jane@example.com");
                user.set_name("Jane Doe");
            }
            _ => results.get().set_not_found(()),
        }
        Ok(())
    }

    async fn health(
        self: Rc<Self>,
        _: users::HealthParams,
        mut results: users::HealthResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_serving(true);
        if let Answer::HangUp = self.fake.answers.borrow()[0] {
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

/// A running gateway.
pub struct Gateway {
    pub addr: SocketAddr,
    pub shutdown: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Gateway {
    /// A gateway that is ready.
    pub fn start(users: &FakeUsers, options: &[&str]) -> Self {
        let gateway = Self::start_unready(&users.addr.to_string(), options);
        let end = Instant::now() + Duration::from_secs(10);
        while gateway.get("/readyz").status != 200 {
            assert!(Instant::now() < end, "the gateway does not become ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }

    pub fn start_unready(users: &str, options: &[&str]) -> Self {
        let given = ["gateway", "--users-addr", users, "--workers", "1"];
        let settings = Settings::try_parse_from(given.iter().chain(options)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || gateway::run(&settings, listener, &token));
        Self {
            addr,
            shutdown,
            thread: Some(thread),
        }
    }

    pub fn create(&self, email: &str, name: &str) -> Response {
        let body = serde_json::json!({ "email": email, "name": name }).to_string();
        self.post(&[("Content-Type", "application/json")], body.as_bytes())
    }

    pub fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.request("POST", "/users", headers, body)
    }

    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// One request on a connection of its own, written byte for byte as given.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if !body.is_empty() {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // The gateway may answer and close before it has read everything.
        let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Response::parse(&String::from_utf8(answer).unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole response");
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self {
            status,
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Makes sure that it is a whole problem document, and returns the last part of its type.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["requestId"].as_str(), self.header("x-request-id"));
        for member in ["title", "detail"] {
            assert!(
                document[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
        }
        document["type"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned()
    }
}
