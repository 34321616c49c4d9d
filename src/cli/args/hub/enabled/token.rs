//! Arguments of `hub token`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::list::{YesArgs, seconds, span, word};
use super::secret::{SecretArgs, SecretTo};
use crate::api::{NewToken, Role};
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    pub(super) command: TokenCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token for a person, a program or a gateway
    Create(CreateArgs),
    /// List tokens
    List,
    /// Take a token back
    Revoke {
        /// Its name or id
        token: String,
        #[command(flatten)]
        yes: YesArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// A name for people: who or what uses it
    name: String,
    /// What it may do: viewer reads, operator changes, admin does everything, gateway and proxy are one
    #[arg(long, value_parser = word::<Role>(&["viewer", "operator", "admin", "gateway", "proxy"]))]
    role: Role,
    /// Whose it is, name or id: for viewer, operator and proxy
    #[arg(long)]
    account: Option<String>,
    /// The only region that a gateway serves with it
    #[arg(long)]
    region: Option<String>,
    /// The only group whose sites a proxy drives with it; all groups of its account if left out
    #[arg(long, conflicts_with = "region")]
    group: Option<String>,
    /// How long it can be used, such as 12h or 90d; without end if left out
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    #[command(flatten)]
    secret: SecretArgs,
}

/// What is to be done with tokens.
#[derive(Debug)]
pub enum TokenAction {
    /// Make one.
    Create {
        /// It, but for its account.
        new: NewToken,
        /// Its account, name or id.
        account: Option<String>,
        /// Where it goes.
        to: SecretTo,
    },
    /// List them.
    List,
    /// Take one back, named by name or id.
    Revoke(String, Confirm),
}

impl TokenCommand {
    pub(super) fn settle(self) -> Result<TokenAction, Failure> {
        Ok(match self {
            Self::Create(args) => args.settle()?,
            Self::List => TokenAction::List,
            Self::Revoke { token, yes } => TokenAction::Revoke(token, yes.settle()?),
        })
    }
}

impl CreateArgs {
    fn settle(self) -> Result<TokenAction, Failure> {
        let of_account = matches!(self.role, Role::Viewer | Role::Operator | Role::Proxy);
        let wrong = |text| Err(Failure::usage("usage", text));
        match (&self.account, of_account) {
            (None, true) => {
                return wrong("a viewer, operator or proxy belongs to an account: --account is missing")
                    .map_err(|failure: Failure| failure.hint("sitepeer hub account list shows the accounts"));
            }
            (Some(_), false) => return wrong("an admin or gateway belongs to no account: leave --account out"),
            _ => {}
        }
        match (&self.region, self.role) {
            (None, Role::Gateway) => return wrong("a gateway serves one region: --region is missing"),
            (Some(_), Role::Viewer | Role::Operator | Role::Admin | Role::Proxy) => {
                return wrong("only a gateway has a --region");
            }
            _ => {}
        }
        if self.group.is_some() && self.role != Role::Proxy {
            return wrong("only a proxy has a --group");
        }
        let new = NewToken {
            name: self.name,
            role: self.role,
            account: None,
            // A proxy's group has that place.
            region: self.region.or(self.group),
            ttl_secs: self.ttl.map(seconds),
        };
        Ok(TokenAction::Create { new, account: self.account, to: self.secret.settle()? })
    }
}
