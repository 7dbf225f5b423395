//! Failover stories, simulated: clients with all their links, balancing, retries and lookups run under paused time in
//! a network in memory. A seed is a story, and always the same one.
//!
//! What is real: everything in this crate but the sockets, the TLS and the thread of the lookups, and RPC at both
//! ends. What is simulated: the network, the names, the processes of the replicas and their database.
//!
//! A story that breaks an invariant names its seed. `SIMULATION_SEED=17 cargo test -p users-client simulation --
//! --nocapture` tells it again, with its trace, and `SIMULATION_STORIES=20000` tells more stories than usual.

mod bounds;
mod call;
mod call_invariants;
mod invariants;
mod link_invariants;
mod network;
mod replica;
mod story;
mod tests;
mod trace;
mod wire_tap;
mod world;
mod wrong_traces;

pub use network::SimulatedDial;
