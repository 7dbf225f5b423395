//! Peers: other HTTP servers with the same `POST /users` and `GET /users/{id}`.

use std::io::Write as _;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use ureq::Agent;

use crate::load::{Done, wrk};

/// Users to read.
const IDS: usize = 1000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// A server, as the command line names it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub url: String,
}

impl FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, url))
                if !name.is_empty() && url.len() > 7 && url.starts_with("http://") =>
            {
                Ok(Self::new(name, url.trim_end_matches('/')))
            }
            _ => Err("NAME=URL, such as axum=http://127.0.0.1:3201"),
        }
    }
}

impl Peer {
    pub fn new(name: &str, url: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
        }
    }

    /// Creates users. Returns a file with their ids, or the status that is the answer to reading one.
    pub fn create_ids(&self) -> anyhow::Result<Result<NamedTempFile, u16>> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT));
        let agent: Agent = config.build().into();
        // Users of an earlier run may be there.
        let unique = SystemTime::UNIX_EPOCH.elapsed()?.as_nanos();
        let file = NamedTempFile::new()?;
        for n in 0..IDS {
            let user = json!({ "email": format!("{unique}-{n}@example.com"), "name": "User" });
            let id = self.create(&agent, &user)?;
            if n == 0 {
                let answer = agent.get(format!("{}/users/{id}", self.url)).call()?;
                if answer.status() != 200 {
                    return Ok(Err(answer.status().as_u16()));
                }
            }
            writeln!(file.as_file(), "{id}")?;
        }
        Ok(Ok(file))
    }

    /// Returns the id.
    fn create(&self, agent: &Agent, user: &Value) -> anyhow::Result<String> {
        let mut answer = agent.post(format!("{}/users", self.url)).send_json(user)?;
        let body = answer.body_mut().read_to_string()?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {body}");
        let user: Value = serde_json::from_str(&body).context("the answer is not JSON")?;
        match &user["id"] {
            Value::String(id) => Ok(id.clone()),
            Value::Number(id) => Ok(id.to_string()),
            _ => bail!("the answer has no id: {body}"),
        }
    }

    /// Reads the users whose ids are in a file, or else creates users, at so many connections.
    pub fn load(
        &self,
        ids: Option<&NamedTempFile>,
        connections: usize,
        seconds: u64,
    ) -> anyhow::Result<Done> {
        let (name, url) = (&self.name, &self.url);
        let done = match ids.map(|file| file.path().to_string_lossy()) {
            Some(ids) => wrk(url, "/users/", connections, seconds, &["same", &ids]),
            None => wrk(url, "/users", connections, seconds, &["create"]),
        }?;
        let (errors, requests) = (done.errors, done.requests);
        // Errors are fast: with many of them, a figure says nothing.
        ensure!(
            errors * 100.0 < requests,
            "{name} ({url}): {errors} of {requests} requests failed"
        );
        Ok(done)
    }
}
