//! Arguments of `provision`.

use std::time::Duration;

use clap::Args;

use super::common::{OutputArgs, Write, WriteArgs};
use super::router::RouterArgs;
use super::uplink::{Source, SourceArgs, UplinkArgs};
use crate::cli::failure::Failure;
use crate::reconcile::guard::When;
use crate::routeros::target::Access;

/// Longest wait for proof in seconds: a person who enters a key at a hub by hand.
const MAX_PROOF_SECS: u64 = 86_400;

#[derive(Debug, Args)]
pub(super) struct ProvisionArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    write: WriteArgs,
    /// How many seconds to wait for a handshake and an answer through the tunnel
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MAX_PROOF_SECS))]
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

/// What `provision` is to do.
#[derive(Debug)]
pub struct Provision {
    /// The router.
    pub access: Access,
    /// What is to be on it.
    pub source: Source,
    /// Whether to write, and whether to ask first.
    pub write: Write,
    /// When the router undoes the change by itself unless it is confirmed.
    pub guard: When,
    /// How long to wait for handshake and answer; connecting and commands have deadlines of their own.
    pub proof_timeout: Duration,
    /// The most rows a plan may remove.
    pub max_removals: usize,
}

impl ProvisionArgs {
    pub(super) fn settle(self) -> Result<Provision, Failure> {
        Ok(Provision {
            source: self.source.settle(self.uplink)?,
            guard: self.write.guard(),
            write: self.write.settle()?,
            proof_timeout: Duration::from_secs(self.timeout),
            max_removals: self.max_removals,
            access: self.router.settle()?,
        })
    }
}
