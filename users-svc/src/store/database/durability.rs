//! What the promise of durability rests on: settings of the server, and warnings that a commit is not safe.

use std::cell::Cell;

use postgres::Client;
use postgres::error::{DbError, Severity};

/// Settings without which a crash of the server's machine loses users that were acknowledged (PostgreSQL
/// documentation, section 20.5.1), and what to say of each.
const NEEDED: [(&str, &str); 3] = [
    (
        "fsync",
        "the whole database may be corrupt after a crash of its machine",
    ),
    (
        "full_page_writes",
        "the whole database may be corrupt after a crash of its machine",
    ),
    (
        "synchronous_commit",
        "users that were acknowledged are lost when the database crashes",
    ),
];

thread_local! {
    /// Whether the server has warned the connection that this thread uses. The driver passes notices on
    /// within the call that they belong to.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Takes note of what the server says beside its answers.
///
/// Our statements give no reason for a warning. The one that matters says that the wait for the synchronous
/// standby was cancelled: the rows are committed here, and may not be there.
pub fn note(notice: &DbError) {
    if notice.parsed_severity() == Some(Severity::Warning) {
        // Not the message, which can quote values.
        tracing::warn!(
            code = notice.code().code(),
            "PostgreSQL warns that a commit may not be durable"
        );
        WARNED.set(true);
    }
}

/// Whether the server has warned this thread since it was last asked.
pub fn take_durability_warning() -> bool {
    WARNED.take()
}

/// Whether a commit waits until the synchronous standby, if there is one, has flushed it.
const WAITS_FOR_STANDBY: &str = "SELECT current_setting('synchronous_standby_names') = '' \
    OR current_setting('synchronous_commit') IN ('on', 'remote_apply', 'off')";

/// Whether sessions get the warnings that [`note`] waits for, where there is a synchronous standby. A pooler may not
/// pass on that we ask for them.
const TELLS_OF_WARNINGS: &str = "SELECT current_setting('synchronous_standby_names') = '' \
    OR current_setting('client_min_messages') NOT IN ('error', 'fatal', 'panic')";

/// Logs a warning for each setting that breaks the promise, as sessions of this role in this database see it.
pub fn warn_unless_durable(client: &mut Client) -> Result<(), postgres::Error> {
    for (setting, cost) in NEEDED {
        let value: String = client
            .query_typed_one(
                "SELECT current_setting($1)",
                &[(&setting, postgres::types::Type::TEXT)],
            )?
            .get(0);
        if value == "off" {
            tracing::warn!("PostgreSQL runs with {setting}=off: {cost}");
        }
    }
    for (is_safe, warning) in [
        (
            WAITS_FOR_STANDBY,
            "PostgreSQL does not wait until the synchronous standby has flushed a commit: users that were \
             acknowledged may be lost in a failover; set synchronous_commit=on",
        ),
        (
            TELLS_OF_WARNINGS,
            "PostgreSQL does not say when the wait for the synchronous standby was cancelled: users that were \
             acknowledged may be lost in a failover; set client_min_messages=warning",
        ),
    ] {
        let is_safe: bool = client.query_typed_one(is_safe, &[])?.get(0);
        if !is_safe {
            tracing::warn!("{warning}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
