//! `stack certs`: what it makes serves mutual TLS, and running it again renews only what has to be renewed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use credentials::generate::Authority;
use credentials::{ClientTls, CredentialFile, Peer, ServerTls};
use stack::certs::Certs;
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Folder(TempDir);

impl Folder {
    /// A folder in which the command has run.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.make(&[]).unwrap();
        folder
    }

    fn make(&self, server_names: &[&str]) -> anyhow::Result<Vec<String>> {
        let certs = Certs {
            dir: self.0.path().to_owned(),
            server_names: server_names.iter().map(|name| (*name).to_owned()).collect(),
        };
        certs.make()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of all files with their content.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let folders = fs::read_dir(self.0.path()).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let mut files: Vec<_> = files
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// The files of one holder, as the settings of a service name them.
    fn credentials(&self, holder: &str) -> [CredentialFile; 3] {
        ["tls.crt", "tls.key", "ca.crt"]
            .map(|name| CredentialFile::new("FILE", self.path(holder).join(name)))
    }

    /// Makes the handshake of a caller with the users service under this name, and returns the caller's names.
    async fn handshake(&self, caller: &str, name: &str) -> std::io::Result<Vec<String>> {
        let server = ServerTls::mutual(self.credentials("users-svc")).unwrap();
        let client = ClientTls::mutual(self.credentials(caller)).unwrap();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let (_client, server) = tokio::try_join!(client.connect(name, near), server.accept(far))?;
        Ok(Peer::of(server.get_ref().1).unwrap().names)
    }

    /// Replaces a holder's certificate by one that has so long left.
    fn replace(&self, holder: &str, names: &[&str], left: Duration) {
        let (cert, key) = (self.read("ca/ca.crt"), self.read("ca/ca.key"));
        let ca = Authority::again("users-rpc CA", cert, &key).unwrap();
        let now = SystemTime::now();
        let issued = ca
            .issue_with_validity(names, now - DAY..now + left)
            .unwrap();
        fs::write(self.path(holder).join("tls.crt"), issued.cert).unwrap();
        fs::write(self.path(holder).join("tls.key"), issued.key).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn command_makes_certificates_whatever_the_settings_of_the_services_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stack"))
        .args(["certs", "new/certs"])
        .current_dir(folder.path())
        .env("HTTP_ADDR", "nowhere")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        said.lines().next(),
        Some("new/certs/users-svc/tls.crt: made")
    );
    assert!(folder.path().join("new/certs/reader/tls.key").exists());
}

#[tokio::test]
async fn callers_reach_the_users_service_under_each_of_its_names() {
    let folder = Folder::new();
    for name in ["users-svc", "localhost", "127.0.0.1", "::1"] {
        let names = folder.handshake("gateway", name).await.unwrap();
        assert_eq!(names, ["gateway"], "{name}");
    }
    let names = folder.handshake("reader", "users-svc").await.unwrap();
    assert_eq!(names, ["reader"]);
    assert!(folder.handshake("gateway", "example.com").await.is_err());
}

#[tokio::test]
async fn further_server_name_makes_a_new_certificate() {
    let folder = Folder::new();
    let before = folder.read("users-svc/tls.crt");

    folder.make(&["Users.example.com", "192.0.2.1"]).unwrap();

    assert_ne!(folder.read("users-svc/tls.crt"), before);
    for name in ["users.example.com", "192.0.2.1", "localhost"] {
        folder.handshake("gateway", name).await.unwrap();
    }
}

#[test]
fn only_their_owner_reads_keys() {
    let folder = Folder::new();
    for (name, expected) in [
        ("ca", 0o700),
        ("ca/ca.key", 0o600),
        ("gateway", 0o755),
        ("gateway/tls.key", 0o600),
        ("gateway/tls.crt", 0o644),
        ("gateway/ca.crt", 0o644),
    ] {
        assert_eq!(mode(&folder.path(name)), expected, "{name}");
    }
}

#[test]
fn second_run_changes_nothing() {
    let folder = Folder::new();
    let before = folder.files();

    folder.make(&[]).unwrap();

    assert_eq!(folder.files(), before);
    assert_eq!(before.len(), 2 + 3 * 3);
}

#[tokio::test]
async fn certificate_in_the_last_third_of_its_life_is_renewed_by_the_same_ca() {
    let folder = Folder::new();
    folder.replace("gateway", &["gateway"], 121 * DAY);
    // As a run leaves it that ends at the wrong moment.
    fs::write(folder.path("gateway/tls.key.new"), "half a k").unwrap();
    let before = folder.files();

    folder.make(&[]).unwrap();

    let after = folder.files();
    let changed = after.iter().filter(|file| !before.contains(file));
    let changed: Vec<_> = changed.map(|(path, _)| path.clone()).collect();
    assert_eq!(
        changed,
        ["gateway/tls.crt", "gateway/tls.key"].map(|name| folder.path(name))
    );
    assert_eq!(mode(&folder.path("gateway/tls.key")), 0o600);
    folder.handshake("gateway", "users-svc").await.unwrap();
}

#[test]
fn certificate_with_more_than_a_third_of_its_life_left_is_kept() {
    let folder = Folder::new();
    folder.replace("gateway", &["gateway"], 123 * DAY);
    let before = folder.files();
    folder.make(&[]).unwrap();
    assert_eq!(folder.files(), before);
}

#[tokio::test]
async fn files_that_do_not_belong_together_are_replaced() {
    let folder = Folder::new();
    // The key is new and the certificate is not: a run was interrupted between the two.
    fs::copy(
        folder.path("reader/tls.key"),
        folder.path("gateway/tls.key"),
    )
    .unwrap();
    folder.make(&[]).unwrap();
    folder.handshake("gateway", "users-svc").await.unwrap();

    // The CA is another one.
    fs::remove_dir_all(folder.path("ca")).unwrap();
    folder.make(&[]).unwrap();
    folder.handshake("gateway", "users-svc").await.unwrap();
}

#[test]
fn ca_without_its_key_is_refused_by_name_and_not_replaced() {
    let folder = Folder::new();
    let key = folder.read("ca/ca.key");
    fs::remove_file(folder.path("ca/ca.key")).unwrap();
    let before = folder.files();
    let error = format!("{:#}", folder.make(&[]).unwrap_err());
    assert!(error.contains("ca/ca.key: No such file"), "{error}");
    assert_eq!(folder.files(), before);

    // A key, but another one's; it matters as soon as something has to be signed.
    fs::copy(folder.path("reader/tls.key"), folder.path("ca/ca.key")).unwrap();
    fs::remove_file(folder.path("gateway/tls.crt")).unwrap();
    let error = format!("{:#}", folder.make(&[]).unwrap_err());
    assert!(error.contains("do not belong together"), "{error}");

    fs::write(folder.path("ca/ca.key"), key).unwrap();
    folder.make(&[]).unwrap();
}

#[test]
fn bad_server_name_is_refused_by_the_folder_it_is_for() {
    let folder = Folder::new();
    let error = format!("{:#}", folder.make(&["bücher.example"]).unwrap_err());
    assert!(
        error.contains("users-svc") && error.contains("bücher.example"),
        "{error}"
    );
}
