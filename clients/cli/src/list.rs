//! `users-cli list`: a page of users, or all pages as one table.

use std::pin::pin;
use std::process::ExitCode;

use clap::Args;
use users_client::{CallOptions, LocalClient};

use crate::outcome::Outcome;
use crate::output::Output;
use crate::waiting::tell_when_slow;
use crate::{status, stderr, stdout};

/// List users, in the order of their ids.
///
/// Where there are more users than a page has, the option for the next page is told on the standard error (with
/// `-o json`, it is `nextPageToken`).
#[derive(Args, Debug)]
pub struct List {
    /// Users in a page, 1 to 100.
    #[arg(long, default_value_t = 50, value_name = "USERS")]
    page_size: u32,
    /// Where to begin: the token that was told with the page before.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "TOKEN"
    )]
    page_token: String,
    /// Read page after page, to the last, and print them as one table.
    #[arg(long)]
    all: bool,
}

impl List {
    /// Prints the users, and returns the exit status. Reads no further page once nobody reads what it prints.
    pub async fn run(
        self,
        client: &LocalClient,
        options: &CallOptions,
        output: Output,
    ) -> ExitCode {
        let mut users = output.printer();
        let mut token = self.page_token;
        let mut has_begun = false;
        let mut reader_left = pin!(stdout::reader_left());
        loop {
            let call = client.list_users(self.page_size, &token, options);
            let outcome = tokio::select! {
                // Nobody wants a page that has come, either.
                biased;
                () = reader_left.as_mut() => return ExitCode::from(status::DONE),
                listed = tell_when_slow(call, client) => Outcome::from(listed),
            };

            let printed = users.print(&outcome);
            let Outcome::Page {
                next_page_token, ..
            } = &outcome
            else {
                if has_begun {
                    stderr::print(format_args!(
                        "users-cli: to go on where it stopped: list --all --page-token {token}"
                    ));
                }
                return stdout::status_after(printed, outcome.status());
            };
            let is_last = next_page_token.is_empty();
            if printed.is_err() || is_last || !self.all {
                if !is_last && !self.all {
                    output.tell_next_page(next_page_token);
                }
                return stdout::status_after(printed, status::DONE);
            }
            token.clone_from(next_page_token);
            has_begun = true;
        }
    }
}
