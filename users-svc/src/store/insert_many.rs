//! Inserts the users of `createUsers` calls, some calls at a time.

use std::collections::HashSet;
use std::sync::Arc;

use super::Store;
use super::batch::Results;
use super::error::StatementError;
use super::pool::{Connection, Trust};
use crate::group_commit::Take;
use crate::outcome::BatchResults;
use crate::user::NewUser;

impl Store {
    /// Inserts the users of some calls. The results are in the order of the calls, and of the users of each.
    pub fn insert_many(&self, take: Take<Arc<[NewUser]>>) -> BatchResults<Results> {
        let connection = self.pool.connection(Trust::RecentlyUsed);
        let calls = take();
        let users: Vec<&NewUser> = calls.iter().flat_map(|call| &**call).collect();
        let mut results = self.insert_in_order(connection, &users).into_iter();
        let results_of = |call: &Arc<[NewUser]>| Ok(results.by_ref().take(call.len()).collect());
        calls.iter().map(results_of).collect()
    }

    /// Inserts users so that of those with the same id the first one gets it. A batch inserts in the order of e-mail
    /// addresses, so the later ones are a batch of their own.
    fn insert_in_order(
        &self,
        connection: Result<Connection, StatementError>,
        users: &[&NewUser],
    ) -> Results {
        let mut ids = HashSet::with_capacity(users.len());
        let is_first: Vec<bool> = users
            .iter()
            .map(|user| ids.insert(user.id.uuid()))
            .collect();
        let part = |firsts: bool| -> Vec<&NewUser> {
            let part = users
                .iter()
                .zip(&is_first)
                .filter(|(_, is_first)| **is_first == firsts);
            part.map(|(user, _)| *user).collect()
        };
        let mut firsts = self.insert_on(connection, &part(true), None).into_iter();
        let others = part(false);
        if others.is_empty() {
            return firsts.collect();
        }

        let connection = self.pool.connection(Trust::RecentlyUsed);
        let mut others = self.insert_on(connection, &others, None).into_iter();
        let result = |is_first: &bool| {
            if *is_first {
                firsts.next()
            } else {
                others.next()
            }
        };
        is_first.iter().filter_map(result).collect()
    }
}
