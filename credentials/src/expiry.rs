//! What operators see of a certificate's last days: a metric, and a line in the log before it is too late.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{describe_gauge, gauge};

use crate::file::CredentialFile;

/// The part of its lifetime that a certificate has left when its end is announced.
const LAST_PART: u32 = 10;

const NOT_BEFORE: &str = "tls_certificate_not_before_timestamp_seconds";
const NOT_AFTER: &str = "tls_certificate_not_after_timestamp_seconds";

/// Watches the end of the certificate that a setting names.
pub struct Expiry {
    variable: &'static str,
    /// The end that the log has announced.
    announced: Option<SystemTime>,
}

impl Expiry {
    pub fn new(file: &CredentialFile) -> Self {
        describe_gauge!(
            NOT_BEFORE,
            "Since when the certificate is valid, or the one that expires first in a file of CAs, as Unix time."
        );
        describe_gauge!(
            NOT_AFTER,
            "Until when the certificate is valid, or the one that expires first in a file of CAs, as Unix time."
        );
        Self {
            variable: file.variable(),
            announced: None,
        }
    }

    /// Records when the certificate is valid, and says so once when that is not for long.
    pub fn record(&mut self, validity: &Range<SystemTime>) {
        let (start, end) = (unix_seconds(validity.start), unix_seconds(validity.end));
        gauge!(NOT_BEFORE, "setting" => self.variable).set(start);
        gauge!(NOT_AFTER, "setting" => self.variable).set(end);

        let left = end - unix_seconds(SystemTime::now());
        let lifetime = validity.end.duration_since(validity.start);
        let last_part = lifetime.unwrap_or_default() / LAST_PART;
        if left < last_part.as_secs_f64() && self.announced != Some(validity.end) {
            self.announced = Some(validity.end);
            tracing::warn!(
                setting = self.variable,
                seconds = left.round(),
                "a certificate expires soon and has not been replaced"
            );
        }
    }
}

/// Seconds since 1970, below zero before it.
fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}
