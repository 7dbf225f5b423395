//! Where PostgreSQL's programs are on this machine, or what to do when it has none.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, anyhow, bail};

use crate::portable::Portable;

/// Where packages put the programs when not on the PATH. A `*` stands for any end of a folder's name.
const PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",                      // Debian, Ubuntu
    "/usr/pgsql-*/bin",                               // RPMs of the PostgreSQL project
    "/usr/lib/postgresql*/bin",                       // openSUSE
    "/usr/libexec/postgresql*",                       // Alpine
    "/opt/homebrew/opt/postgresql*/bin",              // Homebrew
    "/usr/local/opt/postgresql*/bin",                 // Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin", // Homebrew on Linux
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// The programs of one installation.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub(crate) initdb: PathBuf,
    pub(crate) pg_ctl: PathBuf,
    pub(crate) postgres: PathBuf,
    /// Such as "PostgreSQL 15.14".
    pub version: String,
    major: u32,
}

impl Binaries {
    /// The first on the PATH, so that a user can choose, or else the newest on this machine; of version
    /// `data_version`, when data of that version exist. Where there are none, a portable build is downloaded.
    pub fn find(data_version: Option<&str>) -> anyhow::Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let places = PLACES.iter().flat_map(|place| expand(place));
        let portable = Portable::from_env()?;
        Self::find_in(env::split_paths(&path), places, &portable, data_version)
    }

    /// The same on a machine with these folders on its PATH, and these other places.
    pub(crate) fn find_in(
        path: impl Iterator<Item = PathBuf>,
        places: impl Iterator<Item = PathBuf>,
        portable: &Portable,
        data_version: Option<&str>,
    ) -> anyhow::Result<Self> {
        let on_path = path.filter_map(|dir| installed(&dir));
        let elsewhere = places.chain(portable.programs());
        let elsewhere = elsewhere.filter_map(|dir| installed(&dir));
        let mut found = in_order(on_path.collect(), elsewhere.collect());
        if found.is_empty() {
            let downloaded = portable.download(|dir| installed(dir).is_some());
            let downloaded = downloaded.map_err(|error| {
                anyhow!(
                    "there is no PostgreSQL server on this machine, and a portable build of it cannot be \
                     downloaded: {error:#}. {}",
                    other_ways()
                )
            })?;
            found.extend(downloaded.and_then(|dir| installed(&dir)));
        }
        choose(found, data_version)
    }

    /// One of the programs that came with it, such as `pgbench`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.initdb.with_file_name(name)
    }
}

/// All installations, the one to prefer first: those on the PATH as it names them, then the others from the newest.
fn in_order(mut on_path: Vec<Binaries>, mut elsewhere: Vec<Binaries>) -> Vec<Binaries> {
    elsewhere.sort_by_key(|binaries| Reverse(binaries.major));
    on_path.append(&mut elsewhere);
    on_path
}

/// The first of `found` that can run data of version `data_version`.
fn choose(found: Vec<Binaries>, data_version: Option<&str>) -> anyhow::Result<Binaries> {
    let Some(preferred) = found.first().map(|binaries| binaries.version.clone()) else {
        bail!(
            "there is no PostgreSQL server on this machine. {}",
            other_ways()
        )
    };
    let fits = |b: &Binaries| data_version.is_none_or(|version| version == b.major.to_string());
    found.into_iter().find(fits).with_context(|| {
        let version = data_version.unwrap_or_default();
        format!(
            "the data directory was made by PostgreSQL {version}, and this machine has {preferred}: \
             install PostgreSQL {version}, or set DATA_DIR to another directory to start anew"
        )
    })
}

/// What a user without a server can do.
fn other_ways() -> String {
    format!(
        "Either\n\
         - install it:  {}\n\
         - or use Docker:  cp .env.example .env && docker compose up --build\n\
         - or use a server that you have:  \
         DATABASE_URL=postgres://user:password@host/database cargo run",
        install_command()
    )
}

fn installed(dir: &Path) -> Option<Binaries> {
    // A link on the PATH leads to the folder with all the programs.
    let initdb = dir.join("initdb").canonicalize().ok()?;
    let dir = initdb.parent()?;
    let postgres = dir.join("postgres");
    let output = Command::new(&postgres).arg("--version").output().ok()?;
    // postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split(' ').nth(2)?.trim();
    let major = number
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .ok()?;
    let version = format!("PostgreSQL {number}");
    Some(Binaries {
        pg_ctl: dir.join("pg_ctl"),
        postgres,
        version,
        major,
        initdb,
    })
}

/// The folders that a pattern with one `*` means.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![pattern.into()];
    };
    let split = before.rfind('/').map_or(0, |slash| slash + 1);
    let (parent, prefix) = before.split_at(split);
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let rest = after.trim_start_matches('/');
    names
        .filter(|name| name.starts_with(prefix))
        .map(|name| Path::new(parent).join(name).join(rest))
        .collect()
}

fn install_command() -> &'static str {
    if cfg!(target_os = "macos") {
        return "brew install postgresql";
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let ids: Vec<&str> = release
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ID=")
                .or_else(|| line.strip_prefix("ID_LIKE="))
        })
        .flat_map(|ids| ids.trim_matches('"').split(' '))
        .collect();
    let is = |id| ids.contains(&id);
    if is("debian") || is("ubuntu") {
        "sudo apt-get install postgresql"
    } else if is("fedora") || is("rhel") {
        "sudo dnf install postgresql-server"
    } else if is("alpine") {
        "sudo apk add postgresql"
    } else if is("arch") {
        "sudo pacman -S postgresql"
    } else if is("suse") {
        "sudo zypper install postgresql-server"
    } else {
        "see https://www.postgresql.org/download/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_folders_that_exist() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["pgsql-15", "pgsql-17", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut found = expand(&format!("{}/pgsql-*/bin", dir.path().display()));
        found.sort();
        assert_eq!(
            found,
            ["pgsql-15/bin", "pgsql-17/bin"].map(|end| dir.path().join(end))
        );
    }

    fn version(major: u32) -> Binaries {
        let version = format!("PostgreSQL {major}.1");
        Binaries {
            initdb: "".into(),
            pg_ctl: "".into(),
            postgres: "".into(),
            version,
            major,
        }
    }

    #[test]
    fn first_server_on_the_path_wins_and_elsewhere_the_newest() {
        let majors = |on_path: &[u32], elsewhere: &[u32]| -> Vec<u32> {
            let [on_path, elsewhere] =
                [on_path, elsewhere].map(|majors| majors.iter().map(|m| version(*m)).collect());
            let found = in_order(on_path, elsewhere);
            found.iter().map(|binaries| binaries.major).collect()
        };
        assert_eq!(majors(&[15, 17], &[9, 18]), [15, 17, 18, 9]);
        assert_eq!(majors(&[], &[15, 18, 9]), [18, 15, 9]);
    }

    #[test]
    fn new_data_get_the_preferred_server_and_old_data_their_own() {
        let found = || vec![version(17), version(15), version(9)];
        assert_eq!(choose(found(), None).unwrap().major, 17);
        assert_eq!(choose(found(), Some("15")).unwrap().major, 15);
        let message = choose(found(), Some("16")).unwrap_err().to_string();
        assert!(message.contains("install PostgreSQL 16") && message.contains("DATA_DIR"));
    }

    #[test]
    fn a_machine_without_postgres_is_told_what_to_do() {
        let message = choose(Vec::new(), None).unwrap_err().to_string();
        for way in [install_command(), "docker compose up", "DATABASE_URL="] {
            assert!(message.contains(way), "{message}");
        }
    }
}
