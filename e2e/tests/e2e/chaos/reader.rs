//! The reads of a chaos test: one user by id or by e-mail address, and all users page by page.

use std::time::Instant;

use e2e::{Answer, Http};
use serde_json::Value;

use super::history::{Asked, Event, Row, Told};

/// Reads one user by id. `None`: there was no answer.
pub fn get(http: &Http, id: String) -> Option<Event> {
    let (begin, answer, end) = ask(http, &format!("/users/{id}"))?;
    let rows = match answer.status {
        200 => vec![row(&answer.body)],
        404 => vec![],
        _ => return None,
    };
    Some(Event {
        begin,
        end: Some(end),
        asked: Asked::Get(id),
        told: Told::Rows(rows),
    })
}

/// Reads the user who has an e-mail address.
pub fn find(http: &Http, email: String) -> Option<Event> {
    let (begin, answer, end) = ask(http, &format!("/users?email={email}"))?;
    Some(Event {
        begin,
        end: Some(end),
        asked: Asked::Find(email),
        told: Told::Rows(rows(&answer)?),
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
        let rows = rows(&answer)?;
        let token = answer.body["nextPageToken"].as_str().unwrap_or_default();
        let is_last = token.is_empty();
        let until = rows.last().filter(|_| !is_last).map(|row| row.id.clone());
        let before = Self {
            token: token.to_owned(),
            last: until.clone(),
        };
        let after = std::mem::replace(self, before).last;
        Some(Event {
            begin,
            end: Some(end),
            asked: Asked::Page { after, until },
            told: Told::Rows(rows),
        })
    }
}

fn ask(http: &Http, path: &str) -> Option<(Instant, Answer, Instant)> {
    let begin = Instant::now();
    let answer = http.try_get(path).ok()?;
    Some((begin, answer, Instant::now()))
}

/// The users of a list; `None`: it is none.
fn rows(answer: &Answer) -> Option<Vec<Row>> {
    let users = answer.body["users"].as_array()?;
    Some(users.iter().map(row).collect())
}

fn row(user: &Value) -> Row {
    let text = |name: &str| user[name].as_str().unwrap_or_default().to_owned();
    Row {
        id: text("id"),
        email: text("email"),
        name: text("name"),
    }
}
