//! `sitepeer sim` of a build without the simulator.

use crate::cli::args::Sim;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no simulator.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Sim, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("sim").into())
}
