//! The methods that read, which `Users` and `UserDirectory` have in common.

use std::rc::Rc;

use users_rpc::users_capnp::user_directory::{
    FindUserParams, FindUserResults, GetUserParams, GetUserResults, ListUsersParams,
    ListUsersResults,
};

use super::messages::{CallContext, len, read_page, set_field_errors, set_user};
use crate::call::{Calls, Interface};
use crate::queues::QueueHandles;
use crate::user::{Email, UserId};

/// Reads users for one connection.
#[derive(Clone)]
pub struct Reads {
    pub calls: Rc<Calls>,
    pub queues: Rc<QueueHandles>,
    /// Which of both is called.
    pub interface: Interface,
}

impl Reads {
    pub async fn get_user(
        &self,
        params: GetUserParams,
        mut results: GetUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = CallContext::read(request.get_context()?);
        let gets = &self.queues.gets;
        let get = async |trace| {
            // Text that is not a UUID is no user's id.
            let found = match request.get_id()?.to_str().map(UserId::parse) {
                Ok(Ok(id)) => gets.submit(id.uuid(), context.deadline, trace).await?,
                _ => None,
            };
            match found {
                Some(user) => set_user(results.get().init_user(), &user),
                None => results.get().set_not_found(()),
            }
            Ok(())
        };
        self.calls
            .run(self.interface, "getUser", context.parent, get)
            .await
    }

    pub async fn find_user(
        &self,
        params: FindUserParams,
        mut results: FindUserResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = CallContext::read(request.get_context()?);
        let finds = &self.queues.finds;
        let find = async |trace| {
            // Text that is no e-mail address is no user's.
            let found = match request.get_email()?.to_str().map(Email::parse) {
                Ok(Ok(email)) => {
                    let key = email.unique_key();
                    finds.submit(key, context.deadline, trace).await?
                }
                _ => None,
            };
            match found {
                Some(user) => set_user(results.get().init_user(), &user),
                None => results.get().set_not_found(()),
            }
            Ok(())
        };
        self.calls
            .run(self.interface, "findUser", context.parent, find)
            .await
    }

    pub async fn list_users(
        &self,
        params: ListUsersParams,
        mut results: ListUsersResults,
    ) -> Result<(), capnp::Error> {
        let request = params.get()?;
        let context = CallContext::read(request.get_context()?);
        let pages = &self.queues.pages;
        let list = async |trace| {
            let (size, token) = (request.get_page_size(), request.get_page_token()?);
            let after = match read_page(size, token) {
                Ok(after) => after,
                Err(errors) => {
                    set_field_errors(results.get().init_invalid(len(&errors)), &errors);
                    return Ok(());
                }
            };

            let _permit = self.calls.large_answer(context.deadline).await?;
            // One more than asked for tells whether there is a next page.
            let wanted = (after, size + 1);
            let mut users = pages.submit(wanted, context.deadline, trace).await?;
            let has_next = users.len() > size as usize;
            users.truncate(size as usize);

            let mut page = results.get().init_page();
            if let (true, Some(last)) = (has_next, users.last()) {
                page.set_next_page_token(last.id.to_string());
            }
            let mut list = page.init_users(len(&users));
            for (i, user) in (0..).zip(&users) {
                set_user(list.reborrow().get(i), user);
            }
            Ok(())
        };
        self.calls
            .run(self.interface, "listUsers", context.parent, list)
            .await
    }
}
