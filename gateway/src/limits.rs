//! The limits of what a client may send. Texts that name one are formatted from it.

use std::time::Duration;

/// Largest head of a request: request line and headers.
pub const MAX_HEAD_KIB: usize = 16;
/// Most headers of a request. This is hyper's own limit; to set it would cost an allocation for each request.
pub const MAX_HEADERS: usize = 100;
/// How long a request's head may take to arrive, or a TLS handshake, and how long a connection may idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest body. A user fits in 2 KiB, escapes included.
pub const MAX_BODY_KIB: usize = 64;
/// How long the body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of a response.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The slowest that a client may take a response over a longer time: a telephone's modem.
pub const MIN_BYTES_PER_SECOND: u32 = 8 * 1024;
/// Bytes that the kernel may hold of what a connection sends, and as many of what it receives; it doubles
/// them for its own needs. On its own it grows to many MiB for a peer that does not read, and reports
/// progress in steps of a third of that, which would make a slow reader look like none.
pub const SOCKET_BUFFER: usize = 64 * 1024;

/// Longest `Idempotency-Key`.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Longest `X-Request-Id`.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// Whether `bytes` are 1 to `max` visible ASCII characters.
pub fn is_visible_ascii(bytes: &[u8], max: usize) -> bool {
    (1..=max).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}
