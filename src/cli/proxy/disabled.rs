//! `sitepeer proxy` of a build without it.

use crate::cli::args::Proxy;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no proxy.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Proxy, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("proxy").into())
}
