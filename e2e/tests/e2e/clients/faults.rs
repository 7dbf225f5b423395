//! One client through the faults of its service: late answers, a restart, an outage.

use std::{thread, time::Duration};

use e2e::certificates::Certificates;
use e2e::eventually;

use super::client::Client;
use super::service::{Service, User};

/// For calls that are to be late.
const SHORT: Duration = Duration::from_millis(700);

pub fn create_with_a_late_answer_is_unknown_until_it_is_repeated(client: &Client) {
    let (service, user) = (Service::start(), User::new());
    let mut impatient = client.session_with_timeout(&service.addr, SHORT);
    assert_eq!(impatient.get(&user.id), "notFound");

    service.freeze();
    assert_eq!(impatient.create(&user.id, &user.email, "Jane"), "unknown");
    service.thaw();

    let mut patient = client.session(&service.addr);
    let settled = patient.create(&user.id, &user.email, "Jane");
    assert!(["created", "replayed"].contains(&&*settled), "{settled}");
    assert_eq!(service.rows_of(&user.email), 1);
}

pub fn get_with_a_late_answer_is_unavailable_and_costs_its_connection(client: &Client) {
    check_late_answers(client, &Service::start());
}

pub fn get_with_a_late_answer_over_mutual_tls_costs_its_connection(client: &Client) {
    let certificates = Certificates::new();
    let client = client.with_tls(&certificates.issue("gateway"));
    let service = Service::start_with_tls(&certificates.issue_for_service());
    check_late_answers(&client, &service);
}

fn check_late_answers(client: &Client, service: &Service) {
    let user = service.with_user();
    let mut session = client.session_with_timeout(&service.named_addr(), SHORT);
    assert_eq!(session.get(&user.id), "found");

    for _ in 0..3 {
        service.freeze();
        assert_eq!(session.get(&user.id), "unavailable");
        service.thaw();
        assert_eq!(session.get(&user.id), "found");
        assert!(service.connections() <= 1);
    }

    drop(session);
    eventually("no connection is left behind", || {
        service.connections() == 0
    });
}

pub fn restarted_service_is_called_on_a_new_connection(client: &Client) {
    check_restart(client, Service::start());
}

pub fn restarted_service_is_called_over_mutual_tls_again(client: &Client) {
    let certificates = Certificates::new();
    let client = client.with_tls(&certificates.issue("gateway"));
    let service = Service::start_with_tls(&certificates.issue_for_service());
    check_restart(&client, service);
}

fn check_restart(client: &Client, mut service: Service) {
    let user = service.with_user();
    let mut session = client.session(&service.named_addr());
    assert_eq!(session.get(&user.id), "found");

    service.stop();
    service.start_again();

    assert_eq!(session.get(&user.id), "found");
}

pub fn create_writes_nothing_while_the_service_is_away(client: &Client) {
    let (mut service, user) = (Service::start(), User::new());
    let mut session = client.session(&service.addr);
    assert_eq!(session.get(&user.id), "notFound");

    service.stop();
    // A client notices in a moment that its connection has ended; a create that meets the end is unknown.
    thread::sleep(Duration::from_millis(200));
    assert_eq!(session.create(&user.id, &user.email, "Jane"), "unavailable");
    assert_eq!(service.rows_of(&user.email), 0);

    // A pause between attempts to connect is two seconds at most.
    service.start_again();
    let create = || session.create(&user.id, &user.email, "Jane");
    let back = std::iter::repeat_with(create).take(30).find(|outcome| {
        let is_back = outcome != "unavailable";
        if !is_back {
            thread::sleep(Duration::from_millis(100));
        }
        is_back
    });
    assert_eq!(back.as_deref(), Some("created"));
}
