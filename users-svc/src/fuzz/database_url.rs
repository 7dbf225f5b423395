//! `DATABASE_URL`.

use std::time::Duration;

use bolero::check;

use super::{text_or_fragments, up_to};
use crate::store::database::Database;

const SECRET: &str = "hunter2";
/// The password stands where one may, also in a URL that is no URL.
const DATABASE_URL: &[&str] = &[
    "host=h sslmode=verify-full ",
    "sslrootcert= ",
    "postgres://h/d?sslmode=verify-full&sslrootcert=",
    "postgres://u:hunter2@h/d",
    "host=h user=u password=hunter2 ",
    "postgres://",
    "postgresql://",
    "u",
    ":hunter2@",
    ":hunter2@",
    "h",
    "localhost",
    "[::1]",
    ":",
    "5432",
    "/",
    "/d",
    "?",
    "&",
    "#",
    "%",
    "%40",
    "@",
    ",",
    "=",
    "'",
    "\\",
    " ",
    " ",
    "\0",
    "é",
    "host=",
    "hostaddr=",
    "127.0.0.1",
    "port=",
    "user=",
    "dbname=",
    "password=hunter2",
    "password=hunter2 ",
    "password='hunter2' ",
    "&password=hunter2",
    "password= hunter2 ",
    "host=h ",
    "host=/run ",
    "user=u ",
    "sslmode=",
    "disable",
    "require",
    "verify-full",
    "sslrootcert=",
    "sslcert=",
    "system",
    "channel_binding=",
    "options=",
    "'-c x=y'",
    "connect_timeout=",
    "target_session_attrs=",
    "read-write",
    "keepalives=",
    "0",
    "-1",
    "99999999999999999999",
    "application_name=",
    "load_balance_hosts=",
    "random",
];

#[test]
fn no_error_shows_the_password_of_the_database() {
    check!().with_generator(up_to(24)).for_each(|input| {
        let text = text_or_fragments(input, DATABASE_URL);
        if let Err(error) = Database::parse("DATABASE_URL", &text, Duration::from_secs(1)) {
            let shown = format!("{error:#}");
            assert!(!shown.contains(SECRET), "{text:?}: {error:#}");
            assert!(!shown.contains('\0'), "{text:?}: {error:#}");
        }
    });
}
