//! A link lives no longer than the certificates that it was made with, and its end costs no call.

use std::time::{Duration, Instant, SystemTime};
use std::{slice, thread};

use e2e::certificates::{Certificates, TlsFiles};
use e2e::rpc::{self, block_on};
use e2e::{System, admin, free_addr, under_load};

use super::system;

/// A certificate for a caller of this name that is valid for so long from now on.
fn short_lived(certificates: &Certificates, name: &str, lifetime: Duration) -> TlsFiles {
    let now = SystemTime::now();
    certificates.issue_with_validity(name, &[name], now - Duration::from_secs(60)..now + lifetime)
}

#[test]
fn connection_ends_when_its_peers_certificate_does() {
    let certificates = Certificates::new();
    let system = system(&certificates);
    let lifetime = Duration::from_secs(6);
    let caller = short_lived(&certificates, "caller", lifetime);
    let begin = Instant::now();
    block_on(async {
        let connected = rpc::connect_with_tls(system.users_addr, "localhost", &caller).await;
        let (users, ended) = connected.unwrap();
        users.health_request().send().promise.await.unwrap();
        let _ = ended.await.unwrap();
    });
    let lived = begin.elapsed();
    // A certificate's times are whole seconds.
    let expected = lifetime.mul_f64(0.75)..lifetime + Duration::from_millis(500);
    assert!(expected.contains(&lived), "{lived:?}");
}

#[test]
fn link_is_replaced_before_its_certificate_expires_without_a_failed_request() {
    let certificates = Certificates::new();
    let admin = free_addr();
    let lifetime = Duration::from_secs(12);
    let gateway = short_lived(&certificates, "gateway", lifetime);
    let settings = [&gateway.of_caller()[..], &[("ADMIN_ADDR", &admin)]].concat();
    let service = certificates.issue_for_service();
    let system = System::start_with(&service.of_service(), &settings);
    let connects = || admin::value(&admin, "rpc_client_connects_total", &[]);
    let at_first = connects();

    let outcomes = under_load(slice::from_ref(&system.http), 4, "replaced", || {
        for _ in 0..4 {
            thread::sleep(lifetime / 3);
            short_lived(&certificates, "gateway", lifetime);
        }
    });

    assert!(connects() > at_first, "no link was replaced");
    let failed: Vec<_> = outcomes.iter().filter(|o| o.status != 201).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(!system.gateway.output().contains("lost a users service"));
}
