//! `sitepeer render`.

use super::args::Render;
use super::failure::Failure;
use super::report::{Outcome, Reporter};

/// Carries out `render`.
///
/// # Errors
/// Anything that has an exit code of its own (see [`Failure`]); everything else is an internal error.
pub async fn run(_command: Render, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    // LEAD: the body goes here. Tallies by `reporter.tally`, steps by `reporter.event`.
    Err(Failure::internal("render is not written yet").into())
}
