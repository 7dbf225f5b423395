//! What spans are called and say: the names of OpenTelemetry's semantic conventions, and nothing of a user.

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::json;

use e2e::{Http, System, free_addr, start_gateway};

use super::collector::{Collected, Collector, attribute};
use super::{SOON, start_exporting_to};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const EMAIL: &str = "jane@example.com";

/// Creates a user in our trace.
fn create(http: &Http) {
    ureq::post(format!("{}/users", http.base))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .send_json(json!({ "email": EMAIL, "name": "Jane Doe" }))
        .unwrap();
}

/// The spans of a create: the request, the call at both ends, and the batch.
struct CreateSpans {
    request: Collected,
    client: Collected,
    server: Collected,
    batch: Collected,
}

impl CreateSpans {
    fn receive(collector: &Collector) -> Self {
        let is_batch = |span: &Span| span.name == "INSERT users";
        let mut spans = collector.spans(4, |span| is_ours(span) || is_batch(span));
        let mut take = |name: &str, parent: &str| {
            let found = spans
                .iter()
                .position(|it| it.span.name == name && hex(&it.span.parent_span_id) == parent);
            let found = found.unwrap_or_else(|| panic!("no {name} under {parent}: {spans:#?}"));
            spans.remove(found)
        };
        let request = take("POST /users", CALLER);
        let client = take("users.Users/createUser", &hex(&request.span.span_id));
        let server = take("users.Users/createUser", &hex(&client.span.span_id));
        Self {
            request,
            client,
            server,
            batch: take("INSERT users", ""),
        }
    }
}

fn is_ours(span: &Span) -> bool {
    hex(&span.trace_id) == TRACE
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Checks the kind of a span, and all its attributes.
fn assert_span(span: &Span, kind: SpanKind, attributes: &[(&str, String)]) {
    assert_eq!(span.kind, kind as i32, "{span:#?}");
    let mut found: Vec<_> = span.attributes.iter().map(|it| it.key.as_str()).collect();
    found.sort_unstable();
    let mut names: Vec<_> = attributes.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(found, names, "{}", span.name);
    for (name, value) in attributes {
        let found = attribute(&span.attributes, name);
        assert_eq!(found.as_ref(), Some(value), "{name}");
    }
}

fn text(value: &str) -> String {
    format!("{value:?}")
}

#[test]
fn trace_goes_through_to_the_batch_and_out_to_a_collector() {
    let collector = Collector::start();
    let system = start_exporting_to(&collector.url());

    create(&system.http);

    let spans = CreateSpans::receive(&collector);
    let [link] = &spans.batch.span.links[..] else {
        panic!("{:#?}", spans.batch)
    };
    assert_eq!(link.span_id, spans.server.span.span_id);
    assert_eq!(hex(&link.trace_id), TRACE);
    assert_eq!(spans.request.path, "/v1/traces");
}

#[test]
fn spans_say_what_the_conventions_ask_for_and_nothing_of_the_user() {
    let collector = Collector::start();
    let system = start_exporting_to(&collector.url());

    create(&system.http);

    let spans = CreateSpans::receive(&collector);
    assert_span(
        &spans.request.span,
        SpanKind::Server,
        &[
            ("http.request.method", text("POST")),
            ("http.route", text("/users")),
            ("http.response.status_code", "201".into()),
            ("url.scheme", text("http")),
        ],
    );
    let rpc = [
        ("rpc.system.name", text("capnp")),
        ("rpc.method", text("users.Users/createUser")),
    ];
    let users_addr = [
        ("server.address", text("127.0.0.1")),
        ("server.port", system.users_addr.port().to_string()),
    ];
    let of_client = [&rpc[..], &users_addr].concat();
    assert_span(&spans.client.span, SpanKind::Client, &of_client);
    assert_span(&spans.server.span, SpanKind::Server, &rpc);
    let database: postgres::Config = system.database.parse().unwrap();
    assert_span(
        &spans.batch.span,
        SpanKind::Client,
        &[
            ("db.system.name", text("postgresql")),
            ("db.namespace", text(database.get_dbname().unwrap())),
            ("db.collection.name", text("users")),
            ("db.operation.name", text("INSERT")),
            ("db.query.summary", text("INSERT users")),
            ("server.address", text("127.0.0.1")),
            ("server.port", database.get_ports()[0].to_string()),
        ],
    );

    for (collected, service) in [(&spans.request, "gateway"), (&spans.batch, "users-svc")] {
        let resource = |name| attribute(&collected.resource.attributes, name);
        assert_eq!(resource("service.name"), Some(text(service)));
        let version = text(env!("CARGO_PKG_VERSION"));
        assert_eq!(resource("service.version"), Some(version));
        assert!(resource("service.instance.id").is_some());
    }
}

#[test]
fn path_that_matches_no_route_is_in_no_span() {
    let collector = Collector::start();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()), SOON];
    let (_gateway, http) = start_gateway(&free_addr(), &settings);

    let answer = ureq::get(format!("{}/{EMAIL}?email={EMAIL}", http.base)).call();
    assert!(
        matches!(answer, Err(ureq::Error::StatusCode(404))),
        "{answer:?}"
    );

    let collected = collector.span();
    assert_eq!(collected.span.name, "GET");
    assert_eq!(attribute(&collected.span.attributes, "http.route"), None);
    assert!(!format!("{collected:?}").contains(EMAIL), "{collected:#?}");
}

#[test]
fn failure_has_its_class_in_the_spans_of_the_request_and_of_the_call() {
    let collector = Collector::start();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()), SOON];
    let (_gateway, http) = start_gateway(&free_addr(), &settings);

    assert_eq!(http.create(EMAIL, "Jane Doe").status, 503);

    for (name, class) in [
        ("users.Users/createUser", "unavailable"),
        ("POST /users", "503"),
    ] {
        let span = &collector.spans(1, |span| span.name == name)[0].span;
        let status = span.status.as_ref().unwrap();
        assert_eq!(status.code(), StatusCode::Error, "{span:#?}");
        assert_eq!(attribute(&span.attributes, "error.type"), Some(text(class)));
        assert!(!format!("{span:?}").contains(EMAIL), "{span:#?}");
    }
}

#[test]
fn environment_has_the_last_word_on_what_a_service_is_called() {
    let collector = Collector::start();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url()),
        ("OTEL_SERVICE_NAME", "front"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=back,service.version=17,deployment.environment.name=test",
        ),
        SOON,
    ];
    let system = System::start_with(&settings[..1], &settings);
    assert_eq!(system.http.create(EMAIL, "Jane Doe").status, 201);

    let request = &collector.spans(1, |span| span.name == "POST /users")[0];
    for (name, value) in [
        ("service.name", "front"),
        ("service.version", "17"),
        ("deployment.environment.name", "test"),
    ] {
        let found = attribute(&request.resource.attributes, name);
        assert_eq!(found, Some(text(value)));
    }
}
