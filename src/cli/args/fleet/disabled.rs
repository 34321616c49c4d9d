//! Arguments of `fleet` in a build without it: whatever they are, the answer is the same.

use std::ffi::OsString;

use clap::Args;

use crate::cli::failure::Failure;

/// What stands behind `fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// What `fleet` is to do: this build knows nothing of it.
#[derive(Debug, Clone, Copy)]
pub struct Fleet;

impl FleetArgs {
    pub(in crate::cli::args) fn json(&self) -> bool {
        self.rest.iter().any(|argument| argument == "--json")
    }

    /// Says that this build has no fleets.
    #[expect(clippy::unused_self, reason = "as in a build that has it")]
    pub(in crate::cli::args) fn settle(self) -> Result<Fleet, Failure> {
        Err(Failure::not_built("proxy"))
    }
}
