//! `stack certs`: the certificates of mutual TLS, for a system on one machine or in containers. A larger
//! deployment has a CA of its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::Args;
use credentials::generate::{Authority, Issued};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_NAME: &str = "users-rpc CA";
const CA_LIFETIME: Duration = DAY.saturating_mul(3650);
/// Nothing renews a certificate but this command, and a short life would make forgetting it an outage.
const LIFETIME: Duration = DAY.saturating_mul(365);

/// Who gets a certificate, and the names that it is for.
const HOLDERS: [(&str, &[&str]); 3] = [
    ("users-svc", &["users-svc", "localhost", "127.0.0.1", "::1"]),
    ("gateway", &["gateway"]),
    ("reader", &["reader"]),
];

/// What `stack certs` makes, and where.
#[derive(Args, Clone, Debug)]
pub struct Certs {
    /// Directory for a folder of the CA, `ca`, and one for each of `users-svc`, `gateway` and `reader`.
    pub dir: PathBuf,

    /// A further DNS name or IP address of the users service; repeat the option for several. A caller
    /// connects only under a name that is in the certificate.
    #[arg(long = "server-name", value_name = "NAME")]
    pub server_names: Vec<String>,
}

impl Certs {
    /// Makes what is missing, damaged, for other names, or has less than a third of its life left. The CA stays.
    /// Returns what became of each certificate, as lines for a person.
    pub fn make(&self) -> anyhow::Result<Vec<String>> {
        folder(&self.dir, 0o755)?;
        let ca_dir = folder(&self.dir.join("ca"), 0o700)?;
        // Two of these commands take turns.
        let lock = File::open(&ca_dir).and_then(|dir| dir.lock().map(|()| dir));
        let _lock = lock.with_context(|| format!("cannot lock {}", ca_dir.display()))?;
        let ca = authority(&ca_dir)?;

        let mut done = Vec::new();
        for (holder, names) in HOLDERS {
            let mut names = names.to_vec();
            if holder == "users-svc" {
                names.extend(self.server_names.iter().map(String::as_str));
            }
            let dir = folder(&self.dir.join(holder), 0o755)?;
            let did = keep_or_issue(&ca, &dir, &names)
                .with_context(|| format!("cannot make the certificate in {}", dir.display()))?;
            done.push(format!("{}: {did}", dir.join("tls.crt").display()));
        }
        Ok(done)
    }
}

/// The CA in this directory, made if there is none.
fn authority(dir: &Path) -> anyhow::Result<Authority> {
    let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    if cert_path.exists() {
        let (cert, key) = (read(&cert_path)?, read(&key_path)?);
        return Authority::again(CA_NAME, cert, &key)
            .with_context(|| format!("{} is not the key of a CA", key_path.display()));
    }
    let ca = Authority::new(CA_NAME, CA_LIFETIME)?;
    // The certificate last: with it, the CA is complete.
    write(&key_path, &ca.key(), 0o600)?;
    write(&cert_path, &ca.cert, 0o644)?;
    Ok(ca)
}

/// Sees to it that the directory has a certificate for these names, and returns what it did.
fn keep_or_issue(ca: &Authority, dir: &Path, names: &[&str]) -> anyhow::Result<&'static str> {
    let [ca_path, cert_path, key_path] =
        ["ca.crt", "tls.crt", "tls.key"].map(|name| dir.join(name));
    if !fs::read_to_string(&ca_path).is_ok_and(|cert| cert == ca.cert) {
        write(&ca_path, &ca.cert, 0o644)?;
    }

    let (cert, key) = (
        fs::read_to_string(&cert_path),
        fs::read_to_string(&key_path),
    );
    if let (Ok(cert), Ok(key)) = (cert, key)
        && let Ok(validity) = ca.verify(&Issued { cert, key }, names)
        && let Ok(left) = validity.end.duration_since(SystemTime::now())
        && left > LIFETIME / 3
    {
        return Ok("kept");
    }

    let issued = ca.issue(names, LIFETIME)?;
    if ca.verify(&issued, names).is_err() {
        bail!(
            "the CA's certificate and key do not belong together, or were not made by this command"
        );
    }
    // A watching service keeps the old pair while only one of the two is new.
    write(&key_path, &issued.key, 0o600)?;
    write(&cert_path, &issued.cert, 0o644)?;
    Ok("made")
}

fn folder(path: &Path, mode: u32) -> anyhow::Result<PathBuf> {
    let result = DirBuilder::new().recursive(true).mode(mode).create(path);
    result.with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path.to_owned())
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file in such a way that a reader sees the old content or the new one.
fn write(path: &Path, content: &str, mode: u32) -> anyhow::Result<()> {
    let temporary = PathBuf::from(format!("{}.new", path.display()));
    // One of an interrupted run may be there.
    let _ = fs::remove_file(&temporary);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
