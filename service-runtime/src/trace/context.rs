//! W3C Trace Context: how a span is named so that other processes can refer to it.

use std::{fmt, str::FromStr};

/// A span (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// The trace, the same in all processes. Not 0.
    pub trace_id: u128,
    /// The span within it. Not 0.
    pub span_id: u64,
    /// Whether the process that began the trace records it.
    pub sampled: bool,
}

impl TraceContext {
    /// A trace that nobody has begun before, and that is not recorded.
    pub fn fresh() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            sampled: false,
        }
    }

    /// The trace's id in text: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Reads a `traceparent`; of versions later than 00, what 00 has.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let mut hex = |digits| {
            let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
            let field = fields.next().filter(|field| field.len() == digits)?;
            let number = u128::from_str_radix(field, 16).ok()?;
            field.bytes().all(is_lower_hex).then_some(number)
        };
        let (version, trace_id, span_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);

        let has_more = fields.next().is_some();
        if version == 0xff || trace_id == 0 || span_id == 0 || (version == 0 && has_more) {
            return None;
        }
        Some(Self {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            sampled: flags & 1 == 1,
        })
    }
}

/// A text that is no `traceparent`. A service that gets one begins a trace of its own.
#[derive(Debug, Eq, PartialEq)]
pub struct ParseTraceparentError;

impl FromStr for TraceContext {
    type Err = ParseTraceparentError;

    fn from_str(text: &str) -> Result<Self, ParseTraceparentError> {
        Self::parse(text).ok_or(ParseTraceparentError)
    }
}

impl fmt::Display for TraceContext {
    /// Writes a `traceparent` of version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, span_id) = (self.trace_id, self.span_id);
        let flags = u8::from(self.sampled);
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn traceparent_is_read_and_written_as_specified() {
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
    fn text_that_is_no_traceparent_is_refused() {
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
            assert_eq!(
                bad.parse::<TraceContext>(),
                Err(ParseTraceparentError),
                "{bad}"
            );
        }
    }
}
