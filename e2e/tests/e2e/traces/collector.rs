//! A real OTLP receiver, as far as traces go (OTLP specification, OTLP/HTTP with binary protobuf).

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::{thread, time::Duration};

use bytes::Bytes;
use credentials::{CredentialFile, ServerTls};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use warp::http::{HeaderMap, Response, StatusCode};
use warp::{Filter as _, path::FullPath};

use e2e::certificates::TlsFiles;
use e2e::free_addr;

/// A collector. It ends with the process.
pub struct Collector {
    pub addr: SocketAddr,
    spans: Receiver<Collected>,
    answer: Arc<Mutex<Answer>>,
}

/// A span, with what came with it.
#[derive(Debug)]
pub struct Collected {
    pub span: Span,
    pub resource: Resource,
    /// The path that it was posted to.
    pub path: String,
    pub headers: HeaderMap,
}

/// How a collector answers.
#[derive(Clone, Copy)]
pub enum Answer {
    Take,
    /// It takes the request, and none of its spans.
    Reject,
    Refuse(StatusCode),
}

impl Collector {
    pub fn start() -> Self {
        Self::start_on(&free_addr())
    }

    pub fn start_on(addr: &str) -> Self {
        let (collected, spans) = mpsc::channel();
        let answer = Arc::new(Mutex::new(Answer::Take));
        let addr = addr.parse().unwrap();
        serve(addr, collected, answer.clone());
        Self {
            addr,
            spans,
            answer,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Sets how it answers from now on.
    pub fn set_answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The next span.
    pub fn span(&self) -> Collected {
        self.spans.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// The first spans of which `is_wanted` says so, so many.
    pub fn spans(&self, count: usize, is_wanted: impl Fn(&Span) -> bool) -> Vec<Collected> {
        let mut found = Vec::new();
        while found.len() < count {
            let next = self.span();
            if is_wanted(&next.span) {
                found.push(next);
            }
        }
        found
    }

    /// Another address of it, where it speaks TLS.
    pub fn serve_tls(&self, files: &TlsFiles) -> SocketAddr {
        let [cert, key] = [("cert", &files.cert), ("key", &files.key)];
        let files = [cert, key].map(|(name, path)| CredentialFile::new(name, path));
        let (tls, collector) = (ServerTls::https(files).unwrap(), self.addr);
        let (told, addr) = mpsc::channel();
        run(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                tokio::spawn(async move {
                    // A client that does not trust it ends the handshake.
                    let Ok(mut secure) = tls.accept(stream).await else {
                        return;
                    };
                    let mut plain = TcpStream::connect(collector).await.unwrap();
                    let _ = copy_bidirectional(&mut secure, &mut plain).await;
                });
            }
        });
        addr.recv().unwrap()
    }
}

fn serve(addr: SocketAddr, collected: Sender<Collected>, answer: Arc<Mutex<Answer>>) {
    let traces = warp::post()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .map(move |path: FullPath, headers: HeaderMap, body: Bytes| {
            let answer = *answer.lock().unwrap();
            let mut response = ExportTraceServiceResponse::default();
            match answer {
                Answer::Take => collect(path.as_str(), &headers, &body, &collected),
                Answer::Reject => {
                    response.partial_success = Some(ExportTracePartialSuccess {
                        rejected_spans: 1,
                        error_message: "over quota".into(),
                    });
                }
                Answer::Refuse(status) => {
                    let refusal = Response::builder().status(status);
                    return refusal.body(Vec::new()).unwrap();
                }
            }
            Response::new(response.encode_to_vec())
        });
    run(async move { warp::serve(traces).run(addr).await });
}

fn collect(path: &str, headers: &HeaderMap, body: &[u8], collected: &Sender<Collected>) {
    let mut text = Vec::new();
    if headers
        .get("content-encoding")
        .is_some_and(|it| it == "gzip")
    {
        GzDecoder::new(body).read_to_end(&mut text).unwrap();
    } else {
        text.extend(body);
    }
    let request = ExportTraceServiceRequest::decode(&*text).unwrap();
    for group in request.resource_spans {
        let resource = group.resource.unwrap();
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            // The test may have seen enough.
            let _ = collected.send(Collected {
                span,
                resource: resource.clone(),
                path: path.to_owned(),
                headers: headers.clone(),
            });
        }
    }
}

fn run(server: impl Future<Output = ()> + Send + 'static) {
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(server);
    });
}

/// The value of an attribute as people write it; integers have no quotes.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => format!("{text:?}"),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}
