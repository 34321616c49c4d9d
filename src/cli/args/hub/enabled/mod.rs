//! Arguments of `hub`: serving, looking after the store, and the daily work over the HTTP API.

mod account;
mod connection;
mod enrollment;
mod freeze;
mod instance;
mod list;
mod look;
mod peer;
mod peer_add;
mod secret;
mod serve;
mod settings;
mod site;
mod token;

use clap::{Args, Subcommand};

pub use account::AccountAction;
pub use connection::Connection;
pub use enrollment::EnrollmentAction;
pub use freeze::HubFreezeArgs;
pub use instance::InstanceAction;
pub use look::GatewayAction;
pub use peer::{PeerAction, PeerEditing, ProfileAs, SubnetEdit};
pub use peer_add::PeerAdding;
pub use secret::SecretTo;
pub use serve::{AdminToken, Backup, Check, GatewayBeside, Restore, Serve};
pub use site::SiteAction;
pub use token::TokenAction;

use crate::cli::failure::Failure;

/// `hub` as clap reads it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = AFTER_HELP)]
pub struct HubArgs {
    #[command(subcommand)]
    command: Option<HubCommandArgs>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

const AFTER_HELP: &str = "\
Examples:
  Hub and gateway in one process, on this machine, without root:
    sitepeer hub --data-dir ./hub --gateway --backend rootless --public-host 127.0.0.1
  The daily work, from anywhere:
    export SITEPEER_HUB=http://127.0.0.1:8443 SITEPEER_HUB_TOKEN_FILE=./hub/admin.token
    sitepeer hub account create ops
    sitepeer hub instance create acme --wait
    sitepeer hub site create branch-12
    sitepeer hub peer add site acme branch-12 --subnets 192.168.88.0/24
    sitepeer hub enrollment create branch-12 --out branch-12.token
  Then, where the router is:
    sitepeer provision --router apis://admin@192.168.88.1 --hub http://127.0.0.1:8443 --token-file branch-12.token

Things are named by id or by name. A peer may be named INSTANCE/PEER. Where a list is given, `none` empties it.";

#[derive(Debug, Subcommand)]
enum HubCommandArgs {
    /// Check the settings and say what they come to; serves nothing
    Check(serve::CheckArgs),
    /// Copy the SQLite store into a file, while the hub runs or not
    Backup(serve::BackupArgs),
    /// Put a copy back in the place of the store; the hub must not run
    Restore(serve::RestoreArgs),
    /// Make an admin token on the hub's own machine, in its store: the way back in when all are lost
    AdminToken(serve::AdminTokenArgs),
    /// VPN instances: create, list, show, edit, retry, suspend, resume, delete
    Instance(instance::InstanceArgs),
    /// Peers of instances: add, list, show, edit, enable, disable, profile, revoke, rm
    Peer(peer::PeerArgs),
    /// Sites: create, list, show, edit, subnets, health, transitions, events, freeze, rm
    Site(site::SiteArgs),
    /// Enrolment tokens: create, list, revoke
    Enrollment(enrollment::EnrollmentArgs),
    /// Tokens of people, programs and gateways: create, list, revoke
    Token(token::TokenArgs),
    /// Accounts: create, list, edit, delete
    Account(account::AccountArgs),
    /// Gateways: list, rm
    Gateway(look::GatewayArgs),
    /// Show who changed what, newest first
    Audit(look::AuditArgs),
    /// Show whom the token stands for
    Whoami(look::WhoamiArgs),
}

/// What `hub` is to do.
#[derive(Debug)]
pub enum Hub {
    /// Serve.
    Serve(Box<Serve>),
    /// Check settings.
    Check(Box<Check>),
    /// Copy the store.
    Backup(Box<Backup>),
    /// Put a copy back.
    Restore(Box<Restore>),
    /// `admin-token`
    AdminToken(Box<AdminToken>),
    /// Ask a hub.
    Ask(Box<Connection>, Box<Ask>),
}

/// What a hub is asked.
#[derive(Debug)]
pub enum Ask {
    /// `instance`
    Instance(InstanceAction),
    /// `peer`
    Peer(PeerAction),
    /// `site`
    Site(SiteAction),
    /// `enrollment`
    Enrollment(EnrollmentAction),
    /// `token`
    Token(TokenAction),
    /// `account`
    Account(AccountAction),
    /// `gateway`
    Gateway(GatewayAction),
    /// `audit`, and how many entries at most.
    Audit(usize),
    /// `whoami`
    Whoami,
}

impl Hub {
    /// Tells whether this is a server, with work for more than one thread, that ends when it is told to stop.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self, Self::Serve(_))
    }
}

impl HubArgs {
    pub(in crate::cli::args) fn serves(&self) -> bool {
        self.command.is_none()
    }

    pub(in crate::cli::args) fn json(&self) -> bool {
        match &self.command {
            None => self.serve.output.json,
            Some(HubCommandArgs::Check(args)) => args.output.json,
            Some(HubCommandArgs::Backup(args)) => args.output.json,
            Some(HubCommandArgs::Restore(args)) => args.output.json,
            Some(HubCommandArgs::AdminToken(args)) => args.output.json,
            Some(HubCommandArgs::Instance(args)) => args.connection.json,
            Some(HubCommandArgs::Peer(args)) => args.connection.json,
            Some(HubCommandArgs::Site(args)) => args.connection.json,
            Some(HubCommandArgs::Enrollment(args)) => args.connection.json,
            Some(HubCommandArgs::Token(args)) => args.connection.json,
            Some(HubCommandArgs::Account(args)) => args.connection.json,
            Some(HubCommandArgs::Gateway(args)) => args.connection.json,
            Some(HubCommandArgs::Audit(args)) => args.connection.json,
            Some(HubCommandArgs::Whoami(args)) => args.connection.json,
        }
    }

    /// What is to be done is settled before the connection: nobody is asked for a token for a command that is wrong anyway.
    pub(in crate::cli::args) fn settle(self) -> Result<Hub, Failure> {
        let (ask, connection) = match self.command {
            None => return Ok(Hub::Serve(Box::new(self.serve.settle()?))),
            Some(HubCommandArgs::Check(args)) => return Ok(Hub::Check(Box::new(args.settle()?))),
            Some(HubCommandArgs::Backup(args)) => return Ok(Hub::Backup(Box::new(args.settle()?))),
            Some(HubCommandArgs::Restore(args)) => return Ok(Hub::Restore(Box::new(args.settle()?))),
            Some(HubCommandArgs::AdminToken(args)) => return Ok(Hub::AdminToken(Box::new(args.settle()?))),
            Some(HubCommandArgs::Instance(args)) => (Ask::Instance(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Peer(args)) => (Ask::Peer(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Site(args)) => (Ask::Site(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Enrollment(args)) => (Ask::Enrollment(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Token(args)) => (Ask::Token(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Account(args)) => (Ask::Account(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Gateway(args)) => (Ask::Gateway(args.command.settle()?), args.connection),
            Some(HubCommandArgs::Audit(args)) => (Ask::Audit(args.limit), args.connection),
            Some(HubCommandArgs::Whoami(args)) => (Ask::Whoami, args.connection),
        };
        Ok(Hub::Ask(Box::new(connection.settle()?), Box::new(ask)))
    }
}

/// An edit without a change: a flag was forgotten, or a shell ate it.
fn nothing_to_change() -> Failure {
    Failure::usage("nothing-to-change", "nothing was said that is to change").hint("--help lists what can be changed")
}
