//! What the documents say is what the code does.

use std::{collections::BTreeSet, fs};

use clap::CommandFactory as _;

use e2e::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The environment variables of a program.
fn variables(command: &clap::Command) -> BTreeSet<String> {
    let names = command
        .get_arguments()
        .filter_map(|argument| argument.get_env());
    names
        .map(|name| name.to_str().unwrap().to_owned())
        .collect()
}

/// The variables of an example file, those that are commented out included.
fn example(path: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (name, _) = line.trim_start_matches("# ").split_once('=')?;
        let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_name.then(|| name.to_owned())
    };
    read(path).lines().filter_map(name).collect()
}

#[test]
fn the_example_settings_of_each_service_are_all_of_its_settings() {
    assert_eq!(
        example("gateway/.env.example"),
        variables(&gateway::Settings::command())
    );
    assert_eq!(
        example("users-svc/.env.example"),
        variables(&users_svc::Settings::command())
    );
}

#[test]
fn the_readme_lists_all_settings_with_their_defaults() {
    let readme = read("README.md");
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for command in [
        gateway::Settings::command(),
        users_svc::Settings::command(),
        stack::Settings::command(),
    ] {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_env() else {
                continue;
            };
            let row = rows
                .iter()
                .find(|row| row.starts_with(&format!("| `{}` |", name.display())));
            let row = row.unwrap_or_else(|| panic!("README.md does not list {}", name.display()));
            for default in argument.get_default_values() {
                let shown = default.to_str().unwrap().split(',').next().unwrap();
                let is_shown = row.contains(&format!("`{shown}`")) || shown == "0";
                assert!(
                    is_shown,
                    "README.md has another default than {shown:?}: {row}"
                );
            }
        }
    }
}

#[test]
fn the_images_are_built_of_all_members_of_the_workspace() {
    let (manifest, dockerfile) = (read("Cargo.toml"), read("Dockerfile"));
    let members = manifest.split("members = [").nth(1).unwrap();
    let members = members.split(']').next().unwrap().split(',');
    for member in members
        .map(|member| member.trim().trim_matches('"'))
        .filter(|m| ![".", ""].contains(m))
    {
        let copied = format!("COPY {member}/Cargo.toml {member}/\n");
        assert!(dockerfile.contains(&copied), "{member}");
    }
}

#[test]
fn the_compose_file_names_only_settings_that_exist() {
    let compose = read("docker-compose.yml");
    let section = |name: &str| {
        let start = compose.find(&format!("\n  {name}:\n")).unwrap();
        let environment = compose[start..].split("    environment:\n").nth(1).unwrap();
        let lines = environment
            .lines()
            .take_while(|line| line.starts_with("      "));
        lines
            .filter(|line| !line.trim().starts_with('#'))
            .map(|line| line.trim().split(':').next().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert!(section("gateway").is_subset(&variables(&gateway::Settings::command())));
    assert!(section("users-svc").is_subset(&variables(&users_svc::Settings::command())));
    let given = example(".env.example");
    let used = compose
        .split("${")
        .skip(1)
        .map(|rest| rest.split([':', '}']).next().unwrap());
    assert_eq!(given, used.map(str::to_owned).collect());
}
