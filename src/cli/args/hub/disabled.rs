//! Arguments of `hub` in a build without it: whatever they are, the answer is the same.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::cli::failure::Failure;

/// What stands behind `hub`.
#[derive(Debug, Args)]
pub struct HubArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

/// What `hub` is to do: this build knows nothing of it.
#[derive(Debug, Clone, Copy)]
pub struct Hub;

impl Hub {
    /// Nothing is served.
    #[must_use]
    pub fn serves(&self) -> bool {
        false
    }
}

impl HubArgs {
    #[expect(clippy::unused_self, reason = "as in a build that has it")]
    pub(in crate::cli::args) fn serves(&self) -> bool {
        false
    }

    pub(in crate::cli::args) fn json(&self) -> bool {
        self.rest.iter().any(|argument| argument == "--json")
    }

    /// Says that this build has no hub.
    #[expect(clippy::unused_self, reason = "as in a build that has it")]
    pub(in crate::cli::args) fn settle(self) -> Result<Hub, Failure> {
        Err(Failure::not_built("hub"))
    }
}

/// A build without hub freezes on its own host only.
#[derive(Debug, Args)]
pub struct HubFreezeArgs {
    /// Write one JSON object per line to stdout; the last is the result
    #[arg(long)]
    json: bool,
}

impl HubFreezeArgs {
    pub(in crate::cli::args) fn json(&self) -> bool {
        self.json
    }

    #[expect(clippy::unused_self, reason = "as in a build that has it")]
    pub(in crate::cli::args) fn is_asked(&self) -> bool {
        false
    }

    /// Says that this build has no hub.
    #[expect(clippy::unused_self, reason = "as in a build that has it")]
    pub(in crate::cli::args) fn settle(
        self,
        _site: String,
        _freeze: Option<(Duration, String)>,
    ) -> Result<Hub, Failure> {
        Err(Failure::not_built("hub"))
    }
}
