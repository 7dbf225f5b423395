//! An HTTP client of a gateway, which is not ours.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::{Agent, Body, RequestBuilder, http::Response};

use crate::eventually;

/// An HTTP client of a gateway.
#[derive(Clone)]
pub struct Http {
    agent: Agent,
    pub base: String,
    api_key: Option<String>,
}

/// What a gateway answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    /// Whether it has `Idempotency-Replayed: true`.
    pub is_replay: bool,
    pub body: Value,
}

impl Http {
    /// A client of the gateway on this port of this machine.
    pub fn new(port: u16) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)));
        Self {
            agent: config.build().into(),
            base: format!("http://localhost:{port}"),
            api_key: None,
        }
    }

    /// The same, with an API key.
    #[must_use]
    pub fn with_api_key(&self, key: &str) -> Self {
        Self {
            api_key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    /// Adds the API key, if there is one.
    fn authorize<T>(&self, request: RequestBuilder<T>) -> RequestBuilder<T> {
        match &self.api_key {
            Some(key) => request.header("Authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    pub fn port(&self) -> u16 {
        self.base.rsplit(':').next().unwrap().parse().unwrap()
    }

    pub fn create(&self, email: &str, name: &str) -> Answer {
        self.try_create(email, name, None).unwrap()
    }

    /// Creates a user with an `Idempotency-Key`.
    pub fn create_with_key(&self, email: &str, name: &str, key: &str) -> Answer {
        self.try_create(email, name, Some(key)).unwrap()
    }

    /// Creates a user; fails when the connection does.
    pub fn try_create(
        &self,
        email: &str,
        name: &str,
        key: Option<&str>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = self.authorize(self.agent.post(format!("{}/users", self.base)));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        answer(request.send_json(json!({ "email": email, "name": name })))
    }

    /// Posts any JSON where users are created.
    pub fn post(&self, body: &Value) -> Answer {
        let request = self.agent.post(format!("{}/users", self.base));
        answer(self.authorize(request).send_json(body)).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).unwrap()
    }

    /// Gets it; fails when the connection does.
    pub fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        let request = self.agent.get(format!("{}{path}", self.base));
        answer(self.authorize(request).call())
    }

    pub fn is_ready(&self) -> bool {
        let ready = self.agent.get(format!("{}/readyz", self.base)).call();
        ready.is_ok_and(|response| response.status() == 200)
    }

    pub fn wait_until_ready(&self) {
        eventually("the system is ready", || self.is_ready());
    }
}

fn answer(response: Result<Response<Body>, ureq::Error>) -> Result<Answer, ureq::Error> {
    let mut response = response?;
    let header = |name| {
        let value = response.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    Ok(Answer {
        status: response.status().as_u16(),
        location: header("location"),
        is_replay: header("idempotency-replayed").as_deref() == Some("true"),
        body: response.body_mut().read_json()?,
    })
}
