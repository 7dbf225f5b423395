//! The faults that a chaos test chooses from, each of which is over when its function returns.

use std::{thread, time::Duration};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use e2e::database::terminate_others;
use e2e::proxy::{Fault, Proxy};

use super::credentials::Tls;
use super::world::World;

/// Breaks something, and mends it.
type Break = fn(&World, &mut Rng);

const OF_SERVICES: &[(&str, Break)] = &[
    ("users-svc killed", |world, rng| {
        world.users[rng.usize(..2)].restart(Signal::SIGKILL);
    }),
    ("users-svc restarted", |world, rng| {
        world.users[rng.usize(..2)].restart(Signal::SIGTERM);
    }),
    ("users-svc frozen", |world, rng| {
        world.users[rng.usize(..2)].freeze(a_moment(rng) * 3);
    }),
    ("gateway killed", |world, rng| {
        world.gateways[rng.usize(..2)].restart(Signal::SIGKILL);
    }),
    ("gateway restarted", |world, rng| {
        world.gateways[rng.usize(..2)].restart(Signal::SIGTERM);
    }),
    ("gateway frozen", |world, rng| {
        world.freeze_gateway(rng.usize(..2), a_moment(rng) * 3);
    }),
];

const OF_POSTGRES: &[(&str, Break)] = &[
    ("postgres killed", kill_postgres),
    ("postgres restarted", restart_postgres),
    ("postgres frozen", freeze_postgres),
    ("backends terminated", |world, _| {
        let _ = world.sql().map(|mut sql| terminate_others(&mut sql));
    }),
    ("table locked", lock_table),
    ("backend frozen", freeze_backend),
    ("database connections silent", |world, rng| {
        world.database_link.silence_open();
        thread::sleep(a_moment(rng) * 2);
        world.database_link.cut();
    }),
    ("key storm", |world, rng| world.storm_for(a_moment(rng))),
];

const OF_LINKS: &[(&str, Break)] = &[
    // Twice as likely as the others.
    ("link cut", |world, rng| a_link(world, rng).cut()),
    ("link cut", |world, rng| a_link(world, rng).cut()),
    ("link delayed", |world, rng| {
        disturb(world, rng, Fault::Delay(Duration::from_millis(20)));
    }),
    ("link sliced", |world, rng| {
        disturb(world, rng, Fault::Slice);
    }),
    ("link black-holed", |world, rng| {
        let faults = [Fault::BlackHole, Fault::SwallowAnswers];
        let fault = faults[rng.usize(..2)];
        disturb(world, rng, fault);
    }),
    ("answers lost", lose_answers),
];

const OF_CREDENTIALS: &[(&str, Break)] = &[
    ("API key replaced", |world, _| world.api_keys.replace()),
    // In plain text there are none.
    ("certificates replaced, if any", |world, _| {
        world.tls.iter().for_each(Tls::replace);
    }),
];

/// Does one of the faults, and returns its name.
pub fn break_something(world: &World, rng: &mut Rng) -> &'static str {
    let faults = [OF_SERVICES, OF_POSTGRES, OF_LINKS, OF_CREDENTIALS].concat();
    let (name, do_it) = faults[rng.usize(..faults.len())];
    do_it(world, rng);
    name
}

fn a_moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.u64(50..1500))
}

fn a_link<'a>(world: &'a World, rng: &mut Rng) -> &'a Proxy {
    let links = [
        &world.rpc_links[0],
        &world.rpc_links[1],
        &world.database_link,
    ];
    links[rng.usize(..3)]
}

fn disturb(world: &World, rng: &mut Rng, fault: Fault) {
    let link = a_link(world, rng);
    link.set(fault);
    thread::sleep(a_moment(rng));
    link.set(Fault::None);
}

/// The write goes out, its answer never comes back.
fn lose_answers(world: &World, rng: &mut Rng) {
    let link = a_link(world, rng);
    link.set(Fault::SwallowAnswers);
    thread::sleep(a_moment(rng) / 4);
    link.cut();
    link.set(Fault::None);
}

fn kill_postgres(world: &World, rng: &mut Rng) {
    let mut server = world.server.lock().unwrap();
    server.signal(Signal::SIGKILL).unwrap();
    thread::sleep(a_moment(rng) / 3);
    server.start_again().unwrap();
}

fn restart_postgres(world: &World, rng: &mut Rng) {
    let mut server = world.server.lock().unwrap();
    server.stop();
    thread::sleep(a_moment(rng));
    server.start_again().unwrap();
}

/// All processes of the server stand still for a while.
fn freeze_postgres(world: &World, rng: &mut Rng) {
    let server = world.server.lock().unwrap();
    server.signal_all(Signal::SIGSTOP);
    thread::sleep(a_moment(rng) * 3);
    server.signal_all(Signal::SIGCONT);
}

/// One of the processes that serve a connection stands still for a while.
fn freeze_backend(world: &World, rng: &mut Rng) {
    let select = "SELECT pid FROM pg_stat_activity \
                  WHERE application_name = 'users-svc' ORDER BY random() LIMIT 1";
    let Ok(Some(row)) = world.sql().and_then(|mut sql| sql.query_opt(select, &[])) else {
        return;
    };
    let pid = Pid::from_raw(row.get(0));
    if kill(pid, Signal::SIGSTOP).is_ok() {
        thread::sleep(a_moment(rng) * 3);
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// Someone else holds the table for a while.
fn lock_table(world: &World, rng: &mut Rng) {
    if let Ok(mut sql) = world.sql() {
        let _ = sql.batch_execute("BEGIN; LOCK TABLE users IN SHARE MODE");
        thread::sleep(a_moment(rng));
    }
}
