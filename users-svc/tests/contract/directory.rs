//! What `directory` and `UserDirectory` promise.

use capnp::ErrorKind;
use capnp::capability::FromClientHook as _;
use users_rpc::users_capnp::{
    directory_handle, find_user_response, get_user_response, list_users_response, user_directory,
    users,
};

use crate::support::{Client, Service, fresh_id};

async fn directory_of(users: &Client) -> (user_directory::Client, directory_handle::Client) {
    let response = users.0.directory_request().send().promise.await.unwrap();
    let response = response.get().unwrap();
    (
        response.get_directory().unwrap(),
        response.get_handle().unwrap(),
    )
}

/// Whether the directory finds the user with this address.
async fn finds(directory: &user_directory::Client, email: &str) -> bool {
    let mut request = directory.find_user_request();
    request.get().set_email(email);
    let response = request.send().promise.await.unwrap();
    matches!(
        response.get().unwrap().which().unwrap(),
        find_user_response::User(_)
    )
}

/// Whether each method of a directory answers that it is revoked.
async fn is_revoked(directory: &user_directory::Client) -> [bool; 3] {
    let got = directory.get_user_request().send().promise.await.unwrap();
    let listed = directory.list_users_request().send().promise.await.unwrap();
    let found = directory.find_user_request().send().promise.await.unwrap();
    [
        matches!(
            got.get().unwrap().which().unwrap(),
            get_user_response::Revoked(())
        ),
        matches!(
            listed.get().unwrap().which().unwrap(),
            list_users_response::Revoked(())
        ),
        matches!(
            found.get().unwrap().which().unwrap(),
            find_user_response::Revoked(())
        ),
    ]
}

#[test]
fn directory_reads_and_cannot_create() {
    let service = Service::start();
    service.call(async |users| {
        users.create(&fresh_id(), "jane@example.com", "Jane").await;
        let (directory, _handle) = directory_of(users).await;
        assert!(finds(&directory, "JANE@example.com").await);

        let cast: users::Client = directory.clone().cast_to();
        let mut request = cast.create_user_request();
        request.get().set_email("joe@example.com");
        request.get().set_name("Joe");
        let refused = request.send().promise.await.map(drop).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unimplemented);
        assert_eq!(users.find("joe@example.com").await, None);
    });
}

#[test]
fn released_handle_revokes_its_directory_and_no_other() {
    let service = Service::start();
    service.call(async |users| {
        users.create(&fresh_id(), "jane@example.com", "Jane").await;
        let (directory, handle) = directory_of(users).await;
        let (other, _other_handle) = directory_of(users).await;

        drop(handle);

        assert_eq!(is_revoked(&directory).await, [true; 3]);
        // Its holder has lost nothing else.
        assert!(finds(&other, "jane@example.com").await);
        assert!(users.find("jane@example.com").await.is_some());
    });
}

#[test]
fn directory_outlives_a_released_copy_of_its_handle() {
    let service = Service::start();
    service.call(async |users| {
        let (directory, handle) = directory_of(users).await;
        drop(handle.clone());
        assert_eq!(is_revoked(&directory).await, [false; 3]);
    });
}

#[test]
fn directory_can_be_called_before_it_has_come() {
    let service = Service::start();
    service.call(async |users| {
        users.create(&fresh_id(), "jane@example.com", "Jane").await;
        let made = users.0.directory_request().send();
        let directory = made.pipeline.get_directory();
        assert!(finds(&directory, "jane@example.com").await);
    });
}
