//! Traces across processes: W3C Trace Context in and out, spans out by OTLP.

mod context;
#[cfg(feature = "otlp")]
pub mod otlp;
mod server_address;
mod span;
#[cfg(not(feature = "otlp"))]
pub mod without_otlp;

pub use context::{ParseTraceparentError, TraceContext};
pub use server_address::ServerAddress;
pub use span::{Attribute, Span, SpanKind};
