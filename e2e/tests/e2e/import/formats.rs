//! Files as spreadsheets of other countries and systems write them.

use std::fs;

use serde_json::json;

use super::Service;

/// Imports a file with this content: the exit status, and what it says or counts.
fn import(service: &Service, content: &[u8]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    fs::write(&file, content).unwrap();
    let (output, report) = service.import(&file, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    (
        output.status.code(),
        format!("{said}{}", report["outcomes"]),
    )
}

#[test]
fn columns_in_any_order_letter_case_and_with_other_separators_are_read() {
    let service = Service::start();
    let created = (Some(0), json!({ "created": 2 }).to_string());

    let semicolons = b"Name;EMAIL\r\n\"Doe; Jane\";a@example.com\r\nDoe, Joe;b@example.com\r\n";
    assert_eq!(import(&service, semicolons), created);
    let tabs = b"id\tEmail\tName\n\tc@example.com\t\"C\tc\"\n\td@example.com\tD;d\n";
    let (status, outcomes) = import(&service, tabs);

    // No name has a tab, whatever separates the columns.
    assert_eq!(
        (status, &*outcomes),
        (
            Some(3),
            &*format!(
                "{}{}",
                "line 2: invalid: name must not contain control or bidi override characters\n",
                json!({ "created": 1, "invalid": 1 })
            )
        )
    );
    let emails = ["a@example.com", "b@example.com", "d@example.com"];
    assert_eq!(service.emails(), emails);
}

#[test]
fn byte_order_mark_is_no_part_of_the_first_column() {
    let service = Service::start();

    let (status, outcomes) = import(&service, b"\xef\xbb\xbfemail,name\na@example.com,A\n");

    assert_eq!((status, &*outcomes), (Some(0), r#"{"created":1}"#));
}

#[test]
fn file_of_another_form_is_told_which_is_right() {
    let service = Service::start();
    for (content, told) in [
        (
            &b"email|name\na@example.com|A\n"[..],
            "with commas, semicolons or tabs between them",
        ),
        (
            b"email,name,phone\n",
            r#"names the column "phone", which no user has"#,
        ),
        (b"\xff\xfee\0m\0a\0i\0l\0", "is in UTF-16; save it as UTF-8"),
        (b"", "the first line must name the columns email and name"),
    ] {
        let (status, said) = import(&service, content);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(told), "{said}");
    }
}
