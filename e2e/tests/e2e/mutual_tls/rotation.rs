//! Certificates and CAs that are replaced while requests go on.

use std::{fs, slice};

use e2e::certificates::{Certificates, TlsFiles};
use e2e::{Http, Program, System, eventually, start_gateway, under_load};

use super::create;

/// Waits until both services have read changed files again so many times.
fn wait_for_reloads(system: &System, count: usize) {
    eventually("the files are read again", || {
        let has_read = |program: &Program| {
            let output = program.output();
            output.matches("read the files again").count() >= count
        };
        has_read(&system.users) && has_read(&system.gateway)
    });
}

/// Replaces the content of files by that of others, the certificate first.
fn replace(old: &TlsFiles, new: &TlsFiles) {
    fs::copy(&new.cert, &old.cert).unwrap();
    fs::copy(&new.key, &old.key).unwrap();
}

#[test]
fn certificates_and_their_ca_are_replaced_without_a_failed_request() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let (service, gateway) = (old.issue_for_service(), old.issue("gateway"));
    let system = System::start_with(&service.of_service(), &gateway.of_caller());
    let new_ca = fs::read_to_string(new.ca()).unwrap();
    let old_ca = fs::read_to_string(old.ca()).unwrap();

    let outcomes = under_load(slice::from_ref(&system.http), 8, "rotated", || {
        // Both ends trust both CAs, then show what the new one signed, then forget the old one.
        fs::write(old.ca(), format!("{old_ca}{new_ca}")).unwrap();
        wait_for_reloads(&system, 1);
        let mut caller = new.issue("caller");
        caller.ca = old.ca().to_owned();
        assert_eq!(create(&system, "localhost", &caller), Ok(()));

        replace(&service, &new.issue_for_service());
        replace(&gateway, &new.issue("gateway"));
        wait_for_reloads(&system, 2);
        fs::write(old.ca(), &new_ca).unwrap();
        wait_for_reloads(&system, 3);
    });

    let failed: Vec<_> = outcomes.iter().filter(|o| o.status != 201).collect();
    assert!(failed.is_empty(), "{failed:?}");
    // What the old CA has signed is refused from now on.
    let mut late = old.issue("late");
    late.ca = new.ca().to_owned();
    assert!(create(&system, "localhost", &late).is_err());
    let (_gateway, http): (_, Http) =
        start_gateway(&system.users_addr.to_string(), &gateway.of_caller());
    http.wait_until_ready();
}
