//! The manifests of `deploy/k8s` name only what exists: settings, subcommands, ports, paths, images.

use std::{collections::BTreeMap, fs};

use clap::{CommandFactory as _, Parser as _};
use serde::Deserialize as _;
use serde_json::Value;

use e2e::{System, root};

/// All documents of all files.
fn documents() -> Vec<Value> {
    let files = fs::read_dir(root().join("deploy/k8s")).unwrap();
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let parse = |text: String| {
        let documents = serde_yaml_ng::Deserializer::from_str(&text);
        documents
            .map(|document| Value::deserialize(document).unwrap())
            .collect::<Vec<_>>()
    };
    texts.flat_map(parse).collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter(move |document| document["kind"] == kind)
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Each pod's template with its only container.
fn pods(documents: &[Value]) -> Vec<(&Value, &Value)> {
    let pods: Vec<_> = ["Deployment", "Job"]
        .into_iter()
        .flat_map(|kind| of_kind(documents, kind))
        .map(|owner| {
            let pod = owner.pointer("/spec/template/spec").unwrap();
            assert_eq!(list(pod, "/containers").count(), 1);
            (pod, &pod["containers"][0])
        })
        .collect();
    assert_eq!(pods.len(), 3);
    pods
}

/// The environment; `None`: a value from a secret.
fn environment(container: &Value) -> BTreeMap<&str, Option<&str>> {
    list(container, "/env")
        .map(|env| (env["name"].as_str().unwrap(), env["value"].as_str()))
        .collect()
}

fn command(image: &str) -> clap::Command {
    match image {
        "gateway" => gateway::Settings::command(),
        "users-svc" => users_svc::Settings::command(),
        other => panic!("there is no {other}"),
    }
}

#[test]
fn settings_and_subcommands_exist_and_their_values_are_valid() {
    let documents = documents();
    for (_, container) in pods(&documents) {
        let image = container["image"].as_str().unwrap();
        let command = command(image);
        let mut line = vec![image.to_owned()];
        for (name, value) in environment(container) {
            let mut arguments = command.get_arguments();
            let argument =
                arguments.find(|argument| argument.get_env().is_some_and(|env| env == name));
            let argument = argument.unwrap_or_else(|| panic!("{image} has no setting {name}"));
            let value = value.unwrap_or("postgres://user:password@host/database");
            line.push(format!("--{}={value}", argument.get_long().unwrap()));
        }
        let parse = |line: &[String]| match image {
            "gateway" => gateway::Settings::try_parse_from(line).map(drop),
            _ => users_svc::Settings::try_parse_from(line).map(drop),
        };
        for subcommand in list(container, "/args") {
            line.push(subcommand.as_str().unwrap().to_owned());
        }
        parse(&line).unwrap();
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            let exec: Vec<_> = list(container, &format!("/{probe}/exec/command"))
                .map(|word| word.as_str().unwrap().to_owned())
                .collect();
            if let Some((program, rest)) = exec.split_first() {
                let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
                assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{program}\"]")));
                parse(&[std::slice::from_ref(program), rest].concat()).unwrap();
            }
        }
    }
}

#[test]
fn ports_are_those_that_are_listened_on() {
    let documents = documents();
    let mut known = vec![53, 5432];
    for (_, container) in pods(&documents) {
        let ports: BTreeMap<_, _> = list(container, "/ports")
            .map(|port| {
                (
                    port["name"].as_str().unwrap(),
                    port["containerPort"].as_u64().unwrap(),
                )
            })
            .collect();
        let listened: Vec<u64> = environment(container)
            .into_iter()
            .filter(|(name, _)| name.ends_with("_ADDR") && *name != "USERS_ADDR")
            .map(|(_, value)| value.unwrap().rsplit(':').next().unwrap().parse().unwrap())
            .collect();
        for (name, port) in &ports {
            assert!(listened.contains(port), "nothing listens on {name}");
        }
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            for action in ["httpGet", "tcpSocket"] {
                if let Some(port) = container.pointer(&format!("/{probe}/{action}/port")) {
                    assert!(ports.contains_key(port.as_str().unwrap()));
                }
            }
        }
        for service in of_kind(&documents, "Service") {
            if service["metadata"]["name"] == container["name"] {
                assert!(
                    ports.contains_key(service["spec"]["ports"][0]["targetPort"].as_str().unwrap())
                );
            }
        }
        known.extend(ports.into_values());
    }
    for policy in of_kind(&documents, "NetworkPolicy") {
        let rules = list(policy, "/spec/ingress").chain(list(policy, "/spec/egress"));
        for port in rules.flat_map(|rule| list(rule, "/ports")) {
            assert!(known.contains(&port["port"].as_u64().unwrap()), "{port}");
        }
    }
    // The gateway asks for the Service of the users service, which has every replica's address.
    let users = of_kind(&documents, "Service")
        .find(|s| s["metadata"]["name"] == "users-svc")
        .unwrap();
    assert_eq!(users["spec"]["clusterIP"], "None");
    let gateway = pods(&documents)
        .into_iter()
        .find(|(_, c)| c["name"] == "gateway")
        .unwrap()
        .1;
    let expected = format!("users-svc:{}", users["spec"]["ports"][0]["port"]);
    assert_eq!(environment(gateway)["USERS_ADDR"], Some(&*expected));
}

#[test]
fn probed_paths_answer() {
    let system = System::start();
    let documents = documents();
    let mut probed = 0;
    for (_, container) in pods(&documents) {
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            if let Some(path) = container.pointer(&format!("/{probe}/httpGet/path")) {
                assert_eq!(
                    system.http.get(path.as_str().unwrap()).status,
                    200,
                    "{path}"
                );
                probed += 1;
            }
        }
    }
    assert_eq!(probed, 3);
}

#[test]
fn pods_get_longer_to_end_than_they_take() {
    let documents = documents();
    for (pod, container) in pods(&documents) {
        let Some(Some(drain)) = environment(container).remove("DRAIN_TIMEOUT_MS") else {
            continue;
        };
        let sleep = container.pointer("/lifecycle/preStop/sleep/seconds");
        let before = sleep.map_or(0, |sleep| sleep.as_u64().unwrap()) * 1000;
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
        assert!(grace > before + drain.parse::<u64>().unwrap());
    }
}

#[test]
fn images_are_targets_of_the_dockerfile_and_files_are_resources() {
    let documents = documents();
    let kustomization = of_kind(&documents, "Kustomization").next().unwrap();
    let images: Vec<_> = list(kustomization, "/images")
        .map(|image| &image["name"])
        .collect();
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    for (_, container) in pods(&documents) {
        let image = container["image"].as_str().unwrap();
        assert!(images.contains(&&container["image"]));
        assert!(dockerfile.contains(&format!(" AS {image}\n")));
    }
    let mut files: Vec<_> = fs::read_dir(root().join("deploy/k8s"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    let mut resources: Vec<_> = list(kustomization, "/resources")
        .map(|resource| resource.as_str().unwrap())
        .collect();
    files.sort_unstable();
    resources.sort_unstable();
    assert_eq!(files, resources);
}
