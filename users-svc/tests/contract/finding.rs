//! What `findUser` promises.

use futures::future::join_all;

use crate::support::{CreateAnswer, Service, fresh_id};

#[test]
fn user_is_found_by_the_address_in_any_letter_case() {
    let service = Service::start();
    service.call(async |users| {
        let created = users.create(&fresh_id(), "Jane@Example.com", "Jane").await;
        let CreateAnswer::New(jane) = created else {
            panic!("{created:?}")
        };
        for spelling in ["Jane@Example.com", "jane@example.com", " JANE@EXAMPLE.COM "] {
            assert_eq!(users.find(spelling).await, Some(jane.clone()), "{spelling}");
        }
    });
}

#[test]
fn address_of_nobody_and_text_that_is_no_address_find_nobody() {
    let service = Service::start();
    service.call(async |users| {
        users.create(&fresh_id(), "jane@example.com", "Jane").await;
        for nobodys in [
            "joe@example.com",
            "",
            "jane",
            "%@example.com",
            "jane@example.com\0",
        ] {
            assert_eq!(users.find(nobodys).await, None, "{nobodys:?}");
        }
    });
}

#[test]
fn finds_at_the_same_time_each_get_their_own_user() {
    let service = Service::start();
    service.call(async |users| {
        let address = |i: usize| format!("u{i}@example.com");
        let create = async |i| users.create(&fresh_id(), &address(i), "A").await;
        join_all((0..100).map(create)).await;

        let find = async |i| users.find(&address(i)).await.unwrap().email;
        let found = join_all((0..100).map(find)).await;
        assert_eq!(found, (0..100).map(address).collect::<Vec<_>>());
    });
}
