//! A system that has every metric there is, and requests that move them.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::{fs, net::TcpStream, time::Duration};

use e2e::certificates::{Certificates, TlsFiles};
use e2e::{System, binary, eventually, free_addr, spawn_users};
use tempfile::TempDir;

/// A system with mutual TLS, and with API keys, because without keys nobody lists users.
pub struct WholeSystem {
    pub system: System,
    pub gateway_admin: String,
    pub users_admin: String,
    service: TlsFiles,
    _certificates: Certificates,
    _keys: TempDir,
}

impl WholeSystem {
    pub fn start() -> Self {
        let (gateway_admin, users_admin) = (free_addr(), free_addr());
        let certificates = Certificates::new();
        let service = certificates.issue_for_service();
        let caller = certificates.issue("gateway");
        let keys = tempfile::tempdir().unwrap();
        let (key, file) = make_key(&keys);

        let users = [&service.of_service()[..], &[("ADMIN_ADDR", &users_admin)]].concat();
        let more = [("ADMIN_ADDR", &*gateway_admin), ("API_KEYS_FILE", &file)];
        let gateway = [&caller.of_caller()[..], &more].concat();
        let mut system = System::start_with(&users, &gateway);
        system.http = system.http.with_api_key(&key);
        Self {
            system,
            gateway_admin,
            users_admin,
            service,
            _certificates: certificates,
            _keys: keys,
        }
    }

    /// Sends requests that succeed, and such that clients got wrong.
    pub fn serve(&self, round: &str) {
        let http = &self.system.http;
        let email = format!("jane{round}@example.com");
        let created = http.create(&email, "Jane");
        assert_eq!(created.status, 201);
        assert_eq!(http.create(&email, "Jane").status, 409);
        assert_eq!(http.create("jane", "Jane").status, 400);
        assert_eq!(http.get(&created.location.unwrap()).status, 200);
        assert_eq!(http.get("/users/unknown").status, 404);
        assert_eq!(http.get("/users").status, 200);
        assert_eq!(http.get(&format!("/users?email={email}")).status, 200);

        let mut client = TcpStream::connect(("127.0.0.1", http.port())).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        client.write_all(b"no HTTP\r\n\r\n").unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    }

    /// Kills the users service, asks for users in vain, and starts it again at its address.
    pub fn fail(&mut self) {
        self.system.users.kill();
        eventually("a request fails", || {
            self.system.http.create("late@example.com", "Late").status == 503
        });
        let admin = [("ADMIN_ADDR", &*self.users_admin)];
        let settings = [&self.service.of_service()[..], &admin].concat();
        let addr = self.system.users_addr.to_string();
        self.system.users = spawn_users(&addr, &self.system.database, &settings);
        eventually("users are found again", || {
            self.system.http.get("/users").status == 200
        });
    }
}

/// A key that may do everything, and the path of the file that admits it.
fn make_key(folder: &TempDir) -> (String, String) {
    let mut command = Command::new(binary("gateway"));
    let command = command
        .args(["keys", "all", "create,read"])
        .current_dir("/");
    let made = command.output().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, made.stdout).unwrap();
    let shown = String::from_utf8(made.stderr).unwrap();
    let key = shown.trim().rsplit('\n').next().unwrap().to_owned();
    (key, file.to_str().unwrap().to_owned())
}
