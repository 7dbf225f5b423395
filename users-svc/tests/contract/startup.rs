//! What the service asks of its database and its settings before it serves.

use std::net::TcpListener;

use clap::Parser as _;
use service_runtime::health::Readiness;
use users_svc::Settings;

use crate::support::{Service, fresh_database};

#[test]
fn old_schema_is_refused_until_it_is_migrated() {
    let url = fresh_database();
    let refusal = Service::start_on(&url, &[]).ended().unwrap_err();
    assert!(
        refusal.to_string().contains("users-svc migrate"),
        "{refusal:#}"
    );

    let settings = Settings::try_parse_from(["users-svc", "--database-url", &url]).unwrap();
    let migrator = settings.migrator().unwrap();
    let migrate = || users_svc::migrate(&migrator).unwrap().len();
    let applied: usize = std::thread::scope(|scope| {
        let at_once: Vec<_> = (0..4).map(|_| scope.spawn(migrate)).collect();
        at_once.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(
        applied, 2,
        "each migration is applied by one of those who try at once"
    );

    let service = Service::start_on(&url, &[]);
    service.wait_until_serving();
}

#[test]
fn database_in_another_encoding_is_refused() {
    let url = fresh_database();
    let latin = format!("{url}_latin");
    let name = latin.rsplit('/').next().unwrap();
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    postgres::Client::connect(&url, postgres::NoTls)
        .unwrap()
        .batch_execute(&create)
        .unwrap();
    let refusal = Service::start_on(&latin, &["--migrate-on-start", "true"])
        .ended()
        .unwrap_err();
    assert!(refusal.to_string().contains("UTF8"), "{refusal:#}");
}

#[test]
fn bad_database_url_is_refused_by_name() {
    let settings = Settings::try_parse_from(["users-svc", "--database-url", "nonsense"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = users_svc::run(
        &settings,
        listener,
        &Readiness::default(),
        &tokio_util::sync::CancellationToken::new(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("DATABASE_URL"));
}
