//! What the parts of a chaos test show each other, and what is replaced while they run: API keys and certificates.

use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, path::PathBuf};

use e2e::certificates::{Certificates, TlsFiles};
use fastrand::Rng;
use tempfile::TempDir;

use crate::api_keys::make_key;

/// Whose API keys the clients have: listing users takes one.
pub const PRINCIPAL: &str = "chaos";

/// When every gateway has read the file of the keys again: it looks every two seconds, unless it is frozen.
const READ_AFTER: Duration = Duration::from_secs(9);

/// The API keys of the clients, of which one is good at a time.
pub struct ApiKeys {
    folder: TempDir,
    /// The keys that there have been, each with the time since when it is good. The last one still is.
    keys: Mutex<Vec<(String, Instant)>>,
}

impl ApiKeys {
    pub fn new() -> Self {
        let keys = Self {
            folder: TempDir::new().unwrap(),
            keys: Mutex::default(),
        };
        keys.replace();
        keys
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Revokes the key that the clients have, and gives them another one.
    pub fn replace(&self) {
        let made = make_key(PRINCIPAL, "create,read");
        let new = self.folder.path().join("new");
        fs::write(&new, made.line).unwrap();
        let mut keys = self.keys.lock().unwrap();
        fs::rename(new, self.file()).unwrap();
        keys.push((made.key, Instant::now()));
    }

    pub fn current(&self) -> String {
        self.keys.lock().unwrap().last().unwrap().0.clone()
    }

    /// Whether a request of this time may be refused for its key: a gateway may not have read the file since.
    pub fn may_be_refused(&self, begin: Instant) -> bool {
        let keys = self.keys.lock().unwrap();
        let (_, since) = keys.last().unwrap();
        keys.len() > 1 && begin < *since + READ_AFTER
    }

    /// A key that no gateway takes any more, if there is one.
    pub fn revoked(&self, rng: &mut Rng) -> Option<String> {
        let keys = self.keys.lock().unwrap();
        let (_, since) = keys.last().unwrap();
        let revoked = &keys[..keys.len() - 1];
        let is_read = since.elapsed() > READ_AFTER;
        is_read
            .then(|| rng.choice(revoked))
            .flatten()
            .map(|(key, _)| key.clone())
    }
}

/// The certificates of the links between gateways, clients of the RPC and users services.
pub struct Tls {
    certificates: Certificates,
    pub service: TlsFiles,
    pub gateway: TlsFiles,
    /// Of clients that read their files when they start, which may be at any time. They are not replaced.
    pub client: TlsFiles,
}

impl Tls {
    pub fn new() -> Self {
        let certificates = Certificates::new();
        Self {
            service: certificates.issue_for_service(),
            gateway: certificates.issue("gateway"),
            client: certificates.issue("client"),
            certificates,
        }
    }

    /// Puts others in the place of the certificates, and of their keys.
    pub fn replace(&self) {
        self.certificates.issue_for_service();
        self.certificates.issue("gateway");
    }
}
