//! Arguments of `hub enrollment`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::list::{seconds, span};
use super::secret::{SecretArgs, SecretTo};
use crate::cli::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct EnrollmentArgs {
    #[command(subcommand)]
    pub(super) command: EnrollmentCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum EnrollmentCommand {
    /// Make a token that enrols the agent of a site peer, or a client that makes its own key
    Create {
        /// The peer: its name, INSTANCE/NAME or id
        peer: String,
        /// How long it can be used, such as 30m, 12h or 7d; a day if left out
        #[arg(long, value_name = "TIME", value_parser = span)]
        ttl: Option<Duration>,
        /// How often it can be used; once if left out
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        uses: Option<u32>,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// List enrolment tokens
    List,
    /// Take an enrolment token back; who enrolled with it stays
    Revoke {
        /// Its id
        enrollment: String,
    },
}

/// What is to be done with enrolment tokens.
#[derive(Debug)]
pub enum EnrollmentAction {
    /// Make one.
    Create {
        /// For which peer.
        peer: String,
        /// Time to live in seconds.
        ttl_secs: Option<u32>,
        /// How often it can be used.
        uses: Option<u32>,
        /// Where it goes.
        to: SecretTo,
    },
    /// List them.
    List,
    /// Take one back.
    Revoke(String),
}

impl EnrollmentCommand {
    pub(super) fn settle(self) -> Result<EnrollmentAction, Failure> {
        Ok(match self {
            Self::Create { peer, ttl, uses, secret } => {
                EnrollmentAction::Create { peer, ttl_secs: ttl.map(seconds), uses, to: secret.settle()? }
            }
            Self::List => EnrollmentAction::List,
            Self::Revoke { enrollment } => EnrollmentAction::Revoke(enrollment),
        })
    }
}
