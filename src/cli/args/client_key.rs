//! Arguments of `client-key`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::common::OutputArgs;
use super::uplink::{HubTrustArgs, hub_url};
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::Secret;
use crate::uplink::Hub;

/// Longest wait for a hub in seconds: nothing has to become ready here.
const MAX_HUB_SECS: u64 = 600;

#[derive(Debug, Args)]
pub(super) struct ClientKeyArgs {
    /// The hub; such as `https://hub.example.net`
    #[arg(long, value_name = "URL")]
    hub: String,
    /// A file that holds the client's enrolment token made at the hub; not readable by others
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where to write the finished profile
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    trust: HubTrustArgs,
    /// How many seconds to ask a hub that is busy
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MAX_HUB_SECS))]
    hub_timeout: u64,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `client-key` is to do.
#[derive(Debug)]
pub struct ClientKey {
    /// The hub, without a credential.
    pub hub: Hub,
    /// The client's enrolment token.
    pub token: Secret,
    /// Where the profile goes.
    pub out: PathBuf,
    /// Whether to write over a file that is there.
    pub is_forced: bool,
    /// How long to ask a hub that is busy.
    pub timeout: Duration,
}

impl ClientKeyArgs {
    pub(super) fn settle(self) -> Result<ClientKey, Failure> {
        let hub = self.trust.settle(hub_url(&self.hub)?)?;
        // Before the token is used: it may be good for once only.
        if self.out.exists() && !self.force {
            return Err(Failure::usage("file-exists", format!("{} is there already", self.out.display()))
                .hint("name another --out, or add --force to write over it"));
        }
        Ok(ClientKey {
            hub,
            token: config::read_secret(&self.token_file)?,
            out: self.out,
            is_forced: self.force,
            timeout: Duration::from_secs(self.hub_timeout),
        })
    }
}
