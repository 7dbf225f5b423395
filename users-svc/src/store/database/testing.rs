//! What the tests of this folder share: a PostgreSQL server, and what is logged.

use std::io::{self, Read as _};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use postgres::Client;
use postgres_server::Server;

use super::Database;

/// Enough on a machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server that does not speak TLS. It ends with this process, and takes its data along. A test that configures its
/// server starts one of its own.
pub static SERVER: LazyLock<Server> = LazyLock::new(|| Server::temporary().unwrap());

/// The database of this URL.
pub fn database(url: &str) -> Database {
    Database::parse("DATABASE_URL", url, PATIENCE).unwrap()
}

/// A connection to the database of this URL, as the service makes one.
pub fn connect(url: &str) -> Client {
    database(url).connect().unwrap()
}

/// What `work` logs, on this thread.
pub fn logged(work: impl FnOnce()) -> String {
    let (mut lines, writer) = io::pipe().unwrap();
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Arc::new(writer))
        .finish();
    tracing::subscriber::with_default(log, work);

    let mut logged = String::new();
    lines.read_to_string(&mut logged).unwrap();
    logged
}
