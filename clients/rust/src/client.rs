//! The client for any thread and executor. Its calls run on one thread of its own, because capnp-rpc's
//! types are not `Send`.

use std::{io, sync::Arc, thread, time::Duration};

use credentials::ClientTls;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::{runtime::LocalRuntime, task::spawn_local};

use crate::endpoints::Endpoints;
use crate::local::LocalClient;
use crate::resolver::Resolver;
use crate::types::{CallError, CallOptions, CreateOutcome, ListOutcome, NewUser, Result, User};

/// Calls in flight of one client; further ones are [`CallError::NotExecuted`].
const MAX_IN_FLIGHT: usize = 4096;

/// A call to start on the client's thread.
type Job = Box<dyn FnOnce(LocalClient) + Send>;

/// The users service, for any thread and any executor. Clones share the links, which end with the last
/// clone.
#[derive(Clone, Debug)]
pub struct UsersClient {
    jobs: mpsc::UnboundedSender<Job>,
    options: CallOptions,
}

impl UsersClient {
    /// Starts connecting to the replicas behind `endpoints` in plain text, and returns at once. A call waits for
    /// a first link, for a second at most.
    ///
    /// Fails when the system cannot start another thread.
    pub fn connect(endpoints: &Endpoints) -> io::Result<Self> {
        Self::start(Resolver::start(endpoints, None))
    }

    /// The same over mutual TLS, by the certificate and the CAs of `tls`.
    pub fn connect_with_tls(endpoints: &Endpoints, tls: ClientTls) -> io::Result<Self> {
        Self::start(Resolver::start(endpoints, Some(tls)))
    }

    fn start(resolver: Resolver) -> io::Result<Self> {
        let (jobs, received) = mpsc::unbounded_channel();
        let (report, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("users-client".into());
        thread.spawn(move || match LocalRuntime::new() {
            Ok(runtime) => {
                let _ = report.send(Ok(()));
                runtime.block_on(run_jobs(resolver, received));
            }
            Err(error) => drop(report.send(Err(error))),
        })?;
        started.recv().map_err(io::Error::other)??;
        let options = CallOptions::default();
        Ok(Self { jobs, options })
    }

    /// Sets how long each call may take, retries included. The default is five seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// Makes the calls part of the trace that `traceparent` (W3C Trace Context) names.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.options.traceparent = traceparent.into();
        self
    }

    /// Stores a user, exactly once.
    pub async fn create_user(&self, new: NewUser) -> Result<CreateOutcome> {
        self.run(async move |client, options| client.create_user(&new, &options).await)
            .await
    }

    /// Stores users, each exactly once and with an outcome of its own. The results are in the order of `new`.
    ///
    /// They go in calls of up to 500, one after the other, each of which may take as long as a call may. When a call
    /// fails as a whole, so does each of its users, and those after it are not sent.
    pub async fn create_users(&self, new: Vec<NewUser>) -> Vec<Result<CreateOutcome>> {
        let count = new.len();
        let created =
            self.run(async move |client, options| Ok(client.create_users(&new, &options).await));
        created
            .await
            .unwrap_or_else(|error| vec![Err(error); count])
    }

    /// Reads a user; `None` when there is none with this id.
    pub async fn get_user(&self, id: impl Into<String>) -> Result<Option<User>> {
        let id = id.into();
        self.run(async move |client, options| client.get_user(&id, &options).await)
            .await
    }

    /// Reads the user who has an e-mail address, in any letter case; `None` when nobody has it.
    pub async fn find_user(&self, email: impl Into<String>) -> Result<Option<User>> {
        let email = email.into();
        self.run(async move |client, options| client.find_user(&email, &options).await)
            .await
    }

    /// Reads a page of 1 to 100 users. `page_token` comes from the page before; empty means the first.
    pub async fn list_users(
        &self,
        page_size: u32,
        page_token: impl Into<String>,
    ) -> Result<ListOutcome> {
        let token = page_token.into();
        let call = async move |client: LocalClient, options| {
            client.list_users(page_size, &token, &options).await
        };
        self.run(call).await
    }

    /// Whether the service can serve calls now.
    pub async fn health(&self) -> Result<bool> {
        self.run(async |client, options| client.health(&options).await)
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(LocalClient, CallOptions) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let options = self.options.clone();
        let job: Job = Box::new(move |client| {
            // Nobody receives the answer when the caller has left.
            spawn_local(async move { answer.send(call(client, options).await).ok() });
        });
        let gone = || CallError::OutcomeUnknown("the client's thread has ended".into());
        self.jobs.send(job).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run_jobs(resolver: Resolver, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let client = LocalClient::new(resolver, Arc::new(Semaphore::new(MAX_IN_FLIGHT)));
    while let Some(job) = jobs.recv().await {
        job(client.clone());
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn calls_from_any_thread_and_executor_end_in_time_when_nobody_answers() {
        // Accepts connections, and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = silent.local_addr().unwrap().to_string();
        let client = UsersClient::connect(&addr.parse().unwrap()).unwrap();
        let impatient = client.timeout(Duration::from_millis(200));
        let calls = (0..4).map(|i| {
            let client = impatient.clone();
            thread::spawn(move || block_on(client.get_user(i.to_string())))
        });
        for call in calls.collect::<Vec<_>>() {
            let outcome = call.join().unwrap();
            assert!(
                matches!(outcome, Err(CallError::NotExecuted(_))),
                "{outcome:?}"
            );
        }
    }
}
