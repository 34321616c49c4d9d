//! `sitepeer gateway` of a build without the gateway.

use crate::cli::args::{Gateway, GatewayServe};
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no gateway.
///
/// # Errors
/// Always: exit 2.
pub async fn run(_command: Gateway, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("gateway").into())
}

/// Says that this build has no gateway.
///
/// # Errors
/// Always: exit 2.
pub async fn serve(_serve: GatewayServe, _stop: impl Future<Output = ()>, _reporter: &Reporter) -> anyhow::Result<()> {
    Err(Failure::not_built("gateway").into())
}
