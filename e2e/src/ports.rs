//! Ports for programs that have to be told one.

/// A port that is free on every address of this machine.
pub fn free_port() -> u16 {
    postgres_server::ports::free_port().unwrap()
}

/// A free port of 127.0.0.1, as an address.
pub fn free_addr() -> String {
    postgres_server::ports::free_addr().unwrap().to_string()
}
