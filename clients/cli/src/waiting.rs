//! Says what a call waits for, to someone who sits in front of it.

use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;
use users_client::LocalClient;

use crate::stderr;

/// How long a call may take without a word: a little longer than a client without a link waits for one, after
/// which its error says all there is to say.
const SILENCE: Duration = Duration::from_millis(1200);

/// Waits for a call. When it takes long, says once on a terminal what for: scripts read the error in the end,
/// and need no progress.
pub async fn tell_when_slow<T>(call: impl Future<Output = T>, client: &LocalClient) -> T {
    if !io::stderr().is_terminal() {
        return call.await;
    }
    let mut call = pin!(call);
    if let Ok(done) = timeout(SILENCE, call.as_mut()).await {
        return done;
    }

    let faults = client.connection_faults();
    let faults = faults.unwrap_or_else(|| "it is connected, and has not answered yet".into());
    stderr::print(format_args!(
        "users-cli: waiting for the users service: {faults}"
    ));
    call.await
}
