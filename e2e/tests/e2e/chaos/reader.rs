//! The reads of a chaos test: one user by id or by e-mail address, and all users page by page.

use std::mem;
use std::time::Instant;

use e2e::{Answer, Http};
use serde_json::Value;

use super::history::{Asked, Event, Row, Told};

/// Reads one user by id. `None`: there was no answer, or 503.
pub fn get(http: &Http, id: String) -> Option<Event> {
    let (begin, answer, end) = ask(http, &format!("/users/{id}"))?;
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
pub fn find(http: &Http, email: String) -> Option<Event> {
    let (begin, answer, end) = ask(http, &format!("/users?email={email}"))?;
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
    pub fn read(&mut self, http: &Http) -> Option<Event> {
        let (begin, answer, end) = ask(http, &format!("/users?pageToken={}", self.token))?;
        let told = list(&answer);
        let token = answer.body["nextPageToken"].as_str().unwrap_or_default();
        let until = match &told {
            Told::Rows(rows) if !token.is_empty() => rows.last().map(|row| row.id.clone()),
            _ => None,
        };
        let next = Self {
            token: token.to_owned(),
            last: until.clone(),
        };
        let after = mem::replace(self, next).last;
        Some(Event {
            begin,
            end: Some(end),
            asked: Asked::Page { after, until },
            told,
        })
    }
}

fn ask(http: &Http, path: &str) -> Option<(Instant, Answer, Instant)> {
    let begin = Instant::now();
    let answer = http.try_get(path).ok()?;
    (answer.status != 503).then(|| (begin, answer, Instant::now()))
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
