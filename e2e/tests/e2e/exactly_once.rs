//! However often and wherever a create is sent, it happens once.

use std::thread;

use e2e::{Http, System, database};

/// Creates a user from several clients at once; status and id of each answer.
fn create_at_once<'a>(
    clients: usize,
    request: impl Fn(usize) -> (&'a Http, String, String, Option<&'a str>),
) -> Vec<(u16, Option<String>)> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|i| {
                let (http, email, name, key) = request(i);
                scope.spawn(move || {
                    let answer = http.try_create(&email, &name, key).unwrap();
                    let id = answer.body["id"].as_str().map(str::to_owned);
                    (answer.status, id)
                })
            })
            .collect();
        let joined = clients.into_iter().map(|client| client.join().unwrap());
        joined.collect()
    })
}

#[test]
fn of_64_creates_of_one_address_one_is_201_and_the_rest_409() {
    let system = System::start();
    let emails = ["jane@example.com", "Jane@Example.COM"];
    let answers = create_at_once(64, |i| {
        let email = emails[i % 2].to_owned();
        (&system.http, email, format!("Jane {i}"), None)
    });
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((count(201), count(409)), (1, 63));
    assert_eq!(system.rows(), 1);
}

/// Two gateways, each with a users service of its own, on one database.
fn two_systems() -> [System; 2] {
    let database = database::fresh_database();
    [(); 2].map(|()| System::start_on(&database, &[], &[]))
}

#[test]
fn one_key_creates_one_user_however_many_send_it_to_whichever_replica() {
    let systems = two_systems();
    for round in 0..5 {
        let key = format!("key-{round}");
        let answers = create_at_once(16, |i| {
            let email = format!("jane{round}@example.com");
            (&systems[i % 2].http, email, "Jane".to_owned(), Some(&key))
        });
        assert_eq!(answers[0].0, 201);
        assert!(answers[0].1.is_some());
        assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
    }
    assert_eq!(systems[0].rows(), 5);
}

#[test]
fn key_reused_with_another_body_is_422_at_every_replica() {
    let systems = two_systems();
    let create = |replica: usize, name| {
        let http = &systems[replica].http;
        http.create_with_key("jane@example.com", name, "key").status
    };
    assert_eq!(create(0, "Jane"), 201);
    assert_eq!(create(0, "John"), 422);
    assert_eq!(create(1, "John"), 422);
    assert_eq!(systems[0].rows(), 1);
}

#[test]
fn refused_attempt_leaves_its_key_free() {
    let system = System::start();
    let create = |email| system.http.create_with_key(email, "Free", "free").status;
    assert_eq!(system.http.create("jane@example.com", "Jane").status, 201);
    assert_eq!(create("no address"), 400);
    assert_eq!(create("jane@example.com"), 409);
    assert_eq!(create("free@example.com"), 201);
    assert_eq!(create("free@example.com"), 201);
    assert_eq!(system.rows(), 2);
}
