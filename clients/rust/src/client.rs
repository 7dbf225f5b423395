//! The client that goes anywhere: its calls run on a thread of its own, as capnp-rpc stays on one.

use std::{future::Future, io, thread, time::Duration};

use futures::{FutureExt as _, future::LocalBoxFuture};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    task::spawn_local,
};

use crate::{
    CallError, CallOptions, CreateOutcome, Endpoints, ListOutcome, LocalClient, NewUser, Resolver,
    User,
};

/// Calls at once of one client; further ones are [`CallError::NotExecuted`].
const MAX_IN_FLIGHT: usize = 4096;

type Job = Box<dyn FnOnce(LocalClient) -> LocalBoxFuture<'static, ()> + Send>;

/// The users service, for any thread and any executor. Clones share the links, which end with the
/// last of them.
#[derive(Clone, Debug)]
pub struct UsersClient {
    jobs: mpsc::UnboundedSender<Job>,
    options: CallOptions,
}

impl UsersClient {
    /// Starts connecting to the replicas behind `endpoints`. Does not wait: a call does, for a second
    /// at most.
    ///
    /// Fails when the system has no thread left to give.
    pub fn connect(endpoints: &Endpoints) -> io::Result<Self> {
        let resolver = Resolver::start(endpoints);
        let (jobs, todo) = mpsc::unbounded_channel();
        let (report, started) = std::sync::mpsc::channel();
        let name = thread::Builder::new().name("users-client".into());
        name.spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let _ = report.send(Ok(()));
                    runtime.block_on(work(resolver, todo));
                }
                Err(error) => drop(report.send(Err(error))),
            }
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Self {
            jobs,
            options: CallOptions::default(),
        })
    }

    /// The same service with another time that each call may take in all; five seconds otherwise.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// The same service for calls of the trace that `traceparent` (W3C Trace Context) names.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.options.traceparent = traceparent.into();
        self
    }

    /// Stores a user, exactly once.
    pub async fn create_user(&self, new: NewUser) -> Result<CreateOutcome, CallError> {
        self.run(move |client, options| async move { client.create_user(&new, &options).await })
            .await
    }

    /// Reads a user; `None`: there is none with this id.
    pub async fn get_user(&self, id: impl Into<String>) -> Result<Option<User>, CallError> {
        let id = id.into();
        self.run(move |client, options| async move { client.get_user(&id, &options).await })
            .await
    }

    /// Reads a page of 1 to 100 users. `page_token`: from the page before; empty: the first page.
    pub async fn list_users(
        &self,
        page_size: u32,
        page_token: impl Into<String>,
    ) -> Result<ListOutcome, CallError> {
        let token = page_token.into();
        self.run(move |client, options| async move {
            client.list_users(page_size, &token, &options).await
        })
        .await
    }

    /// Whether the service can serve calls now.
    pub async fn health(&self) -> Result<bool, CallError> {
        self.run(|client, options| async move { client.health(&options).await })
            .await
    }

    async fn run<T, F>(
        &self,
        call: impl FnOnce(LocalClient, CallOptions) -> F + Send + 'static,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CallError>> + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let options = self.options.clone();
        let job: Job = Box::new(move |client| {
            let call = call(client, options);
            // Whoever asked may have left.
            call.map(|outcome| drop(answer.send(outcome))).boxed_local()
        });
        let gone = |()| CallError::OutcomeUnknown("the client's thread has ended".into());
        self.jobs.send(job).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}

async fn work(resolver: Resolver, mut todo: mpsc::UnboundedReceiver<Job>) {
    let client = LocalClient::new(resolver, MAX_IN_FLIGHT);
    while let Some(job) = todo.recv().await {
        spawn_local(job(client.clone()));
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn calls_from_any_thread_and_executor_end_in_time_when_nobody_answers() {
        // Takes connections, and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = silent.local_addr().unwrap().to_string();
        let client = UsersClient::connect(&addr.parse().unwrap()).unwrap();
        let hurried = client.timeout(Duration::from_millis(200));
        let calls = (0..4).map(|i| {
            let client = hurried.clone();
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
