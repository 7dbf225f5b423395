//! Peers that mean no good: they cost bounded memory, and nobody else's requests.

mod answers;
mod calls;
mod connections;
mod directories;
mod forbidden_calls;
mod many_users;
mod memory;
mod messages;
pub mod raw;
mod readers;

use std::time::{Duration, Instant};

use e2e::System;

/// Creates users while something else goes on, and makes sure that each is served promptly.
fn serve_promptly(system: &System, prefix: &str) {
    for i in 0..10 {
        let start = Instant::now();
        let created = system.http.create(&format!("{prefix}{i}@example.com"), "A");
        let took = start.elapsed();
        assert_eq!(created.status, 201);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

/// The users service never takes more than this, whatever its peers do.
fn assert_memory_is_bounded(system: &System) {
    let peak = system.users.peak_memory();
    println!("{peak} MB");
    assert!(peak < 150, "{peak} MB");
}
