//! What operators see: metrics, logs, and traces through to a collector.

#![allow(clippy::float_cmp, reason = "counts are whole numbers")]

use std::{collections::BTreeSet, sync::mpsc, thread, time::Duration};

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span,
};
use postgres_server::Server;
use prost::Message as _;
use warp::Filter as _;

use e2e::{System, eventually, free_addr};

fn start(more_users: &[(&str, &str)], more_gateway: &[(&str, &str)]) -> System {
    let server = Server::temporary().unwrap();
    let database = server.fresh_database().unwrap();
    System::start_on(server, &database, more_users, more_gateway)
}

/// The lines that Prometheus would read.
fn scrape(admin: &str) -> Vec<String> {
    let mut answer = ureq::get(format!("http://{admin}/metrics")).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(ToOwned::to_owned).collect()
}

/// The value of a series; those that have all of `labels` are added up.
pub fn value(admin: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = scrape(admin);
    let matching = lines.iter().filter(|line| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
    });
    let values = matching.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.sum()
}

#[test]
fn metrics_count_what_happens_at_each_hop() {
    let (gateway, users) = (free_addr(), free_addr());
    let mut system = start(&[("ADMIN_ADDR", &users)], &[("ADMIN_ADDR", &gateway)]);
    for n in 0..3 {
        let created = system.http.create(&format!("jane{n}@example.com"), "Jane");
        assert_eq!(created.status, 201);
    }
    assert_eq!(system.http.create("jane0@example.com", "Jane").status, 409);
    assert_eq!(system.http.get("/users/unknown").status, 404);

    let http = "http_server_request_duration_seconds_count";
    let created = [
        r#"http_route="/users""#,
        r#"method="POST""#,
        r#"code="201""#,
    ];
    assert_eq!(value(&gateway, http, &created), 3.0);
    assert_eq!(value(&gateway, http, &[r#"code="409""#]), 1.0);
    assert_eq!(
        value(&gateway, http, &[r#"http_route="/users/{id}""#, "404"]),
        1.0
    );
    let call = [r#"rpc_method="createUser""#, r#"outcome="ok""#];
    assert_eq!(
        value(&gateway, "rpc_client_call_duration_seconds_count", &call),
        4.0
    );
    assert_eq!(
        value(&users, "rpc_server_call_duration_seconds_count", &call),
        4.0
    );
    let inserts = [r#"batch="INSERT users""#];
    assert_eq!(value(&users, "batch_size_sum", &inserts), 4.0);
    assert_eq!(value(&users, "batch_duration_seconds_count", &inserts), 4.0);
    assert!(value(&users, "db_client_connection_count", &[]) >= 1.0);
    assert!(value(&gateway, "rpc_client_links_up", &[]) >= 1.0);
    assert_eq!(value(&gateway, "http_server_active_requests", &[]), 0.0);

    system.users.signal(Signal::SIGKILL);
    system.users.ended();
    eventually("the links are down", || {
        value(&gateway, "rpc_client_links_up", &[]) == 0.0
    });
    eventually("a request is shed", || {
        system.http.create("late@example.com", "Late").status == 503
            && value(&gateway, "rpc_client_shed_total", &["link_down"]) > 0.0
    });
}

#[test]
fn ten_thousand_paths_add_no_series() {
    let gateway = free_addr();
    let system = start(&[], &[("ADMIN_ADDR", &gateway)]);
    let series = || -> BTreeSet<String> {
        let lines = scrape(&gateway).into_iter();
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let ask = |n: u32| {
        system.http.get(&format!("/users/{n}"));
        system.http.get(&format!("/{n}/x?y={n}"));
        system.http.get(&format!("/docs/{n}"));
    };
    ask(0);
    let before = series();
    let asked = |from| (from..10_000).step_by(4).for_each(ask);
    thread::scope(|scope| {
        for from in 1..=4 {
            scope.spawn(move || asked(from));
        }
    });
    assert_eq!(series(), before);
    assert!(before.len() < 200, "{}", before.len());
}

#[test]
fn a_line_per_request_and_never_what_is_in_it() {
    let mut system = start(
        &[("LOG_FORMAT", "json"), ("RUST_LOG", "trace")],
        &[("LOG_FORMAT", "json"), ("RUST_LOG", "trace")],
    );
    let agent = ureq::Agent::new_with_defaults();
    let url = format!("{}/users", system.http.base);
    let created = agent
        .post(&url)
        .header("X-Request-Id", "req-17")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        )
        .send_json(serde_json::json!({"email": "secret-mail@example.com", "name": "Secretname"}))
        .unwrap();
    assert_eq!(created.headers()["x-request-id"], "req-17");
    // Every other way in which what a client sends could come out.
    system
        .http
        .create("secret-mail@example.com", "Secretname other");
    system.http.create("secret-mail", "Secretname\u{7}");
    let key = Some("secret-key");
    system
        .http
        .try_create("secret-mail2@example.com", "Secretname", key)
        .unwrap();
    system
        .http
        .try_create("secret-mail3@example.com", "Secretname", key)
        .unwrap();
    let _ = agent
        .post(&url)
        .content_type("application/json")
        .send("{\"secret-mail\": Secretname");
    system
        .sql()
        .batch_execute("ALTER TABLE users ADD CHECK (name <> 'Secretname3')")
        .unwrap();
    assert_eq!(
        system
            .http
            .create("secret-mail4@example.com", "Secretname3")
            .status,
        400
    );
    system.server.stop();
    // 504 when the statement was on its way as the server stopped.
    let failed = system.http.create("secret-mail5@example.com", "Secretname");
    assert!([503, 504].contains(&failed.status), "{}", failed.status);

    let line = system.gateway.wait_for("req-17");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = [
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("route", "/users"),
        ("method", "POST"),
        ("level", "INFO"),
    ];
    for (field, value) in expected {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["status"], 201);
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    let failed = system.gateway.wait_for(r#""route":"/users","status":50"#);
    let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
    assert!(failed["cause"].is_string(), "{failed}");
    // The users service tells whose call it was.
    system.users.wait_for("4bf92f3577b34da6a3ce929d0e0e4736");

    let password = system.database.split([':', '@']).nth(2).unwrap().to_owned();
    let output = system.gateway.output() + &system.users.output();
    let lower = output.to_lowercase();
    for secret in [
        "secret-mail",
        "secretname",
        "secret-key",
        &password,
        "postgres://",
    ] {
        assert!(!lower.contains(secret), "{secret} is in:\n{output}");
    }
}

#[test]
fn a_trace_goes_through_to_the_batch_and_out_to_a_collector() {
    let (collected, spans) = mpsc::channel::<Span>();
    let collector = free_addr();
    serve_collector(collector.parse().unwrap(), collected);
    let endpoint = format!("http://{collector}");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let system = start(&settings, &settings);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    ureq::post(format!("{}/users", system.http.base))
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .send_json(serde_json::json!({"email": "jane@example.com", "name": "Jane"}))
        .unwrap();

    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    };
    let (mut ours, mut batches) = (Vec::new(), Vec::new());
    while ours.len() < 3 || batches.is_empty() {
        let span = spans.recv_timeout(Duration::from_secs(20)).unwrap();
        if hex(&span.trace_id) == trace {
            ours.push(span);
        } else if span.name == "INSERT users" {
            batches.push(span);
        }
    }
    let named = |name: &str, parent: &str| {
        let mut spans = ours.iter();
        let found = spans.find(|s| s.name == name && hex(&s.parent_span_id) == parent);
        found.unwrap_or_else(|| panic!("no {name} under {parent}: {ours:#?}"))
    };
    let request = named("/users", "00f067aa0ba902b7");
    let client = named("createUser", &hex(&request.span_id));
    let server = named("createUser", &hex(&client.span_id));
    assert_eq!(batches[0].links.len(), 1);
    assert_eq!(batches[0].links[0].span_id, server.span_id);
    assert_eq!(hex(&batches[0].links[0].trace_id), trace);
}

/// A real OTLP receiver, as far as traces go (OTLP specification, OTLP/HTTP with binary protobuf).
fn serve_collector(addr: std::net::SocketAddr, collected: mpsc::Sender<Span>) {
    let traces = warp::path!("v1" / "traces")
        .and(warp::post())
        .and(warp::body::bytes())
        .map(move |body: bytes::Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            for resource in request.resource_spans {
                for scope in resource.scope_spans {
                    for span in scope.spans {
                        // The test may have seen enough.
                        let _ = collected.send(span);
                    }
                }
            }
            warp::reply()
        });
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(warp::serve(traces).run(addr));
    });
}
