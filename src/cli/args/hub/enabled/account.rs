//! Arguments of `hub account`.

use clap::{Args, Subcommand};

use super::connection::ConnectionArgs;
use super::list::YesArgs;
use crate::api::{AccountEdit, NewAccount};
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;

#[derive(Debug, Args)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    pub(super) command: AccountCommand,
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Make an account
    Create {
        /// Its name, unique on the hub
        name: String,
        /// Most instances; 0 is no limit, 5 if left out
        #[arg(long, value_name = "N")]
        max_instances: Option<u32>,
    },
    /// List accounts
    List,
    /// Change an account
    Edit {
        /// Its name or id
        account: String,
        /// The new name
        #[arg(long)]
        name: Option<String>,
        /// Most instances; 0 is no limit; lowering it removes none
        #[arg(long, value_name = "N")]
        max_instances: Option<u32>,
    },
    /// Delete an account without instances and sites, with its tokens
    Delete {
        /// Its name or id
        account: String,
        #[command(flatten)]
        yes: YesArgs,
    },
}

/// What is to be done with accounts, which are named by name or id.
#[derive(Debug)]
pub enum AccountAction {
    /// Make one.
    Create(NewAccount),
    /// List them.
    List,
    /// Change one.
    Edit(String, AccountEdit),
    /// Delete.
    Delete(String, Confirm),
}

impl AccountCommand {
    pub(super) fn settle(self) -> Result<AccountAction, Failure> {
        Ok(match self {
            Self::Create { name, max_instances } => AccountAction::Create(NewAccount { name, max_instances }),
            Self::List => AccountAction::List,
            Self::Edit { account, name, max_instances } => {
                let edit = AccountEdit { name, max_instances };
                if edit == AccountEdit::default() {
                    return Err(super::nothing_to_change());
                }
                AccountAction::Edit(account, edit)
            }
            Self::Delete { account, yes } => AccountAction::Delete(account, yes.settle()?),
        })
    }
}
