//! Heads of requests that hyper refuses by itself: no handler sees them, so they are counted here.

use metrics::{counter, describe_counter};

/// Describes the metric, and lets it begin at zero.
pub fn register_metrics() {
    describe_counter!(
        "http_server_refused_heads_total",
        "Heads of requests that were too large (431), malformed (400), or not complete in time."
    );
    for reason in ["too_large", "malformed", "timeout"] {
        counter!("http_server_refused_heads_total", "reason" => reason).increment(0);
    }
}

/// Counts the head that made a connection end with `error`, if a head did.
pub fn count_refused_head(error: &hyper::Error) {
    let reason = if error.is_parse_too_large() {
        "too_large"
    } else if error.is_parse() {
        "malformed"
    } else if error.is_timeout() {
        "timeout"
    } else {
        return;
    };
    counter!("http_server_refused_heads_total", "reason" => reason).increment(1);
}
