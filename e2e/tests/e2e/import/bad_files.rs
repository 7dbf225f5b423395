//! Files that are broken: one bad row costs itself only, and no option costs a file.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::json;
use tempfile::TempDir;

use super::{Service, many};

/// A folder with a file to import.
struct Folder {
    dir: TempDir,
    file: PathBuf,
}

impl Folder {
    fn with_file(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users.csv");
        fs::write(&file, text).unwrap();
        Self { dir, file }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Imports `file`, whose rejected rows go to `rejected`; the exit status and what it says.
fn import(service: &Service, file: &Path, rejected: &Path) -> (Option<i32>, String) {
    let words = ["--rejected", rejected.to_str().unwrap()];
    let (output, report) = service.import(file, &words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code(),
        format!("{said}{}", report["outcomes"]),
    )
}

#[test]
fn import_whose_complaints_nobody_reads_goes_on_to_its_end() {
    let service = Service::start();
    let folder = Folder::with_file("email,name\nnobody,A\nno one,B\njane@example.com,Jane\n");
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);

    let mut import = service.command(&["-o", "csv", "--no-headers"]);
    let output = import.arg(&folder.file).stderr(writer).output().unwrap();

    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &*report),
        (Some(3), "created,1\ninvalid,2\n")
    );
    assert_eq!(service.emails(), ["jane@example.com"]);
}

#[test]
fn row_with_a_stray_quote_costs_itself_only() {
    // More than a message to the service holds, after the bad row.
    let service = Service::start();
    let rest = many(10_000);
    let rows = rest.strip_prefix("email,name\n").unwrap();
    let folder = Folder::with_file(&format!("email,name\njoe@example.com,\"Joe\n{rows}"));
    let rejected = folder.path("rejected.csv");

    let words = ["--patience", "5", "--rejected", rejected.to_str().unwrap()];
    let (output, report) = service.import(&folder.file, &words);

    let outcomes = json!({ "created": 10_000, "malformed": 1 });
    assert_eq!(
        (output.status.code(), &report["outcomes"]),
        (Some(3), &outcomes)
    );
    let rejected = fs::read_to_string(rejected).unwrap();
    assert!(
        rejected.contains(r#""joe@example.com,""Joe",,2,malformed,unclosed quote?"#),
        "{rejected}"
    );
    assert_eq!(service.rows(), 10_000);
}

#[test]
fn bad_rows_are_reported_by_their_lines_and_the_others_are_stored() {
    let service = Service::start();
    let long_name = "x".repeat(20_000);
    let folder = Folder::with_file(&format!(
        "email,name\r\n\
         a@example.com,\"A\r\n\
         b@example.com,\"B\r\n\
         c@example.com,C\r\n\
         \r\n\
         d@example.com,{long_name}\r\n\
         e@example.com,\"E\ne@example.net,E\n\"\r\n\
         f@example.com,\"F \"\"f\"\"\"\r\n\
         h@example.com,\"H \"h\" H\"\r\n\
         g@example.com,\"G"
    ));
    let rejected = folder.path("rejected.csv");

    let (status, said) = import(&service, &folder.file, &rejected);

    assert_eq!(status, Some(3), "{said}");
    let rejected = fs::read_to_string(rejected).unwrap();
    for row in [
        r#""a@example.com,""A",,2,malformed,unclosed quote?"#,
        r#""b@example.com,""B",,3,malformed,unclosed quote?"#,
        ",,6,malformed,is longer than 16384 bytes",
        "e@example.com,\"E\ne@example.net,E\n\",7,invalid,",
        r#""h@example.com,""H ""h"" H""",,11,malformed,unclosed quote?"#,
        r#""g@example.com,""G",,12,malformed,unclosed quote?"#,
    ] {
        assert!(rejected.contains(row), "{row} in {rejected}");
    }
    assert_eq!(service.emails(), ["c@example.com", "f@example.com"]);
}

#[test]
fn file_with_line_ends_of_old_macs_is_read() {
    let service = Service::start();
    let folder = Folder::with_file("email,name\ra@example.com,A\rb@example.com,B\r");

    let (output, report) = service.import(&folder.file, &[]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(report["outcomes"], json!({ "created": 2 }));
}

#[test]
fn rejected_rows_never_overwrite_the_input() {
    let service = Service::start();
    let text = "email,name\na@example.com,A\nb,B\n";
    let folder = Folder::with_file(text);
    let (hard_link, symbolic_link) = (folder.path("hard"), folder.path("symbolic"));
    fs::hard_link(&folder.file, &hard_link).unwrap();
    symlink(&folder.file, &symbolic_link).unwrap();

    for rejected in [&folder.file, &hard_link, &symbolic_link] {
        let (status, said) = import(&service, &folder.file, rejected);

        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains("is the file to import"), "{said}");
        assert_eq!(fs::read_to_string(&folder.file).unwrap(), text);
    }
    assert_eq!(service.rows(), 0);
}

#[test]
fn rejected_rows_replace_those_of_an_import_before_and_no_other_file() {
    let service = Service::start();
    let folder = Folder::with_file("email,name\nb,B\n");
    let (rejected, other) = (folder.path("rejected.csv"), folder.path("notes.txt"));
    fs::write(&other, "important\n").unwrap();

    for _ in 0..2 {
        let (status, said) = import(&service, &folder.file, &rejected);
        assert_eq!(status, Some(3), "{said}");
        assert_eq!(fs::read_to_string(&rejected).unwrap().lines().count(), 2);
    }

    let (status, said) = import(&service, &folder.file, &other);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("notes.txt exists and holds no rejected rows"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&other).unwrap(), "important\n");
}
