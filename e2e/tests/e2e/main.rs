//! Tests of the whole system: the real binaries, a real PostgreSQL, real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_keys;
mod browser;
mod cargo_run;
mod chaos;
mod clients;
mod command_line;
mod create_and_get;
mod database_faults;
mod database_roles;
mod database_tls;
mod documents;
mod durability;
mod exactly_once;
mod failover;
mod hostile;
mod https;
mod hung_database;
mod hung_service;
mod import;
mod key_storm;
mod logs;
mod lost_answers;
mod manifests;
mod metrics;
mod mutual_tls;
mod patroni;
mod promise;
mod rate_limit;
mod replicas;
mod settings;
mod shutdown;
mod startup;
mod systemd;
mod traces;
