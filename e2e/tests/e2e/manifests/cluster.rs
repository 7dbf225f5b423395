//! The manifests have what a cluster was found to need of them.

use serde_json::{Value, json};

use super::{documents, environment, list, of_kind, pod, ports, values, workloads};

/// Overload keeps probes on the other ports waiting, and what is only busy would be restarted.
#[test]
fn probes_ask_the_admin_port() {
    let expected = [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ];
    for deployment in of_kind("Deployment") {
        let (_, container) = pod(&deployment);
        for (probe, path) in expected {
            let get = json!({ "path": path, "port": "admin" });
            assert_eq!(container[probe]["httpGet"], get, "{probe}");
        }
        let addr = environment(container)["ADMIN_ADDR"].unwrap();
        let port = format!(":{}", ports(container)["admin"]);
        assert!(addr.ends_with(&port), "{addr}");
    }
}

#[test]
fn metrics_of_both_services_are_scraped_from_the_admin_port() {
    let monitors = of_kind("PodMonitor");
    let monitor = &monitors[0]["spec"];
    let endpoints = json!([{ "port": "admin", "path": "/metrics" }]);
    assert_eq!(monitor["podMetricsEndpoints"], endpoints);
    for deployment in of_kind("Deployment") {
        let metadata = &deployment["spec"]["template"]["metadata"];
        let name = &metadata["labels"]["app.kubernetes.io/name"];
        let mut names = list(monitor, "/selector/matchExpressions/0/values");
        assert!(names.any(|it| it == name), "{name}");
        let port = ports(pod(&deployment).1)["admin"].to_string();
        assert_eq!(metadata["annotations"]["prometheus.io/port"], port);
    }
}

#[test]
fn pods_get_longer_to_end_than_they_take() {
    for deployment in of_kind("Deployment") {
        let (pod, container) = pod(&deployment);
        let environment = environment(container);
        let milliseconds = |name: &str| environment[name].unwrap().parse::<u64>().unwrap();
        let takes = milliseconds("SHUTDOWN_DELAY_MS") + milliseconds("DRAIN_TIMEOUT_MS");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
        assert!(grace > takes, "{grace} {takes}");
    }
}

/// Fields that only the cluster fills in are what the next `kubectl apply` resets or conflicts with.
#[test]
fn defaults_that_another_apply_would_change_are_spelled_out() {
    for deployment in of_kind("Deployment") {
        assert_eq!(deployment["spec"]["strategy"]["type"], "RollingUpdate");
    }
    for document in documents() {
        let ports = values(&document, "ports").into_iter();
        for port in ports.flat_map(|ports| list(ports, "")) {
            assert!(port["protocol"].is_string(), "{port}");
        }
    }
}

#[test]
fn pods_have_no_rights_and_no_variables_of_the_cluster() {
    let accounts = of_kind("ServiceAccount");
    for workload in workloads() {
        let (pod, name) = (pod(&workload).0, &workload["metadata"]["name"]);
        assert_eq!(pod["serviceAccountName"], *name);
        assert_eq!(pod["enableServiceLinks"], false);
        let mut accounts = accounts.iter();
        let account = accounts.find(|account| account["metadata"]["name"] == *name);
        for owner in [pod, account.unwrap()] {
            assert_eq!(owner["automountServiceAccountToken"], false, "{name}");
        }
    }
}

#[test]
fn pods_that_are_not_ready_let_their_node_be_drained() {
    let budgets = of_kind("PodDisruptionBudget");
    assert_eq!(budgets.len(), 2);
    for budget in budgets {
        let policy = &budget["spec"]["unhealthyPodEvictionPolicy"];
        assert_eq!(*policy, "AlwaysAllow");
    }
}

/// Two replicas of each service, a third while an update goes on, and the Job. What the cluster's own pods
/// request is the other core.
#[test]
fn pods_request_a_core_of_a_node_that_has_two() {
    let millicores = |workload: &Value| {
        let replicas = if workload["kind"] == "Job" { 1 } else { 3 };
        let cpu = pod(workload).1["resources"]["requests"]["cpu"].as_str();
        let each = cpu.unwrap().strip_suffix('m').unwrap();
        replicas * each.parse::<u64>().unwrap()
    };
    let requested: u64 = workloads().iter().map(millicores).sum();
    assert!(requested <= 1000, "{requested}");
}

/// They are applied by this label, and the rest when the Job is done.
#[test]
fn label_of_the_migration_selects_the_job_and_what_it_needs() {
    let mut selected = documents();
    selected.retain(|it| it["metadata"]["labels"]["app.kubernetes.io/name"] == "users-svc-migrate");
    let kinds: Vec<&Value> = selected.iter().map(|document| &document["kind"]).collect();
    assert_eq!(kinds, ["ServiceAccount", "Job"]);
}
