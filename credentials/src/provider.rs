//! The cryptography under TLS.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};

/// The provider of every configuration: ring. Beside aws-lc-rs (x86-64 with AES instructions), it builds in
/// half the processor time, makes a program half as large, takes as long for a handshake, and is no slower at
/// small records and faster at large ones.
///
/// It is named each time, and no default is installed for the process, so that another library's choice
/// changes nothing here.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(ring::default_provider()));
    PROVIDER.clone()
}
