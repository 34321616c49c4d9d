//! `sitepeer demo` of a build without the simulator.

use crate::cli::args::Demo;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no simulator.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Demo, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("sim").into())
}
