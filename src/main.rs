//! The `sitepeer` program; everything is in the library.

use std::process::ExitCode;

/// A thousand routers that are read at once let go of twice the memory that they keep, and the system's allocator gives little of it back.
#[cfg(feature = "proxy")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sitepeer::cli::main()
}
