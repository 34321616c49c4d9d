//! The `sitepeer` program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    sitepeer::cli::main()
}
