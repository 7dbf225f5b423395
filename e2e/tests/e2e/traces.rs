//! What operators see in traces: a request's way through both services, out to a collector.

use std::{net::SocketAddr, sync::mpsc, thread, time::Duration};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use tokio::runtime::Builder;
use warp::Filter as _;

use e2e::{System, free_addr};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[test]
fn trace_goes_through_to_the_batch_and_out_to_a_collector() {
    let (collected, spans) = mpsc::channel::<Span>();
    let collector = free_addr();
    serve_collector(collector.parse().unwrap(), collected);
    let endpoint = format!("http://{collector}");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let system = System::start_with(&settings, &settings);

    ureq::post(format!("{}/users", system.http.base))
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .send_json(json!({ "email": "jane@example.com", "name": "Jane" }))
        .unwrap();

    let (ours, batch) = receive(&spans);
    let named = |name: &str, parent: &str| {
        let mut spans = ours.iter();
        let found = spans.find(|s| s.name == name && hex(&s.parent_span_id) == parent);
        found.unwrap_or_else(|| panic!("no {name} under {parent}: {ours:#?}"))
    };
    let request = named("POST /users", CALLER);
    let client = named("users.Users/createUser", &hex(&request.span_id));
    let server = named("users.Users/createUser", &hex(&client.span_id));
    let [link] = &batch.links[..] else {
        panic!("{batch:#?}")
    };
    assert_eq!(link.span_id, server.span_id);
    assert_eq!(hex(&link.trace_id), TRACE);
}

/// The three spans of our request, and that of the batch it was in.
fn receive(spans: &mpsc::Receiver<Span>) -> (Vec<Span>, Span) {
    let (mut ours, mut batch) = (Vec::new(), None);
    loop {
        let span = spans.recv_timeout(Duration::from_secs(20)).unwrap();
        if hex(&span.trace_id) == TRACE {
            ours.push(span);
        } else if span.name == "INSERT users" {
            batch.get_or_insert(span);
        }
        if ours.len() >= 3
            && let Some(batch) = batch.take()
        {
            return (ours, batch);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// A real OTLP receiver, as far as traces go (OTLP specification, OTLP/HTTP with binary protobuf). It
/// ends with the process.
fn serve_collector(addr: SocketAddr, collected: mpsc::Sender<Span>) {
    let traces = warp::path!("v1" / "traces")
        .and(warp::post())
        .and(warp::body::bytes())
        .map(move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let resources = request.resource_spans.into_iter();
            let scopes = resources.flat_map(|resource| resource.scope_spans);
            for span in scopes.flat_map(|scope| scope.spans) {
                // The test may have seen enough.
                let _ = collected.send(span);
            }
            warp::reply()
        });
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(warp::serve(traces).run(addr));
    });
}
