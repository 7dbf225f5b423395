//! HTTP over TLS: with clients that are not ours, with peers that do not speak it, and while its files change.

mod peers;
mod rotation;
mod settings;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use e2e::certificates::TlsFiles;
use e2e::{Program, binary, database, eventually, free_addr, start_users};

/// A request whose response is short.
const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A system whose gateway takes HTTP over TLS only.
struct SecureSystem {
    gateway: Program,
    _users: Program,
    addr: SocketAddr,
}

impl SecureSystem {
    /// A system that is ready, as a client sees it that trusts the CA of the gateway's certificate.
    fn start(files: &TlsFiles) -> Self {
        let users_addr = free_addr();
        let users = start_users(&users_addr, &database::fresh_database(), &[]);
        let own = [("HTTP_ADDR", "127.0.0.1:0"), ("USERS_ADDR", &*users_addr)];
        let settings = [&own[..], &files.of_gateway()].concat();
        let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
        let system = Self {
            addr: gateway.addr(),
            gateway,
            _users: users,
        };
        eventually("the gateway is ready", || {
            let ready = system.curl(&files.ca, "/readyz", &[]);
            ready.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        system
    }

    /// Asks by curl, which trusts the CAs in this file. Returns the response with its head, or what is wrong.
    fn curl(&self, ca: &str, path: &str, options: &[&str]) -> Result<String, String> {
        let mut curl = Command::new("curl");
        let url = format!("https://localhost:{}{path}", self.addr.port());
        curl.args(["--silent", "--show-error", "--include", "--max-time", "20"]);
        let output = curl.args(["--cacert", ca, &url]).args(options).output();
        let output = output.unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    fn create(&self, ca: &str, email: &str) -> Result<String, String> {
        let user = format!("{{\"email\":\"{email}\",\"name\":\"A\"}}");
        self.curl(ca, "/users", &["--json", &user])
    }
}
