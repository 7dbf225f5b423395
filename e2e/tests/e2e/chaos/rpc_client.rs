//! The clients of a chaos test that speak Cap'n Proto RPC: they create users one by one and many in a call, and read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::executor::block_on;
use users_client::{CallError, CreateOutcome, ListOutcome, NewUser, User, UsersClient};

use super::client::{Attempt, Done, Operation, choose_old, new_operation};
use super::history::{Asked, Event, Row, Told};
use super::reader::Pages;
use super::world::World;

/// Users in a call, at most.
const MAX_USERS: usize = 30;

/// One client: new operations, and repetitions of old ones, often many in a call. All have an id.
pub fn run(world: &World, client: usize, mut rng: Rng, stop: &AtomicBool) -> Done {
    let users = world.rpc_client();
    let mut done = Done::default();
    let mut pages = Pages::default();
    while !stop.load(Ordering::Relaxed) {
        if rng.f64() < 0.2 {
            let read = read(&users, &done.operations, &mut pages, &mut rng);
            done.reads.extend(read);
        }
        let count = if rng.bool() {
            1
        } else {
            rng.usize(1..MAX_USERS)
        };
        let chosen: Vec<usize> = (0..count)
            .map(|_| {
                let operations = &mut done.operations;
                choose_old(operations, &mut rng).unwrap_or_else(|| {
                    let mut new = new_operation(world, client, operations.len(), &mut rng);
                    let own = || format!("key-{client}-{}", operations.len());
                    new.by_rpc = true;
                    new.key = Some(new.key.unwrap_or_else(own));
                    operations.push(new);
                    operations.len() - 1
                })
            })
            .collect();
        if !create(&users, &mut done.operations, &chosen) {
            thread::sleep(Duration::from_millis(rng.u64(..40)));
        }
    }
    done
}

/// Creates users, one by `createUser` and several by `createUsers`. Returns whether all were answered.
fn create(users: &UsersClient, operations: &mut [Operation], chosen: &[usize]) -> bool {
    let new_user = |i: &usize| {
        let operation = &operations[*i];
        NewUser {
            id: operation.id().unwrap().parse().unwrap(),
            email: operation.email.clone(),
            name: operation.name.clone(),
        }
    };
    let mut new: Vec<NewUser> = chosen.iter().map(new_user).collect();
    let begin = Instant::now();
    let outcomes = if new.len() == 1 {
        vec![block_on(users.create_user(new.remove(0)))]
    } else {
        block_on(users.create_users(new))
    };
    let end = Instant::now();

    assert_eq!(outcomes.len(), chosen.len(), "an outcome for each user");
    let are_answered = outcomes.iter().all(Result::is_ok);
    for (&i, outcome) in chosen.iter().zip(outcomes) {
        operations[i].attempts.push(attempt(outcome, begin, end));
    }
    are_answered
}

/// An outcome, with the status that a gateway has for it.
fn attempt(outcome: Result<CreateOutcome, CallError>, begin: Instant, end: Instant) -> Attempt {
    let (status, user, is_replay) = match outcome {
        Ok(CreateOutcome::Stored { user, replayed }) => (201, row(user), replayed),
        Ok(CreateOutcome::EmailTaken) => (409, Row::default(), false),
        Ok(CreateOutcome::IdConflict) => (422, Row::default(), false),
        Ok(CreateOutcome::Invalid(_)) => (400, Row::default(), false),
        Err(CallError::NotExecuted(_)) => (503, Row::default(), false),
        Err(CallError::OutcomeUnknown(_)) => (504, Row::default(), false),
        Err(CallError::Unimplemented) => (501, Row::default(), false),
    };
    Attempt::Answered {
        status,
        user,
        is_replay,
        begin,
        end,
        // It calls the users services itself.
        frozen: false,
        has_new_key: false,
    }
}

/// Reads something that may be there: what the client has asked for itself, or a page of all users.
fn read(
    users: &UsersClient,
    operations: &[Operation],
    pages: &mut Pages,
    rng: &mut Rng,
) -> Option<Event> {
    let begin = Instant::now();
    let any = rng.choice(operations);
    let (asked, found) = match (rng.usize(..3), any) {
        (0, Some(any)) => {
            let id = any.id().unwrap();
            (Asked::Get(id.clone()), block_on(users.get_user(id)))
        }
        (1, Some(any)) => {
            let email = any.email.clone();
            (Asked::Find(email.clone()), block_on(users.find_user(email)))
        }
        _ => {
            let page = block_on(users.list_users(50, pages.token()));
            let (told, next) = match page {
                Ok(ListOutcome::Page {
                    users,
                    next_page_token,
                }) => (rows(users), next_page_token),
                Ok(ListOutcome::Invalid(_)) => (Told::Status(400), String::new()),
                Err(error) => (told_by(&error)?, String::new()),
            };
            return Some(pages.add(begin, told, next));
        }
    };
    let told = match found {
        Ok(user) => rows(user),
        Err(error) => told_by(&error)?,
    };
    Some(Event {
        begin,
        end: Some(Instant::now()),
        asked,
        told,
    })
}

/// What a read that failed tells. `None`: it was refused, as it may be.
fn told_by(error: &CallError) -> Option<Told> {
    (!matches!(error, CallError::NotExecuted(_))).then_some(Told::Status(500))
}

fn rows(users: impl IntoIterator<Item = User>) -> Told {
    Told::Rows(users.into_iter().map(row).collect())
}

fn row(user: User) -> Row {
    Row {
        id: user.id,
        email: user.email,
        name: user.name,
    }
}
