//! `sitepeer client-key` of a build that makes no keys.

use crate::cli::args::ClientKey;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build makes no keys.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: ClientKey, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("wireguard").into())
}
