//! Arguments of `rotate-key`.

use std::time::Duration;

use clap::Args;

use super::common::{OutputArgs, at_terminal};
use super::router::RouterArgs;
use super::uplink::{Source, SourceArgs, UplinkArgs};
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;
use crate::routeros::target::Access;

/// Longest wait for the end of a move in seconds: a hub whose gateway is away.
const MAX_SECS: u64 = 86_400;

#[derive(Debug, Args)]
pub(super) struct RotateKeyArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Do not ask before the hub is asked for a new key
    #[arg(long, short)]
    yes: bool,
    /// How many seconds to wait for the end of the move; the hub keeps the old tunnel for some minutes after the new one is in use
    #[arg(long, value_name = "SECS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=MAX_SECS))]
    timeout: u64,
    /// Refuse a plan that removes more rows than this
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_removals: usize,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    uplink: UplinkArgs,
    #[command(flatten)]
    router: RouterArgs,
}

/// What `rotate-key` is to do.
#[derive(Debug)]
pub struct RotateKey {
    /// The router.
    pub access: Access,
    /// Where the other end is told of the new key: without a hub it is refused.
    pub source: Source,
    /// Whether to ask first.
    pub confirm: Confirm,
    /// How long the move may take.
    pub timeout: Duration,
    /// The most rows a plan may remove.
    pub max_removals: usize,
}

impl RotateKeyArgs {
    pub(super) fn settle(self) -> Result<RotateKey, Failure> {
        if !self.yes && !at_terminal() {
            let failure =
                Failure::usage("needs-yes", "this has the router's key changed, and there is no terminal to ask on");
            return Err(failure.hint("add --yes"));
        }
        Ok(RotateKey {
            source: self.source.settle(self.uplink)?,
            confirm: if self.yes { Confirm::Given } else { Confirm::Ask },
            timeout: Duration::from_secs(self.timeout),
            max_removals: self.max_removals,
            access: self.router.settle()?,
        })
    }
}
