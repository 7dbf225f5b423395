//! The standard output, whose reader may leave before everything is written.

use std::future::pending;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use tokio::{io::Interest, net::unix::pipe::Sender};

use crate::{status, stderr};

/// Prints a text; fails when nobody reads it any more.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints a text that is all there is to do, and returns the exit status.
pub fn finish(text: &str) -> ExitCode {
    status_after(print(text), status::DONE)
}

/// The exit status of what ended with `status` and was then printed. A reader that has left wanted no more, which
/// is no failure: `users-cli list --all | head` succeeds.
pub fn status_after(printed: io::Result<()>, status: u8) -> ExitCode {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            stderr::print(format_args!(
                "users-cli: cannot write to the standard output: {error}"
            ));
            ExitCode::from(status.max(status::FAILED))
        }
        _ => ExitCode::from(status),
    }
}

/// Completes when the standard output is a pipe whose reader has left. Writing to it would tell as well, but only
/// after what is to be written has been read from the service.
pub async fn reader_left() {
    // A second descriptor of it, on which nothing is ever written.
    let descriptor = io::stdout().as_fd().try_clone_to_owned();
    // What cannot be watched, such as a file, has no reader to lose.
    if let Ok(stdout) = descriptor.and_then(Sender::from_owned_fd_unchecked)
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}
