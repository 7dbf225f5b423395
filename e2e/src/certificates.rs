//! A CA of a test's own, and the certificates that it signs, in files as programs read them.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use credentials::CredentialFile;
use credentials::generate::Authority;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The names by which tests connect to a service of this machine.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A CA of a test's own. Its files go when it is dropped.
pub struct Certificates {
    authority: Authority,
    folder: TempDir,
    ca: String,
}

/// What one end of mutual TLS needs: the paths of its certificate, of its key, and of the CA that it trusts.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: String,
    pub key: String,
    pub ca: String,
}

impl Certificates {
    pub fn new() -> Self {
        Self::of_authority_for(DAY)
    }

    /// Of a CA that expires after so long.
    pub fn of_authority_for(lifetime: Duration) -> Self {
        let authority = Authority::new("a test's CA", lifetime).unwrap();
        let folder = TempDir::new().unwrap();
        let ca = write(folder.path(), "ca.crt", &authority.cert);
        Self {
            authority,
            folder,
            ca,
        }
    }

    /// The path of the CA's certificate.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// A certificate for a service that listens on this machine.
    pub fn issue_for_service(&self) -> TlsFiles {
        self.issue_with_validity("service", &LOCAL_NAMES, valid_now())
    }

    /// A certificate for a caller of this name, or for a service on a host of this name.
    pub fn issue(&self, name: &str) -> TlsFiles {
        self.issue_with_validity(name, &[name], valid_now())
    }

    /// A certificate that expired a minute ago.
    pub fn issue_expired(&self, name: &str) -> TlsFiles {
        let end = SystemTime::now() - Duration::from_secs(60);
        self.issue_with_validity(&format!("expired-{name}"), &[name], end - DAY..end)
    }

    /// A certificate for `names` (SAN) in the files `file.crt` and `file.key`, whose content it replaces.
    pub fn issue_with_validity(
        &self,
        file: &str,
        names: &[&str],
        validity: Range<SystemTime>,
    ) -> TlsFiles {
        let issued = self.authority.issue_with_validity(names, validity).unwrap();
        let folder = self.folder.path();
        TlsFiles {
            cert: write(folder, &format!("{file}.crt"), &issued.cert),
            key: write(folder, &format!("{file}.key"), &issued.key),
            ca: self.ca.clone(),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsFiles {
    /// The settings of a users service with them.
    pub fn of_service(&self) -> [(&'static str, &str); 3] {
        [
            ("RPC_TLS_CERT", &self.cert),
            ("RPC_TLS_KEY", &self.key),
            ("RPC_TLS_CA", &self.ca),
        ]
    }

    /// The files as a client of this process takes them.
    pub fn credentials(&self) -> [CredentialFile; 3] {
        self.of_caller()
            .map(|(variable, path)| CredentialFile::new(variable, path))
    }

    /// The settings of a gateway with them, for its clients.
    pub fn of_gateway(&self) -> [(&'static str, &str); 2] {
        [("HTTP_TLS_CERT", &self.cert), ("HTTP_TLS_KEY", &self.key)]
    }

    /// The settings of a caller of the users service with them.
    pub fn of_caller(&self) -> [(&'static str, &str); 3] {
        [
            ("USERS_TLS_CERT", &self.cert),
            ("USERS_TLS_KEY", &self.key),
            ("USERS_TLS_CA", &self.ca),
        ]
    }
}

fn valid_now() -> Range<SystemTime> {
    // The clock of the same machine: the margin is for whole seconds only.
    let now = SystemTime::now();
    now - Duration::from_secs(60)..now + DAY
}

/// Writes a file of this folder, and returns its path.
fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}
