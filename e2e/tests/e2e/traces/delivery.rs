//! Whether spans reach a collector, and what the log says when they do not.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use warp::http::StatusCode;

use e2e::certificates::Certificates;
use e2e::proxy::silent_server;
use e2e::{Http, Program, binary, database, free_addr, start_gateway};

use super::collector::{Answer, Collector, attribute};
use super::{SOON, start_exporting_to};

/// A gateway without a users service, which exports a span for each request.
fn start(settings: &[(&str, &str)]) -> (Program, Http) {
    start_gateway(&free_addr(), &[settings, &[SOON]].concat())
}

/// Sends a request, whose span is called `GET`.
fn request(http: &Http) {
    let answer = ureq::get(format!("{}/nothing", http.base)).call();
    assert!(
        matches!(answer, Err(ureq::Error::StatusCode(404))),
        "{answer:?}"
    );
}

/// How many lines of its output have `text`.
fn lines(program: &Program, text: &str) -> usize {
    let output = program.output();
    output.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn collector_that_comes_back_gets_spans_again_and_the_log_says_both_once() {
    let addr = free_addr();
    let (mut gateway, http) = start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{addr}/"))]);
    request(&http);
    let lost = gateway.wait_for("spans are lost");
    for word in [
        "WARN",
        &format!("endpoint=\"http://{addr}/v1/traces\""),
        "Connection refused",
        "lost=1",
    ] {
        assert!(lost.contains(word), "no {word} in {lost}");
    }
    request(&http);
    // Its batch is lost too, of which no line tells yet. On a machine that stalls it is still tried.
    thread::sleep(Duration::from_secs(1));

    let collector = Collector::start_on(&addr);
    request(&http);

    assert_eq!(collector.span().span.name, "GET");
    let again = gateway.wait_for("exporting spans again");
    assert!(again.contains("INFO"), "{again}");
    if !again.contains("lost=1") {
        assert!(again.contains("lost=0"), "{again}");
        collector.span();
    }
    request(&http);
    collector.span();
    gateway.stop();
    assert_eq!(lines(&gateway, "spans are lost"), 1, "{}", gateway.output());
    assert_eq!(lines(&gateway, "exporting spans again"), 1);
}

#[test]
fn collector_that_does_not_take_spans_is_quoted() {
    for (answer, reason) in [
        (
            Answer::Refuse(StatusCode::UNAUTHORIZED),
            "the collector answers 401 Unauthorized",
        ),
        (Answer::Reject, "the collector rejects them: over quota"),
    ] {
        let collector = Collector::start();
        collector.set_answer(answer);
        let (mut gateway, http) = start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]);
        request(&http);
        let lost = gateway.wait_for("spans are lost");
        assert!(lost.contains(reason), "{lost}");
    }
}

#[test]
fn spans_beyond_the_queue_are_counted_and_requests_do_not_wait() {
    let collector = format!("http://{}", silent_server());
    let (mut gateway, http) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
    ]);
    let begin = Instant::now();
    for _ in 0..20 {
        request(&http);
    }
    // The collector would make the first of them wait for 10 s.
    assert!(begin.elapsed() < Duration::from_secs(9));
    let lost = gateway.wait_for("spans are lost");
    assert!(lost.contains("OTEL_BSP_MAX_QUEUE_SIZE=2"), "{lost}");

    gateway.stop();

    gateway.wait_for("the process ends");
    let output = gateway.output();
    let counts = output.lines().filter_map(|line| line.split("lost=").nth(1));
    let lost: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
    assert_eq!(lost, 20, "{output}");
}

#[test]
fn collector_over_tls_of_a_private_authority_gets_spans_and_headers_and_no_log_does() {
    let (certificates, collector) = (Certificates::new(), Collector::start());
    let addr = collector.serve_tls(&certificates.issue_for_service());
    let endpoint = format!("https://localhost:{}/spans", addr.port());
    let (mut gateway, http) = start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.ca()),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20hunter2,x-tenant=a",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("RUST_LOG", "trace"),
    ]);

    request(&http);

    let collected = collector.span();
    assert_eq!(collected.path, "/spans");
    assert_eq!(collected.headers["authorization"], "Bearer hunter2");
    assert_eq!(collected.headers["x-tenant"], "a");
    assert_eq!(collected.headers["content-encoding"], "gzip");
    gateway.stop();
    assert!(
        !gateway.output().contains("hunter2"),
        "{}",
        gateway.output()
    );
}

#[test]
fn collector_over_tls_that_is_not_trusted_gets_nothing() {
    let (certificates, collector) = (Certificates::new(), Collector::start());
    let addr = collector.serve_tls(&certificates.issue_for_service());
    let elsewhere = collector.serve_tls(&certificates.issue("elsewhere"));
    let others = Certificates::new();
    for (addr, ca, reason) in [
        (addr, others.ca(), "invalid peer certificate"),
        (elsewhere, certificates.ca(), "not valid for name"),
    ] {
        let (mut gateway, http) = start(&[
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                &format!("https://localhost:{}", addr.port()),
            ),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca),
        ]);
        request(&http);
        let lost = gateway.wait_for("spans are lost");
        assert!(lost.contains(reason), "{lost}");
    }
    let (_gateway, http) = start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())]);
    assert_eq!(http.create("jane@example.com", "Jane").status, 503);
    assert_ne!(collector.span().span.name, "GET");
}

#[test]
fn both_services_in_one_process_export_too() {
    let collector = Collector::start();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("HTTP_ADDR", "127.0.0.1:0"),
        ("RPC_ADDR", "127.0.0.1:0"),
        ("DATABASE_URL", &*database::fresh_database()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()),
        SOON,
    ];
    let mut stack = Program::start(&binary("stack"), folder.path(), &settings);
    let line = stack.wait_for("HTTP  http://localhost:");
    let port = line.split("localhost:").nth(1).unwrap();
    let http = Http::new(port.parse().unwrap());

    assert_eq!(http.create("jane@example.com", "Jane").status, 201);

    // In the order in which they end.
    for name in ["INSERT users", "POST /users"] {
        let collected = &collector.spans(1, |span| span.name == name)[0];
        let service = attribute(&collected.resource.attributes, "service.name");
        assert_eq!(service.as_deref(), Some("\"stack\""));
    }
}

#[test]
fn exporting_starts_with_a_line_that_names_the_collector() {
    let collector = Collector::start();
    let mut system = start_exporting_to(&collector.url());
    for program in [&mut system.gateway, &mut system.users] {
        let line = program.wait_for("exporting spans");
        assert!(
            line.contains(&format!("{}/v1/traces", collector.url())),
            "{line}"
        );
    }
    let dir = Path::new("/");
    let mut silent = Program::start(&binary("gateway"), dir, &[("HTTP_ADDR", "127.0.0.1:0")]);
    silent.addr();
    silent.stop();
    assert!(!silent.output().contains("spans"), "{}", silent.output());
}
