//! `sitepeer fleet` of a build without it.

use crate::cli::args::Fleet;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no fleets.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Fleet, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("proxy").into())
}
