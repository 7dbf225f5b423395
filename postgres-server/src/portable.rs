//! A portable build of PostgreSQL for machines that have none: downloaded once, checked, and kept in the user's
//! cache.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use etcetera::BaseStrategy as _;
use flate2::read::GzDecoder;
use nix::unistd::geteuid;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use ureq::Agent;

#[cfg(test)]
mod tests;

/// The version to get. Older data of `cargo run` need the major version they were made by.
const VERSION: &str = "17.11.0";
/// Where it comes from: a folder for each version, with an archive and its checksum for each kind of machine.
const SOURCE: &str = "https://github.com/theseus-rs/postgresql-binaries/releases/download";
/// The variable that names another place like it, or forbids this.
pub const VARIABLE: &str = "POSTGRES_DOWNLOAD";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may say nothing.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// An archive has about 15 MB.
const MAX_ARCHIVE: u64 = 200 * 1024 * 1024;
const MAX_CHECKSUM: u64 = 4096;
/// How what is not complete is called, beside what is.
const PARTIAL: &str = "partial-";

/// The kind of machine that this program is for, as the archives are called.
fn target() -> anyhow::Result<String> {
    let system = match env::consts::OS {
        "linux" if cfg!(target_env = "musl") => "unknown-linux-musl",
        "linux" => "unknown-linux-gnu",
        "macos" => "apple-darwin",
        other => bail!("there is none for {other}"),
    };
    Ok(format!("{}-{system}", env::consts::ARCH))
}

/// Whether a URL may be shown.
fn is_plain(url: &str) -> bool {
    let is_http = url.starts_with("https://") || url.starts_with("http://");
    is_http && !url.contains('@')
}

/// Where builds come from, and where they are kept.
pub struct Portable {
    /// `None`: nothing is downloaded.
    source: Option<String>,
    cache: PathBuf,
    /// What the build for this machine is called.
    name: String,
}

impl Portable {
    /// As the environment says.
    pub fn from_env() -> anyhow::Result<Self> {
        let source = match env::var(VARIABLE).ok() {
            Some(off) if off == "off" => None,
            Some(url) if is_plain(&url) => Some(url),
            None => Some(SOURCE.to_owned()),
            Some(_) => {
                bail!(
                    "{VARIABLE} must be off, or the URL of a mirror without a password, for example {SOURCE}"
                )
            }
        };
        // Root's own would be closed to the user that the server runs as.
        let caches = if geteuid().is_root() {
            Some("/var/cache".into())
        } else {
            let folders = etcetera::choose_base_strategy().ok();
            folders.map(|folders| folders.cache_dir())
        };
        let caches = caches.context("this user has no folder for caches")?;
        Self::new(source, caches.join("users-rpc"))
    }

    fn new(source: Option<String>, cache: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            source,
            cache,
            name: format!("postgresql-{VERSION}-{}", target()?),
        })
    }

    /// The folder with the programs of a build that has been downloaded before.
    pub fn programs(&self) -> Option<PathBuf> {
        let programs = self.cache.join(&self.name).join("bin");
        programs.is_dir().then_some(programs)
    }

    /// Downloads a build, unless another process just has, and returns the folder with its programs; `None` when
    /// that is forbidden. `works` tries the programs.
    pub fn download(&self, works: impl Fn(&Path) -> bool) -> anyhow::Result<Option<PathBuf>> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let cannot_write = || format!("cannot write to {}", self.cache.display());
        fs::create_dir_all(&self.cache).with_context(cannot_write)?;
        make_readable(&self.cache)?;
        let lock = File::create(self.cache.join("lock")).with_context(cannot_write)?;
        if lock.try_lock().is_err() {
            let cache = self.cache.display();
            eprintln!("Waiting for another process that downloads PostgreSQL to {cache}.");
            lock.lock()?;
        }
        if let Some(programs) = self.programs().filter(|programs| works(programs)) {
            return Ok(Some(programs));
        }
        remove_partial(&self.cache)?;

        let url = format!("{source}/{VERSION}/{}.tar.gz", self.name);
        let place = self.cache.join(&self.name);
        eprintln!(
            "There is no PostgreSQL on this machine: downloading {url} to {}, once. {VARIABLE}=off forbids that.",
            place.display()
        );
        let partial = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempdir_in(&self.cache)?;
        let archive = fetch(&url, &partial)?;
        let unpacked = unpack(&archive, &partial);
        let unpacked = unpacked.with_context(|| format!("{url} cannot be unpacked"))?;
        make_readable(&unpacked)?;
        ensure!(
            works(&unpacked.join("bin")),
            "{url} has no bin/postgres that runs on this machine"
        );
        // What is there does not run: power may have failed before it was on the disk.
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::rename(&unpacked, &place)?;
        Ok(self.programs())
    }
}

/// Lets every user in, as the server may run as another one.
fn make_readable(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// Removes what a process that was killed has left.
fn remove_partial(cache: &Path) -> io::Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Downloads an archive and checks it against the checksum beside it.
fn fetch(url: &str, partial: &TempDir) -> anyhow::Result<PathBuf> {
    let config = Agent::config_builder()
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_recv_response(Some(SILENCE_TIMEOUT))
        .timeout_per_read(Some(SILENCE_TIMEOUT))
        .timeout_global(Some(TIMEOUT));
    let agent: Agent = config.build().into();
    let checksum_url = format!("{url}.sha256");
    let checksum = agent.get(&checksum_url).call();
    let mut checksum = checksum.with_context(|| format!("cannot get {checksum_url}"))?;
    let checksum = checksum.body_mut().with_config().limit(MAX_CHECKSUM);
    let expected = sha256_in(&checksum.read_to_string()?)
        .with_context(|| format!("{checksum_url} has no SHA-256"))?;

    let response = agent.get(url).call();
    let mut response = response.with_context(|| format!("cannot get {url}"))?;
    let size = response.body().content_length();
    let body = response.body_mut().with_config().limit(MAX_ARCHIVE);
    let path = partial.path().join("archive.tar.gz");
    let found = copy(body.reader(), size, &path).with_context(|| format!("{url} broke off"))?;
    ensure!(
        found == expected,
        "{url} has the SHA-256 {found}, and its checksum says {expected}: it is broken, or not what it seems"
    );
    Ok(path)
}

/// The first SHA-256 in a text, such as `sha256sum` writes it.
fn sha256_in(text: &str) -> Option<String> {
    let is_digest = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_whitespace()
        .find(is_digest)
        .map(str::to_ascii_lowercase)
}

/// Copies a body of `size` bytes, if that is known, to a file, says how far it is, and returns its SHA-256.
fn copy(mut body: impl Read, size: Option<u64>, path: &Path) -> io::Result<String> {
    let (mut file, mut digest) = (File::create_new(path)?, Sha256::new());
    let (mut buffer, mut copied, mut quarters) = (vec![0; 64 * 1024], 0, 0);
    loop {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        copied += count as u64;
        if let Some(size) = size
            && copied * 4 / size.max(1) > quarters
        {
            quarters = copied * 4 / size.max(1);
            eprintln!("{} % of {} MB", quarters * 25, size.div_ceil(1_000_000));
        }
    }
    Ok(hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Unpacks an archive, and returns the one folder that it has.
fn unpack(archive: &Path, partial: &TempDir) -> anyhow::Result<PathBuf> {
    let folder = partial.path().join("unpacked");
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
    archive.unpack(&folder)?;
    let entries: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    match &entries[..] {
        [only] if only.path().is_dir() => Ok(only.path()),
        _ => Err(anyhow!(
            "the archive must have one folder with everything in it"
        )),
    }
}
