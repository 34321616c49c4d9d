//! `sitepeer demo` on the simulator.

use crate::cli::args::Demo;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Carries out `demo`.
///
/// # Errors
/// What keeps it from starting or ends it.
pub async fn run(_command: Demo, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    // SIM: the body goes here.
    Err(Failure::internal("demo is not written yet").into())
}
