//! The manifests of `deploy/k8s` name only what exists. Whether they are manifests at all,
//! kubernetes-validate checks.

mod cluster;

use std::{collections::BTreeMap, fs};

use clap::{CommandFactory as _, Parser as _};
use serde::Deserialize as _;
use serde_json::Value;
use serde_yaml_ng::Deserializer;

use e2e::root;

/// All documents of all files, those of the component included.
fn documents() -> Vec<Value> {
    let folders = ["deploy/k8s", "deploy/k8s/components/pod-monitor"];
    let entries = folders.map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let paths = entries.into_iter().flatten().map(|it| it.unwrap().path());
    let texts: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let documents = texts.iter().flat_map(|text| Deserializer::from_str(text));
    documents
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let mut documents = documents();
    documents.retain(|document| document["kind"] == kind);
    documents
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten()
}

/// Both Deployments and the Job.
fn workloads() -> Vec<Value> {
    let workloads = [of_kind("Deployment"), of_kind("Job")].concat();
    assert_eq!(workloads.len(), 3);
    workloads
}

/// The pod that a workload is a template of, with its one container.
fn pod(workload: &Value) -> (&Value, &Value) {
    let pod = &workload["spec"]["template"]["spec"];
    assert_eq!(list(pod, "/containers").count(), 1);
    (pod, &pod["containers"][0])
}

fn containers() -> impl Iterator<Item = Value> {
    let workloads = workloads().into_iter();
    workloads.map(|workload| pod(&workload).1.clone())
}

/// All values of this key, however deep.
fn values<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Array(list) => list.iter().flat_map(|item| values(item, key)).collect(),
        Value::Object(map) => {
            let deeper = map.values().flat_map(|item| values(item, key));
            map.get(key).into_iter().chain(deeper).collect()
        }
        _ => Vec::new(),
    }
}

/// The environment of a container; `None`: a value from a secret.
fn environment(container: &Value) -> BTreeMap<&str, Option<&str>> {
    list(container, "/env")
        .map(|env| (env["name"].as_str().unwrap(), env["value"].as_str()))
        .collect()
}

/// The container's ports by name.
fn ports(container: &Value) -> BTreeMap<&str, u64> {
    list(container, "/ports")
        .map(|port| {
            let number = port["containerPort"].as_u64().unwrap();
            (port["name"].as_str().unwrap(), number)
        })
        .collect()
}

/// The command line that means the same as a container's environment and arguments.
fn command_line(container: &Value, image: &str, command: &clap::Command) -> Vec<String> {
    let option = |(name, value): (&str, Option<&str>)| {
        let mut arguments = command.get_arguments();
        let argument = arguments.find(|argument| argument.get_env().is_some_and(|e| e == name));
        let argument = argument.unwrap_or_else(|| panic!("{image} has no setting {name}"));
        let value = value.unwrap_or("postgres://user:password@host/database");
        format!("--{}={value}", argument.get_long().unwrap())
    };
    let options = environment(container).into_iter().map(option);
    let subcommands = list(container, "/args").map(|word| word.as_str().unwrap().to_owned());
    let program = [image.to_owned()].into_iter();
    program.chain(options).chain(subcommands).collect()
}

fn parse(image: &str, line: &[String]) -> Result<(), clap::Error> {
    match image {
        "gateway" => gateway::Settings::try_parse_from(line).map(drop),
        _ => users_svc::Settings::try_parse_from(line).map(drop),
    }
}

#[test]
fn settings_and_subcommands_exist_and_their_values_are_valid() {
    for container in containers() {
        let image = container["image"].as_str().unwrap();
        let command = match image {
            "gateway" => gateway::Settings::command(),
            _ => users_svc::Settings::command(),
        };
        parse(image, &command_line(&container, image, &command)).unwrap();
    }
}

#[test]
fn images_come_from_the_dockerfile() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    for container in containers() {
        let image = container["image"].as_str().unwrap();
        assert!(dockerfile.contains(&format!(" AS {image}\n")), "{image}");
    }
}

#[test]
fn ports_and_what_refers_to_them_are_listened_on() {
    for container in containers() {
        let (ports, environment) = (ports(&container), environment(&container));
        let listens_on = |port: &u64| {
            let mut addrs = environment
                .iter()
                .filter(|(name, _)| **name != "USERS_ADDR");
            addrs.any(|(_, value)| value.is_some_and(|addr| addr.ends_with(&format!(":{port}"))))
        };
        assert!(ports.values().all(listens_on), "{ports:?}");

        let mut references = values(&container, "port");
        let services = of_kind("Service");
        let mut services = services.iter().map(|s| (&s["metadata"]["name"], s));
        if let Some((_, service)) = services.find(|(name, _)| **name == container["name"]) {
            references.extend(values(service, "targetPort"));
        }
        for port in references {
            assert!(ports.contains_key(port.as_str().unwrap()), "{port}");
        }
    }
}

#[test]
fn network_policies_name_only_ports_that_something_listens_on() {
    // DNS, PostgreSQL, pgbouncer and a collector of traces.
    let mut known = vec![53, 5353, 5432, 6432, 4318];
    for container in containers() {
        known.extend(ports(&container).into_values());
    }
    for policy in of_kind("NetworkPolicy") {
        for port in values(&policy, "port") {
            assert!(known.contains(&port.as_u64().unwrap()), "{port}");
        }
    }
}

/// The name resolves to the address of every replica.
#[test]
fn gateway_asks_for_the_headless_service_of_the_users_service() {
    let services = of_kind("Service");
    let users = services
        .iter()
        .find(|service| service["metadata"]["name"] == "users-svc")
        .unwrap();
    assert_eq!(users["spec"]["clusterIP"], "None");
    let gateway = containers().find(|c| c["name"] == "gateway").unwrap();
    let expected = format!("users-svc:{}", users["spec"]["ports"][0]["port"]);
    assert_eq!(environment(&gateway)["USERS_ADDR"], Some(&*expected));
}

/// A renewed certificate arrives only where the whole volume is mounted.
#[test]
fn files_of_tls_come_from_secrets_that_are_mounted_whole() {
    let mut secrets = Vec::new();
    for workload in workloads() {
        let (pod, container) = pod(&workload);
        let settings = environment(container).into_iter();
        for (_, file) in settings.filter(|(name, _)| name.contains("_TLS_")) {
            let (folder, name) = file.unwrap().rsplit_once('/').unwrap();
            assert!(["tls.crt", "tls.key", "ca.crt"].contains(&name), "{name}");
            let mut mounts = list(container, "/volumeMounts");
            let mount = mounts.find(|mount| mount["mountPath"] == folder).unwrap();
            assert!(mount["readOnly"] == true && mount["subPath"].is_null());
            let mut volumes = list(pod, "/volumes");
            let volume = volumes.find(|volume| volume["name"] == mount["name"]);
            let secret = &volume.unwrap()["secret"]["secretName"];
            secrets.push(secret.as_str().unwrap().to_owned());
        }
    }
    secrets.sort_unstable();
    let expected = [["gateway-users-tls"; 3], ["users-svc-tls"; 3]];
    assert_eq!(secrets, expected.concat());
}
