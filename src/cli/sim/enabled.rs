//! `sitepeer sim` on the simulator.

use crate::cli::args::Sim;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Carries out `sim`.
///
/// # Errors
/// What keeps it from starting or ends it.
pub async fn run(_command: Sim, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    // SIM: the body goes here.
    Err(Failure::internal("sim is not written yet").into())
}
