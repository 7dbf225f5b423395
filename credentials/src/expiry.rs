//! What operators see of a certificate's last days: a metric, and a line in the log before it is too late.

use std::ops::Range;
use std::time::SystemTime;

use metrics::gauge;

use crate::file::CredentialFile;

/// The part of its lifetime that a certificate has left when its end is announced.
const LAST_PART: u32 = 10;

/// Watches the end of the certificate that a setting names.
pub struct Expiry {
    variable: &'static str,
    /// The end that the log has announced.
    announced: Option<SystemTime>,
}

impl Expiry {
    pub fn new(file: &CredentialFile) -> Self {
        Self {
            variable: file.variable(),
            announced: None,
        }
    }

    /// Records how long the certificate is still valid, and says so once when that is not long.
    pub fn record(&mut self, validity: &Range<SystemTime>) {
        let left = match validity.end.duration_since(SystemTime::now()) {
            Ok(left) => left.as_secs_f64(),
            Err(error) => -error.duration().as_secs_f64(),
        };
        gauge!("tls_certificate_expiry_seconds", "setting" => self.variable).set(left);

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
