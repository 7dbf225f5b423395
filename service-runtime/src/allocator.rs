//! The allocator of the process. That of glibc takes a third more time for the small pieces that calls are made of, and
//! does not give back what lies between those of idle connections.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
