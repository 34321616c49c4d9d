//! Arguments of `fleet`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::common::{OutputArgs, at_terminal};
use crate::cli::failure::Failure;
use crate::cli::report::Confirm;
use crate::reconcile::guard::When;
use crate::routeros::menu::parse_duration;

/// Most routers that may be worked on at once.
const MAX_AT_ONCE: u64 = 256;
/// Longest wait for proof in seconds, for each router.
const MAX_PROOF_SECS: u64 = 3_600;
/// Longest wait for a hub's site config in seconds, for each router.
const MAX_HUB_SECS: u64 = 3_600;
/// Longest pause between two waves: somebody watches.
const MAX_PAUSE: Duration = Duration::from_hours(24);

/// What stands behind `fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Show what provision would change on each router
    Plan(LookArgs),
    /// Plan, apply and prove on each router, wave by wave; goes on where an earlier run stopped
    Provision(ProvisionArgs),
    /// Show how the tunnel of each router is
    Status(LookArgs),
    /// Take out of each router all that provision put in, wave by wave
    Remove(RemoveArgs),
}

/// Which routers.
#[derive(Debug, Args)]
struct ChoiceArgs {
    /// The fleet, a TOML file with a table for each router, as for `sitepeer proxy`
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// Only routers with this tag or of this name: tag=retail, name=oslo-1; given again, all of them must hold
    #[arg(long, value_name = "KEY=VALUE")]
    select: Vec<Select>,
    /// Work on so many routers at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=MAX_AT_ONCE))]
    at_once: u64,
    /// How many seconds to wait until a router's hub has the whole site config
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MAX_HUB_SECS))]
    hub_timeout: u64,
}

#[derive(Debug, Args)]
struct LookArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct ProvisionArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    change: ChangeArgs,
    /// How many seconds to wait for a handshake and an answer through each tunnel
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MAX_PROOF_SECS))]
    timeout: u64,
    /// Refuse a plan that removes more rows of one router than this
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_removals: usize,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How a change goes through the fleet.
#[derive(Debug, Args)]
#[command(next_help_heading = "Waves")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct ChangeArgs {
    /// So many routers go first, before all others; a failure among them stops everything
    #[arg(long, value_name = "N", default_value_t = 1)]
    canary: usize,
    /// How many routers are in each wave after that: a number, or a share of those selected such as 10%
    #[arg(long, value_name = "N|P%", default_value = "100%")]
    wave: Portion,
    /// Begin with no further router once more than so many failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    max_failures: usize,
    /// Pause between two waves, such as 30s or 5m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = pause)]
    pause: Duration,
    /// Where it is kept which routers are done, until all are; beside the fleet file if left out
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin with all routers, also with those an earlier run was done with
    #[arg(long)]
    again: bool,
    /// Do not ask before the first write
    #[arg(long, short)]
    yes: bool,
    /// Have each router undo the change by itself unless a new connection confirms it; without this only a change that could
    /// cut the session off is guarded
    #[arg(long, conflicts_with = "unguarded")]
    guard: bool,
    /// Make even a change that could cut a session off without a guard
    #[arg(long)]
    unguarded: bool,
}

/// What `fleet` is to do.
#[derive(Debug)]
pub struct Fleet {
    /// The fleet file.
    pub file: PathBuf,
    /// Which of its routers: all of these hold.
    pub select: Vec<Select>,
    /// Routers worked on at once.
    pub at_once: usize,
    /// How long to wait for a hub's site config.
    pub hub_timeout: Duration,
    /// What is done to each.
    pub operation: Operation,
    /// How it goes through the fleet, if it changes anything.
    pub change: Option<FleetChange>,
}

/// What is done to each router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// As `sitepeer plan`.
    Plan,
    /// As `sitepeer status`.
    Status,
    /// As `sitepeer provision`.
    Provision {
        /// How long to wait for the proof.
        proof_timeout: Duration,
        /// The most rows that the plan of one router may remove.
        max_removals: usize,
    },
    /// As `sitepeer remove`.
    Remove,
}

/// How a change goes through a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetChange {
    /// So many routers before all others.
    pub canary: usize,
    /// How many in each wave after that.
    pub wave: Portion,
    /// More failures than that stop it.
    pub max_failures: usize,
    /// Between two waves.
    pub pause: Duration,
    /// Where it is kept who is done.
    pub state: Option<PathBuf>,
    /// What was done before counts for nothing.
    pub again: bool,
    /// Whether to ask first.
    pub confirm: Confirm,
    /// When a router undoes the change by itself unless it is confirmed.
    pub guard: When,
}

/// What a router must be to be selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// It has this tag.
    Tag(String),
    /// It is called this.
    Name(String),
}

/// How many routers are in a wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Portion {
    /// So many.
    Count(usize),
    /// So many of a hundred, rounded up.
    Percent(u8),
}

impl Operation {
    /// Its word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Status => "status",
            Self::Provision { .. } => "provision",
            Self::Remove => "remove",
        }
    }
}

impl FromStr for Select {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("tag", value)) if !value.is_empty() => Ok(Self::Tag(value.to_owned())),
            Some(("name", value)) if !value.is_empty() => Ok(Self::Name(value.to_owned())),
            _ => Err("tag=… or name=… is meant, such as tag=retail".to_owned()),
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag={tag}"),
            Self::Name(name) => write!(f, "name={name}"),
        }
    }
}

impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = match text.strip_suffix('%') {
            Some(share) => {
                share.parse().ok().filter(|share| (1..=100).contains(share)).map(|share: u8| Self::Percent(share))
            }
            None => text.parse().ok().filter(|count| *count > 0).map(Self::Count),
        };
        fits.ok_or_else(|| "a number of routers such as 20, or a share from 1% to 100%".to_owned())
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

fn pause(text: &str) -> Result<Duration, String> {
    let long = parse_duration(text.as_bytes()).filter(|pause| *pause <= MAX_PAUSE);
    long.ok_or_else(|| "a time up to 24h, such as 30s or 5m".to_owned())
}

impl ChangeArgs {
    fn settle(self) -> Result<FleetChange, Failure> {
        let confirm = match (self.yes, at_terminal()) {
            (true, _) => Confirm::Given,
            (false, true) => Confirm::Ask,
            (false, false) => {
                return Err(Failure::usage("needs-yes", "this writes to routers, and there is no terminal to ask on")
                    .hint("add --yes; `sitepeer fleet plan` shows what would change"));
            }
        };
        let guard = match (self.guard, self.unguarded) {
            (true, _) => When::Always,
            (false, true) => When::Never,
            (false, false) => When::default(),
        };
        Ok(FleetChange {
            canary: self.canary,
            wave: self.wave,
            max_failures: self.max_failures,
            pause: self.pause,
            state: self.state,
            again: self.again,
            confirm,
            guard,
        })
    }
}

impl FleetArgs {
    pub(in crate::cli::args) fn json(&self) -> bool {
        match &self.command {
            FleetCommand::Plan(args) | FleetCommand::Status(args) => args.output.json,
            FleetCommand::Provision(args) => args.output.json,
            FleetCommand::Remove(args) => args.output.json,
        }
    }

    pub(in crate::cli::args) fn settle(self) -> Result<Fleet, Failure> {
        let (choice, operation, change) = match self.command {
            FleetCommand::Plan(args) => (args.choice, Operation::Plan, None),
            FleetCommand::Status(args) => (args.choice, Operation::Status, None),
            FleetCommand::Provision(args) => {
                let (proof_timeout, max_removals) = (Duration::from_secs(args.timeout), args.max_removals);
                (args.choice, Operation::Provision { proof_timeout, max_removals }, Some(args.change.settle()?))
            }
            FleetCommand::Remove(args) => (args.choice, Operation::Remove, Some(args.change.settle()?)),
        };
        Ok(Fleet {
            file: choice.fleet,
            select: choice.select,
            at_once: usize::try_from(choice.at_once).unwrap_or(usize::MAX),
            hub_timeout: Duration::from_secs(choice.hub_timeout),
            operation,
            change,
        })
    }
}
