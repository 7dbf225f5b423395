//! `users-cli import`: every row accounted for, whatever is wrong with it or with the service.

mod bad_files;
mod formats;
mod interrupts;
mod outcomes;
mod rejected;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use std::{fs, thread};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use e2e::{Program, binary, database, eventually, free_addr, start_users};

struct Service {
    database: String,
    addr: String,
    users: Program,
}

impl Service {
    fn start() -> Self {
        let (addr, database) = (free_addr(), database::fresh_database());
        let users = start_users(&addr, &database, &[]);
        Self {
            database,
            addr,
            users,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("users-cli"));
        command.args(["--users-addr", &self.addr, "--output", "json", "import"]);
        command.args(words);
        command
    }

    fn import(&self, file: &Path, words: &[&str]) -> (Output, Value) {
        let output = self.command(words).arg(file).output().unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output, report)
    }

    /// What `get` prints of a user, with its exit status.
    fn get(&self, id: &str) -> (Option<i32>, Value) {
        let mut get = Command::new(binary("users-cli"));
        let get = get.args(["--users-addr", &self.addr, "-o", "json", "get", id]);
        let output = get.output().unwrap();
        let printed = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), printed)
    }

    fn rows(&self) -> i64 {
        database::rows(&self.database)
    }

    /// Of all users, in order.
    fn emails(&self) -> Vec<String> {
        let query = "SELECT email FROM users ORDER BY email";
        let rows = database::connect(&self.database).query(query, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn many(rows: usize) -> String {
    let mut text = String::from("email,name\n");
    for i in 0..rows {
        writeln!(text, "row{i}@example.com,Row {i}").unwrap();
    }
    text
}

#[test]
fn every_row_is_created_replayed_or_refused_for_a_reason() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let (file, rejected) = (
        dir.path().join("users.csv"),
        dir.path().join("rejected.csv"),
    );
    let text = "name,email,id\n\
        \"Doe, Jane\",jane@example.com,\n\
        Joe,joe@example.com,0190a3f4-7c3e-7cc8-a1b2-0242ac120002\n\
        \"Doe, Jane\",jane@example.com,\n\
        Someone else,JANE@example.com,\n\
        ,nobody,\n\
        Jim,jim@example.com,0190a3f4-7c3e-7cc8-a1b2-0242ac120002\n\
        short,line@example.com\n\
        \"Two\nlines\",two@example.com,\n\
        Jil,jil@example.com,no-uuid\n";
    // And one that is not UTF-8.
    fs::write(
        &file,
        [text.as_bytes(), b"\xff,latin@example.com,\n"].concat(),
    )
    .unwrap();
    // One at a time, so that the first of two is always the same.
    let words = ["--in-flight", "1", "--rejected", rejected.to_str().unwrap()];
    let (output, report) = service.import(&file, &words);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let outcomes = json!({
        "created": 2, "replayed": 1, "emailTaken": 1, "invalid": 2, "idConflict": 1, "malformed": 3
    });
    assert_eq!(
        (&report["rows"], &report["outcomes"]),
        (&json!(10), &outcomes)
    );
    let rejected = fs::read(rejected).unwrap();
    let rejected = String::from_utf8_lossy(&rejected);
    for expected in [
        "name,email,id,line,outcome,reason\n",
        "\nSomeone else,JANE@example.com,,5,emailTaken,",
        "\n,nobody,,6,invalid,\"email must have an @, as in jane@example.com; name must have",
        "\nJim,jim@example.com,0190a3f4-7c3e-7cc8-a1b2-0242ac120002,7,idConflict,",
        "\n\"short,line@example.com\",,,8,malformed,has 2 columns instead of 3",
        "\n\"Two\nlines\",two@example.com,,9,invalid,",
        "\nJil,jil@example.com,no-uuid,11,malformed,id must be a UUID",
        "\n\u{fffd},latin@example.com,,12,malformed,is not UTF-8",
    ] {
        assert!(rejected.contains(expected), "{expected:?} in {rejected}");
    }
    assert_eq!(service.rows(), 2);
}

#[test]
fn file_whose_first_line_names_no_columns_is_refused() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.csv");
    fs::write(&file, "mail,name\n").unwrap();
    let (output, _) = service.import(&file, &[]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains("the first line must name the columns"),
        "{error}"
    );
}

#[test]
fn import_whose_input_breaks_off_says_so() {
    let service = Service::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut reader, _) = listener.accept().unwrap();
    // Something that the writer has not read when it leaves: that resets the connection.
    reader.write_all(b"?").unwrap();
    let mut import = service.command(&["-"]);
    import.stdin(OwnedFd::from(reader)).stdout(Stdio::piped());
    let import = import.stderr(Stdio::piped()).spawn().unwrap();
    writer.write_all(many(100).as_bytes()).unwrap();
    eventually("the rows are there", || service.rows() >= 50);
    drop(writer);
    let output = import.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("stopped: cannot read on"), "{error}");
}

#[test]
fn killed_import_that_is_started_again_ends_with_every_row_once() {
    let service = Service::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.csv");
    fs::write(&file, many(5000)).unwrap();
    let mut first = service
        .command(&[])
        .arg(&file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("some rows are there", || service.rows() >= 500);
    first.kill().unwrap();
    first.wait().unwrap();
    let (output, report) = service.import(&file, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let count = |outcome: &str| report["outcomes"][outcome].as_i64().unwrap_or(0);
    assert!(count("replayed") >= 500, "{report}");
    assert_eq!(count("created") + count("replayed"), 5000);
    assert_eq!(service.rows(), 5000);
}

#[test]
fn import_outlives_a_crash_of_the_service() {
    let mut service = Service::start();
    let mut import = service.command(&["-"]);
    let import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut import = import.unwrap();
    let mut input = import.stdin.take().unwrap();
    let writer = thread::spawn(move || input.write_all(many(20_000).as_bytes()).unwrap());
    eventually("some rows are there", || service.rows() >= 500);
    service.users.signal(Signal::SIGKILL);
    service.users.ended();
    thread::sleep(Duration::from_millis(1500));
    service.users = start_users(&service.addr, &service.database, &[]);
    let output = import.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(service.rows(), 20_000);
}

#[test]
fn import_gives_up_a_service_that_stays_away_and_says_how_to_go_on() {
    let mut service = Service::start();
    service.users.signal(Signal::SIGKILL);
    service.users.ended();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users.csv");
    fs::write(&file, many(5000)).unwrap();
    let (output, report) = service.import(&file, &["--patience", "1"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert_eq!(report["rows"], 0);
    assert!(
        error.contains("import the same file again to go on"),
        "{error}"
    );
}
