//! Our clients in Rust, Python and C++ against the live service, in every outcome; one with the first
//! published contract, and all of them against a service that knows fewer methods.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
    sync::OnceLock,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use postgres_server::Server;
use serde_json::{Value, json};
use users_rpc::{transport, users_capnp::users};
use uuid::Uuid;

use e2e::{Program, binary, eventually, free_addr, root, skipped, start_users};

/// A folder for what is made once and kept, and a lock on it: other tests may be about to make it.
fn workshop(name: &str, make: impl FnOnce(&Path) -> Option<()>) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    make(&folder).map(|()| folder)
}

/// Runs a step of making something; `None`: this machine lacks what it takes.
fn step(command: &mut Command) -> Option<()> {
    let done = command.output();
    let failed = match &done {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skipped(&format!("{command:?}: {failed}"));
    None
}

/// A Python with the client's requirements.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = |folder: &Path| {
        let requirements = root().join("clients/python/requirements.txt");
        // Made anew when the requirements change.
        let stamp = folder.join("requirements.txt");
        if fs::read(&stamp).ok() == fs::read(&requirements).ok() {
            return Some(());
        }
        step(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut install = Command::new(folder.join("bin/python"));
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ]);
        step(install.arg(&requirements))?;
        fs::copy(&requirements, stamp).unwrap();
        Some(())
    };
    let found = PYTHON.get_or_init(|| Some(workshop("venv", make)?.join("bin/python")));
    found.as_deref()
}

/// The folder with the C++ programs.
fn cpp() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = |folder: &Path| {
        let source = root().join("clients/cpp");
        // It remembers where the sources were, and does not follow a checkout that was moved.
        let _ = fs::remove_file(folder.join("CMakeCache.txt"));
        step(
            Command::new("cmake")
                .arg("-S")
                .arg(&source)
                .arg("-B")
                .arg(folder)
                .current_dir(&source),
        )?;
        step(Command::new("cmake").arg("--build").arg(folder))
    };
    BUILT.get_or_init(|| workshop("cpp", make)).as_deref()
}

/// A program that understands the command line that all our clients have.
struct Client {
    program: PathBuf,
    arguments: Vec<&'static str>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Client {
    fn rust() -> Self {
        Self {
            program: binary("users-cli"),
            arguments: vec!["--output", "json"],
            environment: Vec::new(),
        }
    }

    fn python() -> Option<Self> {
        Some(Self {
            program: python()?.to_owned(),
            arguments: vec!["-m", "users_client"],
            environment: vec![("PYTHONPATH", root().join("clients/python"))],
        })
    }

    fn cpp() -> Option<Self> {
        Some(Self {
            program: cpp()?.join("users-client"),
            arguments: Vec::new(),
            environment: Vec::new(),
        })
    }

    fn command(&self, addr: &str, timeout_ms: u64) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args([
                "--users-addr",
                addr,
                "--timeout-ms",
                &timeout_ms.to_string(),
            ])
            .envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    /// One command by itself: its exit status and what it printed.
    fn run(&self, addr: &str, words: &[&str]) -> (i32, Value) {
        let output = self.command(addr, 5000).args(words).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let outcome = serde_json::from_str(&printed).unwrap_or_else(|_| {
            panic!(
                "{words:?}: {printed}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        (output.status.code().unwrap(), outcome)
    }

    /// Many commands over one connection.
    fn session(&self, addr: &str, timeout_ms: u64) -> Session {
        let mut child = self
            .command(addr, timeout_ms)
            .arg("session")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Session {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }
}

struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn ask(&mut self, words: &[&str]) -> Value {
        writeln!(self.input, "{}", json!(words)).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{words:?}: {line:?}"))
    }

    fn create(&mut self, id: &str, email: &str, name: &str) -> Value {
        self.ask(&["create", "--id", id, "--email", email, "--name", name])
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fresh_id() -> String {
    Uuid::new_v4().to_string()
}

/// Lists two users, and what cannot be listed.
fn every_page(session: &mut Session, mut expected: [&str; 2]) {
    let page = session.ask(&["list", "--page-size", "1"]);
    let token = page["nextPageToken"].as_str().unwrap();
    let rest = session.ask(&["list", "--page-size", "1", "--page-token", token]);
    let mut ids = [&page, &rest].map(|page| page["users"][0]["id"].as_str().unwrap());
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(rest["nextPageToken"], "");
    let invalid = session.ask(&["list", "--page-size", "0", "--page-token", "?"]);
    assert_eq!(invalid["errors"].as_array().unwrap().len(), 2);
}

/// Connections that the service on `addr` has.
fn connections(addr: &str) -> usize {
    let port: u16 = addr.rsplit(':').next().unwrap().parse().unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1].ends_with(&format!(":{port:04X}")) && columns[3] == "01"
    };
    table.lines().filter(is_one).count()
}

/// The service is silent: of a create nobody knows, and creating again with the same id finds out.
fn deadlines_pass(client: &Client, addr: &str, users: &Program, id: &str) {
    let mut hurried = client.session(addr, 700);
    assert_eq!(hurried.ask(&["get", id])["outcome"], "found");
    let late = fresh_id();
    users.signal(Signal::SIGSTOP);
    let outcome = hurried.create(&late, "late@example.com", "Late");
    assert_eq!(outcome["outcome"], "unknown");
    users.signal(Signal::SIGCONT);
    let mut patient = client.session(addr, 5000);
    let settled = patient.create(&late, "late@example.com", "Late");
    let settled = settled["outcome"].as_str().unwrap();
    assert!(["created", "replayed"].contains(&settled), "{settled}");
    for _ in 0..3 {
        users.signal(Signal::SIGSTOP);
        assert_eq!(hurried.ask(&["get", id])["outcome"], "unavailable");
        users.signal(Signal::SIGCONT);
        assert_eq!(hurried.ask(&["get", id])["outcome"], "found");
        assert!(connections(addr) <= 3, "one of each session");
    }
}

fn every_outcome(client: &Client) {
    let server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    let addr = free_addr();
    let start = || start_users(&addr, &database, &[("DRAIN_TIMEOUT_MS", "2000")]);
    let stop = |mut users: Program| {
        users.signal(Signal::SIGTERM);
        assert_eq!(users.ended().code(), Some(0));
    };
    let users = start();
    let mut session = client.session(&addr, 5000);

    let id = fresh_id();
    let name = "Jånë \"Q\" Дое";
    let user = json!({ "id": id, "email": "jane@example.com", "name": name });
    let created = session.create(&id, " jane@example.com", name);
    assert_eq!(created, json!({ "outcome": "created", "user": user }));
    let replayed = session.create(&id, "jane@example.com", name);
    assert_eq!(replayed, json!({ "outcome": "replayed", "user": user }));
    // An id is a type of its own in Rust, which can hold nothing else.
    let typed = client.program.ends_with("users-cli");
    let bad_id = if typed { &*fresh_id() } else { "x" };
    let fields_at_fault = &["id", "email", "name"][usize::from(typed)..];
    let invalid = session.create(bad_id, "jane", "");
    assert_eq!(invalid["outcome"], "invalid");
    let fields: Vec<_> = invalid["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["field"])
        .collect();
    assert_eq!(fields, fields_at_fault);
    assert_eq!(
        session.create(&fresh_id(), "JANE@example.com", "J")["outcome"],
        "emailTaken"
    );
    assert_eq!(
        session.create(&id, "jane@example.com", "J")["outcome"],
        "idConflict"
    );
    assert_eq!(
        session.ask(&["get", &id]),
        json!({ "outcome": "found", "user": user })
    );
    assert_eq!(session.ask(&["get", &fresh_id()])["outcome"], "notFound");
    // An id of its own, when none is given.
    let minted = session.ask(&["create", "--email", "joe@example.com", "--name", "Joe"]);
    assert_eq!(minted["outcome"], "created");
    assert!(Uuid::try_parse(minted["user"]["id"].as_str().unwrap()).is_ok());

    every_page(&mut session, [&id, minted["user"]["id"].as_str().unwrap()]);

    deadlines_pass(client, &addr, &users, &id);
    eventually("no connection is left behind", || connections(&addr) == 1);

    // Restarted in mid-session, and away.
    stop(users);
    let users = start();
    assert_eq!(session.ask(&["get", &id])["outcome"], "found");
    stop(users);
    // A connection that has ended is noticed in a moment; a call that meets its end would be unknown.
    thread::sleep(Duration::from_millis(200));
    let away = session.create(&fresh_id(), "away@example.com", "Away");
    assert_eq!(away["outcome"], "unavailable", "{away}");
    let users = start();
    // What waits between attempts to connect has two seconds to come back.
    let mut back = Value::Null;
    for _ in 0..30 {
        back = session.create(&fresh_id(), "back@example.com", "Back");
        if back["outcome"] != "unavailable" {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(back["outcome"], "created");

    // By themselves, with an exit status each.
    let (status, found) = client.run(&addr, &["get", &id]);
    assert_eq!((status, &found["outcome"]), (0, &json!("found")));
    assert_eq!(
        client
            .run(&addr, &["create", "--email", "x", "--name", "X"])
            .0,
        3
    );
    assert_eq!(client.run(&addr, &["get", "x"]).0, 3);
    let usage = client.command(&addr, 1000).arg("destroy").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let nowhere = client
        .command("users-svc", 1000)
        .arg("list")
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&nowhere.stderr).contains("Traceback"));
    stop(users);
    assert_eq!(client.run(&addr, &["get", &id]).0, 4);

    let mut sql = postgres::Client::connect(&database, postgres::NoTls).unwrap();
    let rows: i64 = sql
        .query_one("SELECT count(*) FROM users", &[])
        .unwrap()
        .get(0);
    assert_eq!(rows, 4, "jane, joe, late and back");
}

#[test]
fn rust_client() {
    every_outcome(&Client::rust());
}

#[test]
fn people_get_a_table() {
    let server = Server::temporary().unwrap();
    let addr = free_addr();
    let _users = start_users(&addr, &server.fresh_database().unwrap(), &[]);
    let client = Client {
        arguments: Vec::new(),
        ..Client::rust()
    };
    let id = fresh_id();
    let run = |words: &[&str]| client.command(&addr, 5000).args(words).output().unwrap();
    let create = [
        "create",
        "--id",
        &id,
        "--email",
        "jane@example.com",
        "--name",
        "Jane Doe",
    ];
    let created = String::from_utf8(run(&create).stdout).unwrap();
    let lines: Vec<Vec<&str>> = created
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines,
        [
            vec!["ID", "EMAIL", "NAME"],
            vec![&*id, "jane@example.com", "Jane", "Doe"]
        ]
    );
    let listed = run(&["list", "--all", "--page-size", "1"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), created);
    let missing = run(&["get", "x"]);
    assert_eq!(missing.status.code(), Some(3));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(said, "users-cli: there is no user with this id\n");
}

#[test]
fn python_client() {
    let Some(client) = Client::python() else {
        return;
    };
    every_outcome(&client);
}

#[test]
fn cpp_client() {
    let Some(client) = Client::cpp() else { return };
    every_outcome(&client);
}

#[test]
fn a_client_of_the_first_published_contract_works_with_this_service() {
    let Some(mut client) = Client::python() else {
        return;
    };
    let schema = root().join("e2e/tests/e2e/first-published/users.capnp");
    client.environment.push(("USERS_SCHEMA", schema));
    every_outcome(&client);
}

/// A service from before there was anything but `createUser`, and that always has the same answer.
struct Lacking;

impl users::Server for Lacking {
    async fn create_user(
        self: Rc<Self>,
        _: users::CreateUserParams,
        mut results: users::CreateUserResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_email_taken(());
        Ok(())
    }
}

#[test]
fn clients_say_clearly_that_a_service_lacks_a_method() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    // Ends with the process.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let users: users::Client = capnp_rpc::new_client(Lacking);
                let connection = transport::server(stream, users.client);
                tokio::task::spawn_local(connection.system);
            }
        });
    });
    for client in [Some(Client::rust()), Client::python(), Client::cpp()]
        .into_iter()
        .flatten()
    {
        let create = ["create", "--email", "a@b.io", "--name", "A"];
        let (status, outcome) = client.run(&addr, &create);
        assert_eq!(
            (status, &outcome["outcome"]),
            (3, &json!("emailTaken")),
            "{outcome}"
        );
        for words in [&["get", "x"][..], &["list"]] {
            let (status, outcome) = client.run(&addr, words);
            assert_eq!(
                (status, &outcome["outcome"]),
                (6, &json!("unimplemented")),
                "{outcome}"
            );
        }
    }
}

/// The snippets of README.md are these files, and each of them runs.
#[test]
fn the_snippets_of_the_readme_run() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    let addr = free_addr();
    let _users = start_users(&addr, &database, &[]);
    let snippet = |language: &str, file: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let block = format!("```{language}\n{text}```\n");
        assert!(
            readme.contains(&block),
            "README.md does not show {file} as it is"
        );
    };
    let says = |command: &mut Command, expected: &[&str]| {
        let output = command.arg(&addr).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for expected in expected {
            assert!(text.contains(expected), "{text}");
        }
    };
    snippet("rust", "clients/rust/examples/tour.rs");
    snippet("python", "clients/python/example.py");
    snippet("cpp", "clients/cpp/example.c++");
    let tour = escargot::CargoBuild::new()
        .manifest_path(root().join("Cargo.toml"))
        .package("users-client")
        .example("tour")
        .target_dir(binary("stack").ancestors().nth(2).unwrap());
    says(
        &mut tour.run().unwrap().command(),
        &["created", "replayed true", "read", "listed"],
    );
    if let Some(python) = python() {
        let mut example = Command::new(python);
        example.arg(root().join("clients/python/example.py"));
        says(
            &mut example,
            &["created", "replayed True", "read", "listed"],
        );
    }
    if let Some(cpp) = cpp() {
        says(&mut Command::new(cpp.join("example")), &["created"]);
        says(&mut Command::new(cpp.join("example")), &["replayed"]);
    }
}
