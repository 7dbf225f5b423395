//! The reads of a chaos test: one user by id or by e-mail address, and all users page by page.

use std::mem;
use std::time::Instant;

use e2e::Answer;
use serde_json::Value;

use super::history::{Asked, Event, Row, Told};
use super::world::World;

/// Reads one user by id. `None`: there was no answer, or 503.
pub fn get(world: &World, gateway: usize, id: String) -> Option<Event> {
    let (begin, answer, end) = ask(world, gateway, &format!("/users/{id}"))?;
    let told = match answer.status {
        200 => Told::Rows(vec![row(&answer.body)]),
        404 => Told::Rows(vec![]),
        other => Told::Status(other),
    };
    Some(Event {
        begin,
        end: Some(end),
        asked: Asked::Get(id),
        told,
    })
}

/// Reads the user who has an e-mail address.
pub fn find(world: &World, gateway: usize, email: String) -> Option<Event> {
    let (begin, answer, end) = ask(world, gateway, &format!("/users?email={email}"))?;
    Some(Event {
        begin,
        end: Some(end),
        asked: Asked::Find(email),
        told: list(&answer),
    })
}

/// Reads all users, a page at a time, again and again.
#[derive(Default)]
pub struct Pages {
    /// Of the next page; empty: the first.
    token: String,
    /// The last user of the page before.
    last: Option<String>,
}

impl Pages {
    /// Reads the next page.
    pub fn read(&mut self, world: &World, gateway: usize) -> Option<Event> {
        let path = format!("/users?pageToken={}", self.token);
        let (begin, answer, _) = ask(world, gateway, &path)?;
        let next = answer.body["nextPageToken"].as_str().unwrap_or_default();
        Some(self.add(begin, list(&answer), next.to_owned()))
    }

    /// The token of the next page.
    pub fn token(&self) -> String {
        self.token.clone()
    }

    /// Takes note of the next page, which was asked for at `begin`, and of the token of the one after it.
    pub fn add(&mut self, begin: Instant, told: Told, token: String) -> Event {
        let until = match &told {
            Told::Rows(rows) if !token.is_empty() => rows.last().map(|row| row.id.clone()),
            _ => None,
        };
        let next = Self {
            token,
            last: until.clone(),
        };
        let after = mem::replace(self, next).last;
        Event {
            begin,
            end: Some(Instant::now()),
            asked: Asked::Page { after, until },
            told,
        }
    }
}

/// `None`: there was no answer, or a refusal.
fn ask(world: &World, gateway: usize, path: &str) -> Option<(Instant, Answer, Instant)> {
    let begin = Instant::now();
    let answer = world.http(gateway).try_get(path).ok()?;
    let is_refusal = match answer.status {
        401 => world.api_keys.may_be_refused(begin),
        status => status == 503,
    };
    (!is_refusal).then(|| (begin, answer, Instant::now()))
}

fn list(answer: &Answer) -> Told {
    match answer.body["users"].as_array() {
        Some(users) if answer.status == 200 => Told::Rows(users.iter().map(row).collect()),
        _ => Told::Status(answer.status),
    }
}

/// The user in an answer.
pub fn row(user: &Value) -> Row {
    let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
    Row {
        id: text("id"),
        email: text("email"),
        name: text("name"),
    }
}
