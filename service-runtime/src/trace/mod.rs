//! Traces across processes: W3C Trace Context in and out, spans out by OTLP.
//!
//! Without the feature `otlp`, or without an endpoint to export to, a context is handed on as it came.

#[cfg(feature = "otlp")]
pub mod otlp;

use std::{fmt, str::FromStr};

/// A span, named so that other processes can refer to it (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// The trace, the same in all processes. Not 0.
    pub trace_id: u128,
    /// The span within it. Not 0.
    pub span_id: u64,
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

impl TraceContext {
    /// A trace that nobody has begun before, and that is not recorded.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            sampled: false,
        }
    }

    /// The trace's id as texts have it: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// A text that is no `traceparent`; whoever gets one begins a trace of its own.
#[derive(Debug, Eq, PartialEq)]
pub struct NotATraceparent;

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    /// Reads a `traceparent`; of versions later than 00, what 00 has.
    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let bytes = text.as_bytes();
        let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let dashes = [2, 35, 52];
        let well_formed = text.is_ascii()
            && (bytes.len() == 55
                || (bytes.len() > 55 && bytes[55] == b'-' && !text.starts_with("00")))
            && (0..55).all(|at| match bytes[at] {
                b'-' => dashes.contains(&at),
                ref other => is_hex(other) && !dashes.contains(&at),
            })
            && !text.starts_with("ff");
        if !well_formed {
            return Err(NotATraceparent);
        }
        let context = Self {
            trace_id: u128::from_str_radix(&text[3..35], 16).map_err(|_| NotATraceparent)?,
            span_id: u64::from_str_radix(&text[36..52], 16).map_err(|_| NotATraceparent)?,
            sampled: u8::from_str_radix(&text[53..55], 16).map_err(|_| NotATraceparent)? & 1 == 1,
        };
        if context.trace_id == 0 || context.span_id == 0 {
            return Err(NotATraceparent);
        }
        Ok(context)
    }
}

impl fmt::Display for TraceContext {
    /// Writes it as a `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            sampled,
        } = self;
        write!(
            f,
            "00-{trace_id:032x}-{span_id:016x}-{:02x}",
            u8::from(*sampled)
        )
    }
}

/// What a span does in its trace (OpenTelemetry trace API, SpanKind).
#[derive(Clone, Copy, Debug)]
pub enum SpanKind {
    /// Answers a call from elsewhere.
    Server,
    /// Calls something elsewhere.
    Client,
}

/// A piece of work, exported when it is dropped.
pub struct Span {
    context: TraceContext,
    #[cfg(feature = "otlp")]
    recorded: Option<otlp::Recorded>,
}

impl Span {
    /// Begins a span under `parent`, or a trace.
    #[must_use]
    pub fn start(name: &'static str, kind: SpanKind, parent: Option<TraceContext>) -> Self {
        Self::linked(name, kind, parent, &[])
    }

    /// The same, and refers to the spans that it does its work for.
    #[must_use]
    #[cfg_attr(not(feature = "otlp"), expect(unused_variables))]
    pub fn linked(
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceContext>,
        links: &[TraceContext],
    ) -> Self {
        #[cfg(feature = "otlp")]
        if let Some((recorded, context)) = otlp::start(name, kind, parent, links) {
            return Self {
                context,
                recorded: Some(recorded),
            };
        }
        Self {
            context: parent.unwrap_or_else(TraceContext::fresh),
            #[cfg(feature = "otlp")]
            recorded: None,
        }
    }

    /// How other processes refer to it.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Ends it; dropping it does so too.
    pub fn end(self) {}

    /// Notes an attribute, by its name in the OpenTelemetry semantic conventions.
    #[cfg_attr(not(feature = "otlp"), expect(unused_variables))]
    pub fn set(&mut self, name: &'static str, value: impl fmt::Display) {
        #[cfg(feature = "otlp")]
        if let Some(recorded) = &mut self.recorded {
            recorded.set(name, value.to_string());
        }
    }

    /// Notes that the work failed, and why.
    #[cfg_attr(not(feature = "otlp"), expect(unused_variables))]
    pub fn fail(&mut self, cause: &str) {
        #[cfg(feature = "otlp")]
        if let Some(recorded) = &mut self.recorded {
            recorded.fail(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_the_specification_has_it() {
        let context: TraceContext = SPEC.parse().unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(context.span_id, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled);
        assert_eq!(context.to_string(), SPEC);
        let later = SPEC.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(later.parse(), Ok(context));
        assert_eq!(TraceContext::fresh().to_string().len(), SPEC.len());
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let zero_trace = format!("00-{:032}-00f067aa0ba902b7-01", 0);
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{:016}-01", 0);
        for bad in [
            "",
            "00",
            &SPEC[..54],
            &SPEC.to_uppercase(),
            &format!("{SPEC}-more"),
            &format!("{SPEC}x"),
            &SPEC.replacen("00", "ff", 1),
            &SPEC.replacen("4bf9", "4bg9", 1),
            &SPEC.replace('-', "_"),
            &SPEC.replacen("01", "é", 1),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NotATraceparent), "{bad}");
        }
    }
}
