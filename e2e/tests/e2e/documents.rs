//! What the documents and examples say is what the code does.

use std::{collections::BTreeSet, fs, process::Command};

use clap::CommandFactory as _;
use e2e::root;
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The environment variables of a program.
fn variables(command: &clap::Command) -> BTreeSet<String> {
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .collect()
}

/// The variables of an example file, those that are commented out included, and those of libraries not.
fn example(path: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (name, _) = line.trim_start_matches("# ").split_once('=')?;
        let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        (is_name && !name.starts_with("OTEL_")).then(|| name.to_owned())
    };
    read(path).lines().filter_map(name).collect()
}

/// The variables that the compose file sets for a service.
fn composed(service: &str) -> BTreeSet<String> {
    let compose = read("docker-compose.yml");
    let start = compose.find(&format!("\n  {service}:\n")).unwrap();
    let environment = compose[start..].split("    environment:\n").nth(1).unwrap();
    let lines = environment
        .lines()
        .take_while(|line| line.starts_with("      "));
    let settings = lines.filter(|line| !line.trim().starts_with('#'));
    settings
        .map(|line| line.trim().split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn example_files_name_exactly_the_settings_of_their_service() {
    let (gateway, users) = (gateway::Settings::command(), users_svc::Settings::command());
    assert_eq!(example("gateway/.env.example"), variables(&gateway));
    assert_eq!(example("users-svc/.env.example"), variables(&users));
}

#[test]
fn compose_file_names_only_settings_that_exist() {
    let (gateway, users) = (gateway::Settings::command(), users_svc::Settings::command());
    assert!(composed("gateway").is_subset(&variables(&gateway)));
    assert!(composed("users-svc").is_subset(&variables(&users)));
}

#[test]
fn compose_file_uses_exactly_the_variables_of_its_example() {
    let compose = read("docker-compose.yml");
    let used = compose.split("${").skip(1);
    let used = used.map(|rest| rest.split([':', '}']).next().unwrap().to_owned());
    assert_eq!(example(".env.example"), used.collect());
}

#[test]
fn compose_file_shows_each_key_to_its_owner_only() {
    let compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    let services = compose["services"].as_object().unwrap();
    for (service, settings) in services.iter().filter(|(name, _)| *name != "certs") {
        let volumes = settings["volumes"].as_array().into_iter().flatten();
        let mut certs = volumes.map(|volume| volume.as_str().unwrap());
        let certs = certs.find(|volume| volume.starts_with("certs-"));
        let has_one = ["gateway", "users-svc"].contains(&service.as_str());
        let expected = has_one.then(|| format!("certs-{service}:/certs:ro"));
        assert_eq!(certs, expected.as_deref());
    }
}

#[test]
fn compose_file_publishes_nothing_but_http_unless_it_is_told_to() {
    let compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    for (name, service) in compose["services"].as_object().unwrap() {
        let ports = service.get("ports").map(|ports| ports[0].as_str().unwrap());
        let expected = match name.as_str() {
            "gateway" => Some("${HTTP_BIND:-127.0.0.1}:${HTTP_PORT:-3000}:3000"),
            _ if service.get("profiles").is_some() => continue,
            _ => None,
        };
        assert_eq!(ports, expected, "{name:?}");
    }
}

/// The README says how much there is to read.
#[test]
fn files_to_read_first_are_as_long_as_the_readme_says() {
    let readme = read("README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| ["));
    let counted: Vec<_> = rows
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let file = cells.nth(1)?.split(['(', ')']).nth(1)?;
            let lines: usize = cells.next()?.parse().ok()?;
            Some((file, lines))
        })
        .collect();
    assert!(counted.len() > 5, "{counted:?}");
    for (file, shown) in counted {
        let text = read(file);
        let lines = text.split("#[cfg(test)]").next().unwrap().lines().count();
        assert_eq!(lines, shown, "{file}");
    }
}

#[test]
fn compose_file_shows_the_owner_of_the_database_to_nothing_that_serves() {
    let compose: Value = serde_yaml_ng::from_str(&read("docker-compose.yml")).unwrap();
    for service in ["gateway", "users-svc"] {
        let environment = compose["services"][service]["environment"].to_string();
        assert!(!environment.contains("POSTGRES_PASSWORD"), "{environment}");
    }
}

#[test]
fn operations_document_lists_all_settings_with_their_defaults() {
    let document = read("docs/OPERATIONS.md");
    for command in [
        gateway::Settings::command(),
        users_svc::Settings::command(),
        stack::Settings::command(),
    ] {
        for argument in command.get_arguments().filter(|a| a.get_env().is_some()) {
            let name = argument.get_env().unwrap().to_str().unwrap();
            let row = format!("| `{name}` |");
            let row = document.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("docs/OPERATIONS.md does not list {name}"));
            for default in argument.get_default_values() {
                let shown = default.to_str().unwrap().split(',').next().unwrap();
                let is_shown = row.contains(&format!("`{shown}`")) || shown == "0";
                assert!(is_shown, "the default is {shown:?}, not as in {row}");
            }
        }
    }
}

#[test]
fn relative_links_of_the_documents_lead_somewhere() {
    let folders = [
        ".",
        "docs",
        "deploy",
        "deploy/monitoring",
        "deploy/systemd",
        "bench",
        "bench/results",
        "clients/conformance",
    ]
    .map(|folder| root().join(folder));
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    for document in paths.filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        let prose = text.split("```").step_by(2);
        for rest in prose.flat_map(|prose| prose.split("](").skip(1)) {
            let target = rest.split([')', '#']).next().unwrap();
            let is_here = target.contains("://") || document.with_file_name(target).exists();
            assert!(is_here, "{} links to {target}", document.display());
        }
    }
}

/// What `cargo run` at the root compiled, `cargo test` there uses: each package has the same features in both.
#[test]
fn programs_and_tests_resolve_features_alike() {
    let tree = |edges: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--workspace", "--prefix=none", "--no-dedupe"]);
        cargo.args(["--format={p} {f}", "--edges", edges]);
        let output = cargo.current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (programs, tests) = (tree("normal,build"), tree("normal,build,dev"));
    let differ: Vec<_> = programs.difference(&tests).collect();
    assert!(
        differ.is_empty(),
        "without the tests' features: {differ:#?}"
    );
}

/// What a release sets is set everywhere (CONTRIBUTING.md, "Release").
#[test]
fn every_file_with_a_version_has_that_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, before, times) in [
        ("Cargo.toml", "\nversion = \"", 1),
        ("Cargo.toml", "\", version = \"", 3),
        ("clients/python/pyproject.toml", "\nversion = \"", 1),
        ("clients/cpp/CMakeLists.txt", "users-client VERSION ", 1),
        ("deploy/k8s/kustomization.yaml", "newTag: ", 2),
        ("deploy/README.md", "newTag: ", 2),
        ("deploy/README.md", "gateway:", 2),
        ("deploy/README.md", "users-svc:", 2),
    ] {
        let found = read(path).matches(&format!("{before}{version}")).count();
        assert_eq!(found, times, "{path}: {before:?} {version}");
    }
}
