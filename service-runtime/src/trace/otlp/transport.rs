//! HTTP to the collector, in plain text or over TLS, and why a request has failed.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, time::Duration};

use async_trait::async_trait;
use credentials::{CredentialFile, OneWayTls, ServerCheck, TrustedCas};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::{blocking::Client, redirect::Policy};
use rustls::ClientConfig;

use super::endpoint::Endpoint;

/// Sends requests to one collector, from threads that may block.
pub struct Transport {
    tls: OneWayTls,
    timeout: Duration,
    /// The client, and the configuration of TLS that it was made with.
    client: Mutex<Option<(Arc<ClientConfig>, Client)>>,
    answer: Answer,
}

/// What is wrong with the last answer of a collector. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Answer(Arc<Mutex<Option<Fault>>>);

/// Why a collector does not get spans, or does not take them.
#[derive(Debug)]
pub struct Fault {
    pub reason: String,
    /// Spans that the collector did not take of a request that it took.
    pub rejected: u64,
}

impl Transport {
    /// A request may take `timeout`. The certificate of a collector at an `https` endpoint must be for its host,
    /// and signed by the CAs in the file `ca`, or else by those that this machine trusts.
    ///
    /// Fails when the CAs cannot be read; the error names the file.
    pub fn new(
        endpoint: &Endpoint,
        ca: Option<CredentialFile>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let check = match ca {
            // Makes no handshake, and needs no CAs.
            _ if !endpoint.is_https() => ServerCheck::Key,
            Some(file) => ServerCheck::ChainAndName(TrustedCas::File(file)),
            None => ServerCheck::ChainAndName(TrustedCas::System),
        };
        Ok(Self {
            tls: OneWayTls::new(check)?,
            timeout,
            client: Mutex::default(),
            answer: Answer::default(),
        })
    }

    /// What its last request was answered with.
    pub fn answer(&self) -> Answer {
        self.answer.clone()
    }

    /// The client, a new one when the CAs have changed.
    fn client(&self) -> reqwest::Result<Client> {
        let tls = self.tls.config();
        let mut last = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_with, client)) = &*last
            && Arc::ptr_eq(made_with, &tls)
        {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&tls))
            .timeout(self.timeout)
            // The headers may have a secret, which is for this collector only.
            .redirect(Policy::none())
            .build()?;
        *last = Some((tls, client.clone()));
        Ok(client)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.client()?.send_bytes(request).await
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request).await;
        self.answer.set(match &sent {
            Ok(response) => fault(response),
            Err(error) => Some(Fault {
                reason: root_cause(&**error),
                rejected: 0,
            }),
        });
        sent
    }
}

/// What is wrong with a response (OTLP specification, OTLP/HTTP response).
fn fault(response: &Response<Bytes>) -> Option<Fault> {
    let status = response.status();
    if !status.is_success() {
        return Some(Fault {
            reason: format!("the collector answers {status}"),
            rejected: 0,
        });
    }
    let answer = ExportTraceServiceResponse::decode(response.body().clone()).ok()?;
    let partial = answer.partial_success?;
    let rejected = u64::try_from(partial.rejected_spans).ok()?;
    (rejected > 0).then(|| Fault {
        reason: format!("the collector rejects them: {}", partial.error_message),
        rejected,
    })
}

/// The innermost error, such as "Connection refused". Those around it name the URL and no more.
fn root_cause(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

impl Answer {
    fn set(&self, fault: Option<Fault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Takes what is wrong with it.
    pub fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}
