//! The command line, in two levels.
//!
//! The low level is what clap reads: text and switches, one file for each command (`ProvisionArgs`). The high
//! level is what a command gets (`Provision`): a parsed site, a router with its password, a decision whether to
//! ask. `settle` leads from one to the other, so that everything that can be wrong with an argument, a file or a
//! variable is found before work starts.

mod agent;
mod client_key;
mod common;
mod doctor;
mod env;
pub mod fleet;
mod freeze;
mod gateway;
pub mod hub;
mod plan;
mod provision;
mod proxy;
mod remove;
mod render;
mod rotate_key;
mod router;
mod side;
mod status;
mod uplink;

use clap::{Parser, Subcommand};

pub use agent::{Agent, Supervision};
pub use client_key::ClientKey;
pub use common::{Subject, Write};
pub use doctor::Doctor;
pub use fleet::Fleet;
pub use freeze::Freeze;
pub use gateway::{Gateway, GatewayServe};
pub use hub::Hub;
pub use plan::Plan;
pub use provision::Provision;
pub use proxy::{Proxy, ProxyFleet, ProxyServe};
pub use remove::Remove;
pub use render::Render;
pub use rotate_key::RotateKey;
pub use side::{Completions, Demo, DemoEnd, Shell, Sim, SimDevice};
pub use status::Status;
pub use uplink::{HubSource, Source};

use super::exit;
use super::failure::Failure;
use super::report::Mode;

/// The command line as clap reads it.
#[derive(Debug, Parser)]
#[command(
    name = "sitepeer",
    version,
    about = "Managed VPN for MikroTik sites: a WireGuard site peer, made and proven natively on RouterOS",
    long_about = LONG_ABOUT,
    after_help = "See `sitepeer --help` for examples, environment and exit codes.",
    after_long_help = after_long_help(),
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Args {
    /// What to log on stderr: error, warn, info, debug, trace, or pairs target=level
    #[arg(long, global = true, env = env::LOG, value_name = "FILTER", default_value = "warn")]
    #[arg(hide_env_values = true)]
    pub log: String,

    #[command(subcommand)]
    command: CommandArgs,
}

const LONG_ABOUT: &str = "\
Managed VPN for MikroTik sites.

sitepeer talks to a router over its API, makes the WireGuard site peer natively on it (interface, peer, \
addresses, routes, firewall rules), proves that the tunnel works, and can take all of it out again. It owns \
exactly the rows whose comment carries its marker and never touches others. Traffic never passes through it.";

fn after_long_help() -> String {
    format!(
        "\
Examples:
  See everything work on this machine, without a router:
    sitepeer demo
  See what would change on a router, then do it:
    sitepeer plan      --router apis://admin@192.168.88.1 --site site.toml
    sitepeer provision --router apis://admin@192.168.88.1 --site site.toml
  A router whose certificate is not known yet prints its fingerprint; pin it:
    sitepeer provision --router apis://admin@192.168.88.1 --pin sha256:… --site site.toml
  From a script:
    sitepeer provision --router apis://192.168.88.1 --password-file pw --site site.toml --yes --json
  With a hub: enrol once with a token made there; the second run needs no token:
    sitepeer provision --router apis://admin@192.168.88.1 --hub https://hub.example.net --token-file token
  What would stop a tunnel, or stops it:
    sitepeer doctor --router apis://admin@192.168.88.1 --site site.toml
  A new key for the router's end, without a lost packet:
    sitepeer rotate-key --router apis://admin@192.168.88.1 --hub https://hub.example.net --credential-file token.credential
  How it is doing; take it out:
    sitepeer status --router apis://admin@192.168.88.1
    sitepeer remove --router apis://admin@192.168.88.1 --instance acme
  A script to read or to paste into the router's terminal:
    sitepeer render --site site.toml > site.rsc

Exit codes:
{}

Environment:
{}",
        exit::TABLE,
        env::TABLE
    )
}

#[derive(Debug, Subcommand)]
enum CommandArgs {
    /// Plan, confirm, apply, and prove the tunnel; a second run changes nothing
    Provision(provision::ProvisionArgs),
    /// Show what provision would change, and why
    Plan(plan::PlanArgs),
    /// Show interface, peer, handshake, traffic and reach of a site on a router
    Status(status::StatusArgs),
    /// Find what stops a tunnel, or would, with the command that mends it
    Doctor(doctor::DoctorArgs),
    /// Take out all that provision put in, and nothing else
    Remove(remove::RemoveArgs),
    /// Give a router a new key, by a second tunnel beside the one in use; no packet is lost
    RotateKey(rotate_key::RotateKeyArgs),
    /// Keep a router as it is wanted, for months: from a file or as its hub says, and tell the hub how it is
    Agent(agent::AgentArgs),
    /// Keep a fleet of routers, as agent does one; check its file
    Proxy(Box<proxy::ProxyArgs>),
    /// Plan, provision, look at or remove the routers of a fleet, wave by wave
    Fleet(Box<fleet::FleetArgs>),
    /// Hold hands off a site's router for a while: somebody works there. It ends by itself
    Freeze(freeze::FreezeArgs),
    /// Write the plan for a clean router as a RouterOS script (.rsc)
    Render(render::RenderArgs),
    /// Serve the hub: control plane of the VPN, its gateway beside it if asked; and the daily work at a hub
    Hub(Box<hub::HubArgs>),
    /// Make a client's key pair here, enrol it at a hub, and write its profile
    ClientKey(client_key::ClientKeyArgs),
    /// Serve the VPN instances of a region for a hub
    Gateway(Box<gateway::GatewayArgs>),
    /// Serve a simulated RouterOS device with a real tunnel
    Sim(side::SimArgs),
    /// Show two simulated sites reach each other through a hub, on this machine, without root
    Demo(side::DemoArgs),
    /// Write shell completions to stdout
    Completions(side::CompletionsArgs),
    /// Write the manual page to stdout
    Man,
}

/// A command with everything it needs.
#[derive(Debug)]
pub enum Command {
    /// `provision`
    Provision(Provision),
    /// `plan`
    Plan(Plan),
    /// `status`
    Status(Status),
    /// `doctor`
    Doctor(Doctor),
    /// `remove`
    Remove(Remove),
    /// `rotate-key`
    RotateKey(RotateKey),
    /// `agent`
    Agent(Agent),
    /// `proxy`
    Proxy(Proxy),
    /// `fleet`
    Fleet(Fleet),
    /// `freeze`
    Freeze(Freeze),
    /// `render`
    Render(Render),
    /// `hub`
    Hub(Hub),
    /// `client-key`
    ClientKey(ClientKey),
    /// `gateway`
    Gateway(Gateway),
    /// `sim`
    Sim(Sim),
    /// `demo`
    Demo(Demo),
    /// `completions`
    Completions(Completions),
    /// `man`
    Man,
}

impl Command {
    /// Tells whether this is a server, with work for more than one thread.
    #[must_use]
    pub fn serves(&self) -> bool {
        match self {
            Self::Hub(hub) => hub.serves(),
            Self::Gateway(gateway) => matches!(gateway, Gateway::Serve(_)),
            Self::Proxy(proxy) => proxy.serves(),
            _ => false,
        }
    }
}

impl Args {
    /// Tells whether a server is asked for: one request that ends in a panic must not end it.
    #[must_use]
    pub fn serves(&self) -> bool {
        match &self.command {
            CommandArgs::Hub(args) => args.serves(),
            CommandArgs::Gateway(args) => args.serves(),
            CommandArgs::Proxy(args) => args.serves(),
            _ => false,
        }
    }

    /// Who reads the output.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let json = match &self.command {
            CommandArgs::Provision(args) => args.output.json,
            CommandArgs::Plan(args) => args.output.json,
            CommandArgs::Status(args) => args.output.json,
            CommandArgs::Doctor(args) => args.output.json,
            CommandArgs::Remove(args) => args.output.json,
            CommandArgs::RotateKey(args) => args.output.json,
            CommandArgs::Agent(args) => args.output.json,
            CommandArgs::Proxy(args) => args.json(),
            CommandArgs::Fleet(args) => args.json(),
            CommandArgs::Freeze(args) => args.json(),
            CommandArgs::Render(args) => args.output.json,
            CommandArgs::Hub(args) => args.json(),
            CommandArgs::ClientKey(args) => args.output.json,
            CommandArgs::Gateway(args) => args.json(),
            CommandArgs::Sim(args) => args.output.json,
            CommandArgs::Demo(args) => args.output.json,
            CommandArgs::Completions(_) | CommandArgs::Man => false,
        };
        if json { Mode::Json } else { Mode::People }
    }

    /// Reads files, variables and, if need be, the password from the terminal.
    ///
    /// # Errors
    /// A [`Failure`] with exit 2, or 5 where the site config breaks a safety rule.
    pub fn settle(self) -> Result<Command, Failure> {
        Ok(match self.command {
            CommandArgs::Provision(args) => Command::Provision(args.settle()?),
            CommandArgs::Plan(args) => Command::Plan(args.settle()?),
            CommandArgs::Status(args) => Command::Status(args.settle()?),
            CommandArgs::Doctor(args) => Command::Doctor(args.settle()?),
            CommandArgs::Remove(args) => Command::Remove(args.settle()?),
            CommandArgs::RotateKey(args) => Command::RotateKey(args.settle()?),
            CommandArgs::Agent(args) => Command::Agent(args.settle()?),
            CommandArgs::Proxy(args) => Command::Proxy(args.settle()?),
            CommandArgs::Fleet(args) => Command::Fleet(args.settle()?),
            CommandArgs::Freeze(args) => Command::Freeze(args.settle()?),
            CommandArgs::Render(args) => Command::Render(args.settle()?),
            CommandArgs::Hub(args) => Command::Hub(args.settle()?),
            CommandArgs::ClientKey(args) => Command::ClientKey(args.settle()?),
            CommandArgs::Gateway(args) => Command::Gateway(args.settle()?),
            CommandArgs::Sim(args) => Command::Sim(args.settle()?),
            CommandArgs::Demo(args) => Command::Demo(args.settle()),
            CommandArgs::Completions(args) => Command::Completions(args.settle()),
            CommandArgs::Man => Command::Man,
        })
    }
}
