//! Certificates for a service and a client on this machine, of a CA that lives as long as they do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use credentials::generate::Authority;
use credentials::{CredentialFile, ServerTls};
use tempfile::TempDir;

/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The names of a service on this machine.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What both ends need. The files go when it is dropped.
pub struct MutualTls {
    /// For the service.
    pub service: ServerTls,
    /// For the client: its certificate, its private key, and the CA of the service's certificate.
    pub files: [PathBuf; 3],
    _folder: TempDir,
}

impl MutualTls {
    /// Makes a CA and two certificates.
    pub fn new() -> anyhow::Result<Self> {
        let authority = Authority::new("the CA of a conformance test", LIFETIME)?;
        let folder = TempDir::new()?;
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).map(|()| path)
        };
        let ca = write("ca.crt", &authority.cert)?;
        let issue = |name: &str, names: &[&str]| -> anyhow::Result<[PathBuf; 3]> {
            let issued = authority.issue(names, LIFETIME)?;
            let cert = write(&format!("{name}.crt"), &issued.cert)?;
            let key = write(&format!("{name}.key"), &issued.key)?;
            Ok([cert, key, ca.clone()])
        };

        let [cert, key, ca] = issue("service", &LOCAL_NAMES)?;
        let files = [("cert", cert), ("key", key), ("ca", ca)];
        let service = ServerTls::mutual(files.map(|(part, path)| CredentialFile::new(part, path)))?;
        let files = issue("client", &["client"])?;
        Ok(Self {
            service,
            files,
            _folder: folder,
        })
    }
}
