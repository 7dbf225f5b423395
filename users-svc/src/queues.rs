//! The queues in front of the store: which calls go to the database together, and how many at a time.

use std::sync::Arc;

use uuid::Uuid;

use crate::group_commit::{GroupCommit, Handle};
use crate::outcome::InsertOutcome;
use crate::settings::Settings;
use crate::store::Store;
use crate::user::{NewUser, User};

/// The queues of the process.
pub struct Queues {
    inserts: Arc<GroupCommit<NewUser, InsertOutcome>>,
    gets: Arc<GroupCommit<Uuid, Option<User>>>,
    pages: Arc<GroupCommit<(Uuid, u32), Vec<User>>>,
    probes: Arc<GroupCommit<(), bool>>,
}

/// One thread's handles to the queues.
pub struct QueueHandles {
    /// Users to create.
    pub inserts: Handle<NewUser, InsertOutcome>,
    /// Ids of users to read.
    pub gets: Handle<Uuid, Option<User>>,
    /// Pages to read: after which id, and how many users.
    pub pages: Handle<(Uuid, u32), Vec<User>>,
    /// Whether the database takes writes.
    pub probes: Handle<(), bool>,
}

impl Queues {
    /// Queues in front of `store`, each of which uses at most half of the pool's connections.
    pub fn new(settings: &Settings, store: &Arc<Store>) -> Self {
        let max_batch = settings.max_batch;
        let half = settings.database_pool_size.div_ceil(2);
        let (inserts, gets, pages, probes) =
            (store.clone(), store.clone(), store.clone(), store.clone());
        Self {
            inserts: GroupCommit::new("INSERT users", max_batch, half, move |users: Vec<_>| {
                inserts.insert(&users)
            }),
            gets: GroupCommit::new("SELECT users by id", max_batch, half, move |ids: Vec<_>| {
                gets.get(&ids)
            }),
            // A page has a statement of its own.
            pages: GroupCommit::new("SELECT page of users", 1, half, move |wanted: Vec<_>| {
                let page = |(after, limit)| pages.page(after, limit);
                wanted.into_iter().map(page).collect()
            }),
            // However many ask at once, the database is asked once.
            probes: GroupCommit::new("SELECT writable", usize::MAX, 1, move |asked: Vec<()>| {
                vec![Ok(probes.is_writable()); asked.len()]
            }),
        }
    }

    /// Call it on a thread that runs a tokio local runtime; the handles last as long as the runtime.
    pub fn handles(&self) -> QueueHandles {
        QueueHandles {
            inserts: Handle::new(self.inserts.clone()),
            gets: Handle::new(self.gets.clone()),
            pages: Handle::new(self.pages.clone()),
            probes: Handle::new(self.probes.clone()),
        }
    }
}
