//! Every outcome of a call, as each client prints it, with its exit status.

use serde_json::{Value, json};
use users_conformance::Step;
use uuid::Uuid;

use super::client::Client;
use super::conformance as scripted;
use super::service::{Service, User};

pub fn create_prints_the_user_as_it_is_stored(client: &Client) {
    let (service, user) = (Service::shared(), User::new());

    let untrimmed = format!(" {}", user.email);
    let printed = client.create(&service.addr, &user.id, &untrimmed, user.name);

    let created = json!({ "outcome": "created", "user": user.json() });
    assert_eq!(printed, (0, created));
    assert_eq!(service.rows_of(&user.email), 1);
}

pub fn create_without_an_id_picks_one(client: &Client) {
    let (service, user) = (Service::shared(), User::new());

    let words = ["create", "--email", &user.email, "--name", "Joe"];
    let (status, printed) = client.run(&service.addr, &words);

    assert_eq!((status, &printed["outcome"]), (0, &json!("created")));
    let id = printed["user"]["id"].as_str().unwrap();
    assert!(Uuid::try_parse(id).is_ok(), "{id}");
}

pub fn create_again_with_the_same_fields_is_a_replay(client: &Client) {
    let service = Service::shared();
    let user = service.with_user();

    let printed = client.create(&service.addr, &user.id, &user.email, user.name);

    let replayed = json!({ "outcome": "replayed", "user": user.json() });
    assert_eq!(printed, (0, replayed));
    assert_eq!(service.rows_of(&user.email), 1);
}

pub fn create_reports_every_field_at_fault(client: &Client) {
    let service = Service::shared();
    let (id, fields_at_fault) = if client.has_typed_ids {
        (User::new().id, &["email", "name"][..])
    } else {
        ("x".to_owned(), &["id", "email", "name"][..])
    };

    let (status, printed) = client.create(&service.addr, &id, "jane", "");

    assert_eq!((status, &printed["outcome"]), (3, &json!("invalid")));
    assert_eq!(fields(&printed), fields_at_fault);
}

pub fn create_with_an_email_of_another_user_is_refused(client: &Client) {
    let service = Service::shared();
    let (user, other) = (service.with_user(), User::new());

    let upper_case = user.email.to_uppercase();
    let (status, printed) = client.create(&service.addr, &other.id, &upper_case, other.name);

    assert_eq!((status, &printed["outcome"]), (3, &json!("emailTaken")));
    assert_eq!(service.rows_of(&user.email), 1);
}

pub fn create_with_the_id_of_another_user_is_refused(client: &Client) {
    let service = Service::shared();
    let user = service.with_user();

    let (status, printed) = client.create(&service.addr, &user.id, &user.email, "another name");

    assert_eq!((status, &printed["outcome"]), (3, &json!("idConflict")));
    assert_eq!(service.rows_of(&user.email), 1);
}

pub fn create_that_ends_unknown_prints_the_id_that_settles_it(client: &Client) {
    let addr = scripted::start(&[Step::Fails]);

    let words = ["create", "--email", "a@b.io", "--name", "A"];
    let (status, printed) = client.run(&addr, &words);

    assert_eq!((status, &printed["outcome"]), (5, &json!("unknown")));
    let id = printed["id"].as_str().unwrap();
    assert!(Uuid::try_parse(id).is_ok(), "{printed}");
}

pub fn create_that_no_message_can_carry_is_invalid_and_leaves_its_connection(client: &Client) {
    let (service, user) = (Service::start(), User::new());
    let mut session = client.session(&service.addr);
    assert_eq!(session.get(&user.id), "notFound");
    let peers = service.peers();

    // More than a message to the service holds.
    let too_long = "x".repeat(140_000);
    assert_eq!(session.create(&user.id, &user.email, &too_long), "invalid");
    assert_eq!(session.create(&user.id, &too_long, "Jane"), "invalid");

    assert_eq!(session.create(&user.id, &user.email, "Jane"), "created");
    assert_eq!(service.peers(), peers);
}

pub fn field_that_no_message_can_carry_is_named(client: &Client) {
    let (service, user) = (Service::shared(), User::new());
    let too_long = "x".repeat(100_000);

    let created = client.create(&service.addr, &user.id, &user.email, &too_long);
    let listed = client.run(&service.addr, &["list", "--page-token", &too_long]);

    for ((status, printed), field) in [(created, "name"), (listed, "pageToken")] {
        assert_eq!((status, &printed["outcome"]), (3, &json!("invalid")));
        assert_eq!(fields(&printed), [field]);
    }
}

pub fn get_prints_a_stored_user(client: &Client) {
    let service = Service::shared();
    let user = service.with_user();

    let printed = client.run(&service.addr, &["get", &user.id]);

    let found = json!({ "outcome": "found", "user": user.json() });
    assert_eq!(printed, (0, found));
}

pub fn get_says_when_no_user_has_the_id(client: &Client) {
    let service = Service::shared();

    for id in [&*User::new().id, "x", &"x".repeat(100_000)] {
        let printed = client.run(&service.addr, &["get", id]);
        assert_eq!(printed, (3, json!({ "outcome": "notFound" })));
    }
}

pub fn list_reads_every_user_page_by_page(client: &Client) {
    let service = Service::start();
    let mut users = [service.with_user().json(), service.with_user().json()];
    users.sort_by_key(|user| user["id"].as_str().unwrap().to_owned());
    let list = |token: &str| {
        let words = ["list", "--page-size", "1", "--page-token", token];
        client.run(&service.addr, &words)
    };

    let (status, first) = list("");
    assert_eq!((status, &first["outcome"]), (0, &json!("page")));
    let (_, rest) = list(first["nextPageToken"].as_str().unwrap());

    assert_eq!(
        [&first["users"][0], &rest["users"][0]],
        [&users[0], &users[1]]
    );
    assert_eq!(rest["nextPageToken"], "");
}

pub fn list_reports_every_field_at_fault(client: &Client) {
    let service = Service::shared();

    let words = ["list", "--page-size", "0", "--page-token", "?"];
    let (status, printed) = client.run(&service.addr, &words);

    assert_eq!((status, &printed["outcome"]), (3, &json!("invalid")));
    assert_eq!(fields(&printed), ["pageSize", "pageToken"]);
}

/// The fields of the errors that are printed.
fn fields(printed: &Value) -> Vec<&str> {
    let errors = printed["errors"].as_array().unwrap().iter();
    errors
        .map(|error| error["field"].as_str().unwrap())
        .collect()
}
