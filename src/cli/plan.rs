//! `sitepeer plan`.

use super::args::Plan;
use super::failure::Failure;
use super::report::{Outcome, Reporter};

/// Carries out `plan`.
///
/// # Errors
/// Anything that has an exit code of its own (see [`Failure`]); everything else is an internal error.
pub async fn run(_command: Plan, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    // LEAD: the body goes here. Tallies by `reporter.tally`, steps by `reporter.event`.
    Err(Failure::internal("plan is not written yet").into())
}
