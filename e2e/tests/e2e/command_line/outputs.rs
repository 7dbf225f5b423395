//! The forms of output: for people, for jq, and for spreadsheets.

use std::fs;

use super::Service;

const ID: &str = "0190a3f4-7c3e-7cc8-a1b2-0242ac120002";

fn create(service: &Service, more: &[&str]) -> String {
    let user = [
        "create",
        "--id",
        ID,
        "--email",
        "jane@example.com",
        "--name",
        "Doe, Jane",
    ];
    service.run(&[&user[..], more].concat()).succeeded()
}

#[test]
fn create_tells_a_replay_from_a_new_user_in_every_form() {
    let service = Service::with_users(0);

    let created = create(&service, &[]);
    let replayed = create(&service, &[]);
    let csv = create(&service, &["-o", "csv"]);

    let header = format!("{:36}  EMAIL             NAME       OUTCOME\n", "ID");
    let row = format!("{ID}  jane@example.com  Doe, Jane");
    assert_eq!(created, format!("{header}{row}  created\n"));
    assert_eq!(replayed, format!("{header}{row}  replayed\n"));
    let row = format!("{ID},jane@example.com,\"Doe, Jane\",replayed\n");
    assert_eq!(csv, format!("id,email,name,outcome\n{row}"));
}

#[test]
fn tables_and_csv_are_printed_without_headers_when_asked() {
    let service = Service::with_users(0);
    create(&service, &[]);
    let table = format!("{ID}  jane@example.com  Doe, Jane\n");
    let csv = format!("{ID},jane@example.com,\"Doe, Jane\"\n");

    for words in [
        &["get", ID][..],
        &["find", "JANE@example.com"],
        &["list"],
        &["list", "--all"],
    ] {
        let print = |more: &[&str]| service.run(&[words, more].concat()).succeeded();
        assert_eq!(print(&["--no-headers"]), table);
        assert_eq!(print(&["-o", "csv", "--no-headers"]), csv);
        assert_eq!(print(&["--output", "csv"]), format!("id,email,name\n{csv}"));
    }
    assert_eq!(
        create(&service, &["--no-headers"]),
        table.replace('\n', "  replayed\n")
    );
}

#[test]
fn list_as_csv_can_be_imported_elsewhere() {
    let (service, other) = (Service::with_users(7), Service::with_users(0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.csv");
    let list = ["list", "--all", "--page-size", "3", "-o", "csv"];
    let listed = service.run(&list).succeeded();
    fs::write(&file, &listed).unwrap();

    let import = ["import", file.to_str().unwrap(), "-o", "csv"];
    let imported = other.run(&import).succeeded();

    assert_eq!(imported, "outcome,rows\ncreated,7\n");
    assert_eq!(other.run(&list).succeeded(), listed);
    assert_eq!(e2e::database::rows(&other.database), 7);
}
