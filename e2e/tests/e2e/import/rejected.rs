//! The file of rejected rows, mended and imported again.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Service;

const ID: &str = "0190a3f4-7c3e-7cc8-a1b2-0242ac120003";

struct Imports {
    service: Service,
    folder: TempDir,
}

impl Imports {
    fn start() -> Self {
        Self {
            service: Service::start(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Imports a file: what became of its rows, and the file of those that were rejected.
    fn import(&self, file: &Path, rejected: &str) -> (Value, String) {
        let rejected = self.path(rejected);
        // One at a time, so that the rows keep their order.
        let words = ["--in-flight", "1", "--rejected", rejected.to_str().unwrap()];
        let (output, mut report) = self.service.import(file, &words);
        assert!(
            [Some(0), Some(3)].contains(&output.status.code()),
            "{output:?}"
        );
        let rejected = fs::read(rejected).unwrap();
        let rejected = String::from_utf8_lossy(&rejected).into_owned();
        (report["outcomes"].take(), rejected)
    }
}

#[test]
fn mended_rows_are_imported_under_their_own_ids_and_only_once() {
    let imports = Imports::start();
    let users = imports.write("users.csv", format!(
        "Name;EMAIL;Id\nJoe;joe@example.com;\n;mended@example.com;{ID}\n\"Semi;colon\";semi;\nShort\n"
    ));

    let (first, rejected) = imports.import(&users, "rejected.csv");
    let mended = rejected
        .replace(";mended@example.com", "Mended;mended@example.com")
        .replace(";semi;", ";semi@example.com;");
    let mended = imports.write("mended.csv", mended);
    let (second, still_rejected) = imports.import(&mended, "still.csv");
    let (third, _) = imports.import(&mended, "still.csv");

    assert_eq!(first, json!({ "created": 1, "invalid": 2, "malformed": 1 }));
    let lines: Vec<_> = rejected.lines().collect();
    assert_eq!(lines[0], "Name;EMAIL;Id;line;outcome;reason");
    assert!(
        lines[1].starts_with(&format!(";mended@example.com;{ID};3;invalid;name must ")),
        "{rejected}"
    );
    assert!(
        lines[2].starts_with("\"Semi;colon\";semi;;4;invalid;email must "),
        "{rejected}"
    );
    assert_eq!(lines[3], "Short;;;5;malformed;has 1 columns instead of 3");
    assert_eq!(second, json!({ "created": 2, "invalid": 1 }));
    assert_eq!(third, json!({ "replayed": 2, "invalid": 1 }));
    let still: Vec<_> = still_rejected.lines().collect();
    assert_eq!((still[0], still.len()), (lines[0], 2));
    assert!(
        still[1].starts_with("Short;;;4;invalid;email must "),
        "{still_rejected}"
    );
    let (get, found) = imports.service.get(ID);
    assert_eq!(
        (get, &found["user"]["email"]),
        (Some(0), &json!("mended@example.com"))
    );
}

#[test]
fn rejected_rows_that_nobody_mended_are_rejected_again() {
    let imports = Imports::start();
    let content =
        b"email,name,id\nopen@example.com,\"Open\nmany@example.com,Many,,x\nfew@example.com,Few\n\
        id@example.com,Id,no-id\n\xff@example.com,Latin,\nquote@example.com,\"Qu\"ote,\n";
    let users = imports.write("users.csv", content);

    let (first, rejected) = imports.import(&users, "rejected.csv");
    let again = imports.write("again.csv", fs::read(imports.path("rejected.csv")).unwrap());
    let (second, _) = imports.import(&again, "rejected.csv");

    assert_eq!(first, json!({ "malformed": 6 }));
    assert_eq!(rejected.lines().count(), 7);
    let count = |outcome: &str| second[outcome].as_u64().unwrap_or(0);
    assert_eq!(count("malformed") + count("invalid"), 6, "{second}");
    assert_eq!(imports.service.rows(), 0);
}

#[test]
fn file_of_rejected_rows_is_not_overwritten_by_its_own_import() {
    let imports = Imports::start();
    let users = imports.write("users.csv", "email,name\nnobody,N\n");
    let (_, rejected) = imports.import(&users, "rejected.csv");
    let path = imports.path("rejected.csv");

    let (output, _) = imports
        .service
        .import(&path, &["--rejected", path.to_str().unwrap()]);

    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("rejected.csv is the file to import"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(path).unwrap(), rejected);
}
