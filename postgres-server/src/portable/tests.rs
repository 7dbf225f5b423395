//! Downloads from a mirror on this machine, of an archive that is made of the server that is installed here.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::iter;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use super::*;
use crate::binaries::Binaries;
use crate::data_dir;
use crate::server::Server;

/// Serves files by HTTP until the process ends, and counts how many it was asked for.
struct Mirror {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Mirror {
    fn start(files: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
                let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
                lines.find(String::is_empty);
                let (status, body) = match files.get(&path) {
                    Some(body) => ("200 OK", &body[..]),
                    None => ("404 Not Found", &b""[..]),
                };
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                );
                // The client may hang up.
                let _ = stream.write_all(&[head.as_bytes(), body].concat());
            }
        });
        Self { url, requests }
    }
}

/// An archive of the server that is installed here. `bin` leads to where Debian has it, so that it finds its files.
fn archive_of_installed_server() -> &'static [u8] {
    static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let programs = Binaries::find(None).unwrap().initdb;
        let programs = programs.parent().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let script = r#"
            mkdir top && cd top
            case $1 in
            /usr/lib/postgresql/*/bin)
                version=$(basename "$(dirname "$1")")
                mkdir -p lib/postgresql share/postgresql
                cp -r "/usr/lib/postgresql/$version" lib/postgresql
                cp -r "/usr/share/postgresql/$version" share/postgresql
                ln -s "lib/postgresql/$version/bin" bin;;
            *) cp -r "$1" "$1/../lib" "$1/../share" .;;
            esac
            cd .. && tar -czf archive.tar.gz top"#;
        let mut shell = Command::new("sh");
        let shell = shell
            .args(["-euc", script, "sh"])
            .arg(programs)
            .current_dir(dir.path());
        assert!(shell.status().unwrap().success());
        fs::read(dir.path().join("archive.tar.gz")).unwrap()
    });
    &ARCHIVE
}

fn digest_of(archive: &[u8]) -> String {
    hex(&Sha256::digest(archive))
}

/// A mirror that has this archive, with this text as its checksum.
fn mirror(archive: &[u8], checksum: &str) -> Mirror {
    let path = format!(
        "/{VERSION}/postgresql-{VERSION}-{}.tar.gz",
        target().unwrap()
    );
    let files = [
        (format!("{path}.sha256"), checksum.as_bytes().to_vec()),
        (path, archive.to_vec()),
    ];
    Mirror::start(HashMap::from(files))
}

fn version(programs: &Path) -> bool {
    let postgres = Command::new(programs.join("postgres"))
        .arg("--version")
        .output();
    postgres.is_ok_and(|output| output.status.success())
}

/// What is in the cache beside the lock.
fn kept(cache: &Path) -> usize {
    fs::read_dir(cache).unwrap().count() - 1
}

#[test]
fn build_is_downloaded_once_however_many_ask_and_runs() {
    let archive = archive_of_installed_server();
    let mirror = mirror(archive, &format!("{}  a.tar.gz\n", digest_of(archive)));
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().join("new");
    // As a process that was killed may have left it.
    fs::create_dir_all(cache.join("partial-old")).unwrap();
    let get = || {
        let portable = Portable::new(Some(mirror.url.clone()), cache.clone()).unwrap();
        assert!(version(&portable.download(version).unwrap().unwrap()));
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(get);
        }
    });
    get();
    assert_eq!(mirror.requests.load(Ordering::Relaxed), 2);
    assert_eq!(kept(&cache), 1);
}

#[test]
fn build_that_does_not_run_any_more_is_replaced() {
    let archive = archive_of_installed_server();
    let mirror = mirror(archive, &digest_of(archive));
    let cache = tempfile::tempdir().unwrap();
    let portable = Portable::new(Some(mirror.url.clone()), cache.path().into()).unwrap();
    let programs = portable.download(version).unwrap().unwrap();
    // As a machine leaves it that lost power before the file was on the disk.
    fs::write(programs.join("postgres"), "").unwrap();

    assert!(version(&portable.download(version).unwrap().unwrap()));
    assert_eq!(mirror.requests.load(Ordering::Relaxed), 4);
    assert_eq!(kept(cache.path()), 1);
}

/// Tries to download, which must fail, leave nothing, and say this.
fn assert_refused(mirror: &Mirror, says: &str) {
    let cache = tempfile::tempdir().unwrap();
    let portable = Portable::new(Some(mirror.url.clone()), cache.path().into()).unwrap();
    let error = format!("{:#}", portable.download(version).unwrap_err());
    assert!(
        error.contains(says) && error.contains(&mirror.url),
        "{error}"
    );
    assert_eq!(kept(cache.path()), 0, "{error}");
    assert!(portable.programs().is_none());
}

#[test]
fn archive_that_is_broken_or_another_is_refused_and_leaves_nothing() {
    let archive = archive_of_installed_server();
    let digest = digest_of(archive);
    let half = &archive[..archive.len() / 2];
    assert_refused(&mirror(half, &digest), "broken, or not what it seems");
    assert_refused(&mirror(half, &digest_of(half)), "cannot be unpacked");
    assert_refused(&mirror(archive, "none"), "has no SHA-256");
    assert_refused(&Mirror::start(HashMap::new()), "404");
}

#[test]
fn archive_without_a_server_that_runs_here_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mkdir -p top/bin && printf '#!/bin/sh\\nexit 1' >top/bin/postgres && chmod +x top/bin/postgres \
        && tar -czf archive.tar.gz top";
    let mut shell = Command::new("sh");
    assert!(
        shell
            .args(["-euc", script])
            .current_dir(dir.path())
            .status()
            .unwrap()
            .success()
    );
    let archive = fs::read(dir.path().join("archive.tar.gz")).unwrap();
    assert_refused(
        &mirror(&archive, &digest_of(&archive)),
        "runs on this machine",
    );
}

#[test]
fn machine_without_a_network_is_told_so() {
    // Of a service (tcpmux, RFC 1078) that no machine has had for long.
    let cache = tempfile::tempdir().unwrap();
    let portable = Portable::new(Some("http://127.0.0.1:1".into()), cache.path().into()).unwrap();
    let error = format!("{:#}", portable.download(version).unwrap_err());
    assert!(error.contains("cannot get http://127.0.0.1:1/"), "{error}");
}

/// Starts a server where none is installed.
fn start_where_nothing_is_installed(portable: &Portable, data: &Path) -> anyhow::Result<Server> {
    let nowhere = iter::empty;
    Server::start_with(data, false, |version| {
        Binaries::find_in(nowhere(), nowhere(), portable, version)
    })
}

#[test]
fn machine_without_a_server_runs_the_one_that_it_downloads() {
    let archive = archive_of_installed_server();
    let mirror = mirror(archive, &digest_of(archive));
    let (cache, data) = (tempfile::tempdir().unwrap(), data_dir::temporary().unwrap());
    make_readable(cache.path()).unwrap();
    let portable = Portable::new(Some(mirror.url.clone()), cache.path().into()).unwrap();

    let server = start_where_nothing_is_installed(&portable, data.path()).unwrap();
    assert!(server.program("postgres").starts_with(cache.path()));
    server.ensure_database("users").unwrap();
    drop(server);

    let server = start_where_nothing_is_installed(&portable, data.path()).unwrap();
    server.ensure_database("users").unwrap();
    assert_eq!(mirror.requests.load(Ordering::Relaxed), 2);
}

#[test]
fn machine_without_a_server_that_may_not_download_one_is_told_its_ways_out() {
    let (cache, data) = (tempfile::tempdir().unwrap(), data_dir::temporary().unwrap());
    let portable = Portable::new(None, cache.path().into()).unwrap();
    let refused = start_where_nothing_is_installed(&portable, data.path());
    let error = format!("{:#}", refused.err().unwrap());
    for way in ["install it", "docker compose up", "DATABASE_URL="] {
        assert!(error.contains(way), "{error}");
    }
}
