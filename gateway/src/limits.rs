//! The limits of what a client may send. Texts that name one are formatted from it.

use std::time::Duration;

/// Largest head of a request: request line and headers.
pub const MAX_HEAD_KIB: usize = 16;
/// How long a request's head may take to arrive, and how long a connection may idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest body. A user fits in 2 KiB, escapes included.
pub const MAX_BODY_KIB: usize = 64;
/// How long the body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest `Idempotency-Key`.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Longest `X-Request-Id`.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// Whether `bytes` are 1 to `max` visible ASCII characters.
pub fn is_visible_ascii(bytes: &[u8], max: usize) -> bool {
    (1..=max).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}
