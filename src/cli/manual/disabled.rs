//! Completions and manual page of a build without them.

use crate::cli::args::Completions;
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter};

/// Says that this build has no completions.
///
/// # Errors
/// Always: exit 2.
pub fn completions(_command: Completions, _reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("manual").into())
}

/// Says that this build has no manual page.
///
/// # Errors
/// Always: exit 2.
pub fn man(_reporter: &Reporter) -> anyhow::Result<Outcome> {
    Err(Failure::not_built("manual").into())
}
