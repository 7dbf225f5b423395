//! Every state that a few faults can lead to keeps the promise, and each flaw is found.

use std::collections::HashSet;
use std::env;
use std::mem::discriminant;

use model::state::User;
use model::{Action, Fault, Flaw, Promise};
use stateright::{Checker, DiscoveryClassification, HasDiscoveries, Model, UniformChooser};

const JANE: User = User { id: 1, email: 'j' };

/// Two clients: Jane's, and one that repeats her request, has her key for another user, or wants her address.
fn two_clients(faults: u8) -> Promise {
    let seconds = [JANE, User { id: 1, email: 'k' }, User { id: 2, email: 'j' }];
    Promise {
        wants: seconds.map(|second| vec![JANE, second]).to_vec(),
        faults,
        retries: 2,
        flaw: None,
    }
}

/// Looks at every state. There are as many as docs/PROOF.md says.
fn check_all(model: Promise, states: usize) {
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

#[test]
fn promise_is_kept_whatever_two_faults_do() {
    check_all(two_clients(2), 201_310);
}

#[test]
#[ignore = "takes a minute and 2.4 GB"]
fn promise_is_kept_whatever_three_faults_do() {
    check_all(two_clients(3), 6_286_610);
}

#[test]
fn promise_is_kept_on_random_ways_through_many_faults() {
    let seed = env::var("MODEL_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("MODEL_SEED={seed}");
    let kim = User { id: 2, email: 'k' };
    let wants = |fourth| vec![JANE, JANE, kim, fourth];
    let model = Promise {
        wants: [User { id: 2, email: 'j' }, User { id: 3, email: 'k' }]
            .map(wants)
            .to_vec(),
        retries: 8,
        ..two_clients(8)
    };
    let checker = model
        .checker()
        .target_state_count(1_000_000)
        .spawn_simulation(seed, UniformChooser)
        .join();
    for property in broken(&checker) {
        checker.assert_no_discovery(property);
    }
}

#[test]
fn each_fault_happens() {
    let faults = faults_that_happen(&two_clients(2));
    assert_eq!(faults.len(), 12, "{faults:?}");
}

/// One of each kind of fault.
fn faults_that_happen(model: &Promise) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut known: HashSet<_> = model.init_states().into_iter().collect();
    let mut to_visit: Vec<_> = known.iter().cloned().collect();
    while let Some(state) = to_visit.pop() {
        for (action, next) in model.next_steps(&state) {
            if let Action::Break(fault) = action
                && faults
                    .iter()
                    .all(|known| discriminant(known) != discriminant(&fault))
            {
                faults.push(fault);
            }
            if known.insert(next.clone()) {
                to_visit.push(next);
            }
        }
    }
    faults
}

#[test]
fn each_flaw_is_found() {
    for flaw in Flaw::ALL {
        let model = Promise {
            flaw: Some(flaw),
            ..two_clients(2)
        };
        let checker = model
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let found = broken(&checker);
        println!("{flaw:?}: {found:?}");
        assert!(!found.is_empty(), "{flaw:?}");
    }
}

/// The properties that do not hold.
fn broken(checker: &impl Checker<Promise>) -> Vec<&'static str> {
    let is_broken = |name: &&str| {
        let classified = checker.discovery_classification(name);
        matches!(classified, DiscoveryClassification::Counterexample)
    };
    let discoveries = checker.discoveries().into_keys();
    discoveries.filter(is_broken).collect()
}
