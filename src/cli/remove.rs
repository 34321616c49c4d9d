//! `sitepeer remove`.

use super::args::Remove;
use super::failure::Failure;
use super::report::{Outcome, Reporter};

/// Carries out `remove`.
///
/// # Errors
/// Anything that has an exit code of its own (see [`Failure`]); everything else is an internal error.
pub async fn run(_command: Remove, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    // LEAD: the body goes here. Tallies by `reporter.tally`, steps by `reporter.event`.
    Err(Failure::internal("remove is not written yet").into())
}
