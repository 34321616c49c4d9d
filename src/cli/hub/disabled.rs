//! `sitepeer hub` of a build without it.

use crate::cli::args::Hub;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no hub.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Hub, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("hub").into())
}
