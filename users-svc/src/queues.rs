//! The queues in front of the store: which calls go to the database together, and how many at a time.

use std::sync::Arc;

use service_runtime::trace::TraceContext;
use tokio::time::Instant;
use uuid::Uuid;

use crate::batch_kind::{BatchKind, BatchTarget};
use crate::group_commit::{GroupCommit, Handle};
use crate::outcome::{BatchResults, CallFailure, InsertOutcome};
use crate::settings::Settings;
use crate::store::Store;
use crate::user::{NewUser, User};

/// `createUsers` calls that share one statement.
const MAX_CALLS_PER_BATCH: usize = 2;

/// The queues of the process.
pub struct Queues {
    inserts: Arc<GroupCommit<NewUser, InsertOutcome>>,
    contended_inserts: Arc<GroupCommit<NewUser, InsertOutcome>>,
    many_inserts: Arc<GroupCommit<Arc<[NewUser]>, BatchResults<InsertOutcome>>>,
    gets: Arc<GroupCommit<Uuid, Option<User>>>,
    finds: Arc<GroupCommit<String, Option<User>>>,
    pages: Arc<GroupCommit<(Uuid, u32), Vec<User>>>,
    probes: Arc<GroupCommit<(), bool>>,
}

/// One thread's handles to the queues.
pub struct QueueHandles {
    inserts: Handle<NewUser, InsertOutcome>,
    contended_inserts: Handle<NewUser, InsertOutcome>,
    many_inserts: Handle<Arc<[NewUser]>, BatchResults<InsertOutcome>>,
    /// Ids of users to read.
    pub gets: Handle<Uuid, Option<User>>,
    /// What is unique of the e-mail addresses of users to read.
    pub finds: Handle<String, Option<User>>,
    /// Pages to read: after which id, and how many users.
    pub pages: Handle<(Uuid, u32), Vec<User>>,
    /// Whether the database takes writes.
    pub probes: Handle<(), bool>,
}

impl Queues {
    /// Queues in front of `store`, each of which uses at most half of the pool's connections. `target` is its
    /// database, for spans.
    pub fn new(settings: &Settings, store: &Arc<Store>, target: BatchTarget) -> Self {
        let target = Arc::new(target);
        let kind = |name| BatchKind::new(name, &target);
        let max_batch = settings.max_batch;
        let half = settings.database_pool_size.div_ceil(2);
        let clones = || store.clone();
        let (inserts, contended, probes) = (clones(), clones(), clones());
        let (many, gets, finds, pages) = (clones(), clones(), clones(), clones());

        Self {
            inserts: GroupCommit::new(kind("INSERT users"), max_batch, half, move |take| {
                inserts.insert(take)
            }),
            // Each waits for someone else, and nobody waits with it.
            contended_inserts: GroupCommit::new(
                kind("INSERT contended user"),
                1,
                half.div_ceil(2),
                move |take| contended.insert_patiently(take),
            ),
            // A queue of their own, so that no single user waits behind hundreds.
            many_inserts: GroupCommit::new(
                kind("INSERT many users"),
                MAX_CALLS_PER_BATCH,
                half.div_ceil(2),
                move |take| many.insert_many(take),
            ),

            gets: GroupCommit::new(kind("SELECT users by id"), max_batch, half, move |take| {
                gets.get(take)
            }),
            finds: GroupCommit::new(
                kind("SELECT users by e-mail"),
                max_batch,
                half,
                move |take| finds.find(take),
            ),
            // A page has a statement of its own.
            pages: GroupCommit::new(kind("SELECT page of users"), 1, half, move |take| {
                pages.pages(take)
            }),
            // However many ask at once, the database is asked once.
            probes: GroupCommit::new(kind("SELECT writable"), usize::MAX, 1, move |take| {
                let is_writable = probes.is_writable();
                vec![Ok(is_writable); take().len()]
            }),
        }
    }

    /// Call it on a thread that runs a tokio local runtime; the handles last as long as the runtime.
    pub fn handles(&self) -> QueueHandles {
        QueueHandles {
            inserts: Handle::new(self.inserts.clone()),
            contended_inserts: Handle::new(self.contended_inserts.clone()),
            many_inserts: Handle::new(self.many_inserts.clone()),
            gets: Handle::new(self.gets.clone()),
            finds: Handle::new(self.finds.clone()),
            pages: Handle::new(self.pages.clone()),
            probes: Handle::new(self.probes.clone()),
        }
    }
}

impl QueueHandles {
    /// Stores a user, with a batch or, where someone else is writing the same one, by itself. `trace` is the
    /// span that waits. Fails as [`Handle::submit`] does.
    pub async fn insert(
        &self,
        new: &NewUser,
        deadline: Instant,
        trace: TraceContext,
    ) -> Result<InsertOutcome, CallFailure> {
        let together = self.inserts.submit(new.clone(), deadline, trace);
        match together.await? {
            InsertOutcome::Contended => {
                let alone = self.contended_inserts.submit(new.clone(), deadline, trace);
                alone.await
            }
            outcome => Ok(outcome),
        }
    }

    /// Stores many users, each with an outcome or a failure of its own, in their order. One that someone else is
    /// writing is not waited for: it is [`InsertOutcome::Contended`].
    pub async fn insert_many(
        &self,
        users: &Arc<[NewUser]>,
        deadline: Instant,
        trace: TraceContext,
    ) -> BatchResults<InsertOutcome> {
        if users.is_empty() {
            return Vec::new();
        }
        let together = self.many_inserts.submit(users.clone(), deadline, trace);
        let results = together.await;
        results.unwrap_or_else(|failure| vec![Err(failure); users.len()])
    }
}
