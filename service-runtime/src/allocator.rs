//! The allocator of the process: mimalloc. That of glibc takes more time for the small allocations that calls make, and
//! does not give back the gaps between those of idle connections.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
