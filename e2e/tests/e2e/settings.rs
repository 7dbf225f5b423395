//! Invalid settings stop a service at start, with an error that names the variable and what would be right.

use std::{fs, path::Path};

use e2e::{Program, binary};

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://u:hunter2@h/d");

/// Waits until a program ends that refuses its settings, and checks that it says all of `words` in one line.
fn assert_refuses(mut program: Program, words: &[&str]) {
    assert!(!program.ended().success(), "{}", program.output());
    let said = program.wait_for(words[0]);
    for word in words {
        assert!(said.contains(word), "{said} does not say {word}");
    }
    assert!(!program.output().contains("hunter2"), "{said}");
}

/// Starts a service with one bad setting, and checks that it says `words` about it.
fn assert_refused(service: &str, variable: &str, value: &str, words: &[&str]) {
    let settings = [DATABASE, (variable, value)];
    let program = Program::start(&binary(service), Path::new("/"), &settings);
    assert_refuses(program, &[&[variable], words].concat());
}

/// Starts a gateway in a directory with this `.env`.
fn with_dotenv(text: &str) -> Program {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".env"), text).unwrap();
    let mut program = Program::start(&binary("gateway"), dir.path(), &[]);
    program.ended();
    program
}

#[test]
fn bad_setting_is_refused_with_its_name_its_value_and_a_good_one() {
    for (service, variable, value, example) in [
        ("gateway", "HTTP_ADDR", "everywhere", "0.0.0.0:3000"),
        ("gateway", "HTTP_ADDR", ":3000", "0.0.0.0:3000"),
        ("gateway", "HTTP_ADDR", " 127.0.0.1:3000", "0.0.0.0:3000"),
        ("stack", "HTTP_ADDR", "localhost", "0.0.0.0:3000"),
        ("stack", "ADMIN_ADDR", "9000", "127.0.0.1:9000"),
        ("gateway", "ADMIN_ADDR", "", "127.0.0.1:9000"),
        ("gateway", "USERS_ADDR", "users-svc", "127.0.0.1:4001"),
        ("gateway", "REQUEST_TIMEOUT_MS", "5s", "5000"),
        ("gateway", "REQUEST_TIMEOUT_MS", "86400001", "5000"),
        ("gateway", "DRAIN_TIMEOUT_MS", "0", "10000"),
        ("gateway", "MAX_IN_FLIGHT", "0", "4096"),
        ("gateway", "MAX_CONNECTIONS", "1000001", "10000"),
        ("gateway", "WORKERS", "99999999", "0"),
        ("gateway", "RATE_LIMIT", "100", "100/60"),
        ("gateway", "TRUSTED_PROXIES", "proxy", "10.0.0.0/8"),
        ("gateway", "CORS_ORIGINS", "*", "https://app.example.com"),
        ("gateway", "LOG_FORMAT", "xml", "text"),
        ("gateway", "RUST_LOG", "a=b=c", "info"),
        ("gateway", "RUST_LOG", "", "info"),
        ("users-svc", "RPC_ADDR", "4001", "0.0.0.0:4001"),
        ("users-svc", "MIGRATE_ON_START", "perhaps", "false"),
        ("users-svc", "WORKERS", "1025", "0"),
        ("users-svc", "WORKERS", "-1", "0"),
        ("users-svc", "DATABASE_POOL_SIZE", "0", "4"),
        ("users-svc", "DATABASE_POOL_SIZE", "1001", "4"),
        ("users-svc", "DATABASE_TIMEOUT_MS", "5s", "1500"),
        ("users-svc", "DATABASE_TIMEOUT_MS", "1", "1500"),
        ("users-svc", "MAX_BATCH", "10001", "128"),
        ("users-svc", "MAX_IN_FLIGHT", "", "8192"),
    ] {
        let shown = format!("{variable}={value:?}: must be ");
        let example = format!("for example {variable}={example}");
        assert_refused(service, variable, value, &[&shown, &example]);
    }
}

#[test]
fn bad_database_url_is_refused_without_its_password() {
    for url in [
        "",
        "postgres://u:hunter2@",
        "postgres://u:p@hunter2:w/rd@h/d",
    ] {
        assert_refused("users-svc", "DATABASE_URL", url, &["percent-encoded"]);
    }
}

#[test]
fn tls_to_postgres_that_cannot_be_is_refused_with_what_to_write() {
    for (options, says) in [
        ("sslmode=verify-full", "for example sslrootcert=/"),
        ("sslmode=allow", "write sslmode=prefer"),
        ("sslmode=hunter2", "verify-ca or verify-full"),
        ("sslrootcert=/ca.crt", "write sslmode=verify-full"),
        (
            "sslmode=verify-full&sslrootcert=/no/ca.crt",
            "sslrootcert=/no/ca.crt: No such file",
        ),
        ("sslcert=hunter2", "the option sslcert"),
    ] {
        for variable in ["DATABASE_URL", "DATABASE_MIGRATE_URL"] {
            let url = format!("postgres://u:hunter2@h/d?{options}");
            assert_refused("users-svc", variable, &url, &[says]);
        }
    }
}

#[test]
fn missing_database_url_is_refused_by_name() {
    let program = Program::start(&binary("users-svc"), Path::new("/"), &[]);
    assert_refuses(program, &["DATABASE_URL: must be set"]);
}

#[test]
fn setting_that_is_not_utf_8_is_refused_by_name() {
    let script = format!(
        "WORKERS=$(printf '\\377') exec {}",
        binary("gateway").display()
    );
    assert_refuses(
        Program::start_shell(&script, &[]),
        &["WORKERS must be UTF-8"],
    );
}

#[test]
fn host_name_is_accepted_as_the_address_to_listen_on() {
    let settings = [("HTTP_ADDR", "localhost:0"), ("ADMIN_ADDR", "localhost:0")];
    let mut gateway = Program::start(&binary("gateway"), Path::new("/"), &settings);
    assert!(gateway.addr().ip().is_loopback());
}

#[test]
fn line_of_dotenv_that_cannot_be_read_is_named_by_its_number_and_not_shown() {
    for (text, line) in [
        (
            "# Ours\nWORKERS=1\nDATABASE_URL=host=h password=hunter2\n",
            3,
        ),
        ("LINES='a\nb'\n\nDATABASE_URL=host=h password=hunter2", 4),
        ("# PASSWORD=\"hunter2\nPASSWORD=\"hunter2\nWORKERS=1\n\n", 2),
        ("WORKERS=1\nPASSWORD=hunter2\\z\n", 2),
        ("WORKERS=1\nhunter2\nhunter2\n", 2),
    ] {
        let line = format!("line {line} of the file .env");
        assert_refuses(with_dotenv(text), &[&line, "quotes"]);
    }
}
