//! A gateway in front of a fake users service, and its responses.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser as _;
use gateway::Settings;
use service_runtime::health::Readiness;
use tokio_util::sync::CancellationToken;

pub use crate::fake_users::{Answer, FakeUsers, JANES_ID};

pub const JSON: (&str, &str) = ("Content-Type", "application/json");
pub const JANE: &[u8] = br#"{"email":"jane@example.com","name":"Jane Doe"}"#;

/// A gateway whose users service gives these answers.
pub fn answering(answers: &[Answer]) -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(answers);
    let gateway = Gateway::start(&users, &["--request-timeout-ms", "1000"]);
    (users, gateway)
}

/// A gateway whose users service gives these answers, and which accepts the API keys in the file at `keys`.
pub fn keyed(answers: &[Answer], keys: &Path) -> (FakeUsers, Gateway) {
    let users = FakeUsers::start(answers);
    let keys = keys.to_str().unwrap();
    let options = ["--request-timeout-ms", "1000", "--api-keys-file", keys];
    let gateway = Gateway::start(&users, &options);
    (users, gateway)
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
        let readiness = Readiness::default();
        let thread =
            std::thread::spawn(move || gateway::run(&settings, listener, &readiness, &token));
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
    /// The only response in `answer`.
    pub fn parse(answer: &str) -> Self {
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
