//! The command line: arguments, what is shown, exit codes. The only layer that prints.
//!
//! A command is a function from its settled arguments (see [`args`]) and a [`report::Reporter`] to an
//! [`report::Outcome`] or an error; this module does everything around it: logs, signals, panics, last words.

pub mod agent;
pub mod args;
pub mod client_key;
pub mod demo;
pub mod doctor;
pub mod exit;
pub mod failure;
pub mod fleet;
pub mod freeze;
pub mod gateway;
pub mod guarded;
pub mod hub;
pub mod manual;
pub mod plan;
pub mod provision;
pub mod proxy;
pub mod remove;
pub mod render;
pub mod report;
#[cfg(feature = "proxy")]
pub mod rotate_key;
#[cfg(feature = "proxy")]
pub mod safe_mode;
pub mod service;
pub mod session;
pub mod show;
pub mod sim;
pub mod status;
pub mod uplink;

mod log;
mod process;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use exit::Exit;
use failure::Failure;
use report::{Outcome, Reporter};

#[cfg(feature = "proxy")]
use crate::reconcile::guard::When;

/// Reads the command line, carries the command out, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return process::misread(&error, &arguments).into(),
    };
    let mode = args.mode();
    process::install_panic_hook(mode, args.serves());
    let reporter = Reporter::stdio(mode);
    let ended = run(args, &reporter);
    process::log_peak_memory();
    match ended {
        Ok(outcome) => {
            reporter.finish(&outcome);
            match reporter.lost() {
                Some(failure) if outcome.verdict.exit() == Exit::Converged => {
                    reporter.fail(&failure);
                    failure.exit().into()
                }
                _ => outcome.verdict.exit().into(),
            }
        }
        Err(failure) => {
            reporter.fail(&failure);
            failure.exit().into()
        }
    }
}

/// What a command on a router says when it is stopped, and the way out.
const ON_THE_ROUTER: [&str; 2] =
    ["stopped; what was written stays on the router", "running the same command again completes it"];
/// What a command at a hub says when it is stopped, and the way out.
const AT_THE_HUB: [&str; 2] =
    ["stopped; what the hub did before stays", "look what is there before you run it again: sitepeer hub … list"];

/// What a command in safe mode says when it is stopped, and the way out.
#[cfg(feature = "proxy")]
const IN_SAFE_MODE: [&str; 2] = [
    "stopped; unless safe mode was let go of before, the router undoes what was changed as soon as it notices",
    "look in half a minute: sitepeer plan shows what is left to do, and the same command does it",
];

/// What a command says when it is stopped, and the way out.
fn last_words(command: &Command) -> [&'static str; 2] {
    match command {
        Command::Hub(_) | Command::Freeze(_) => AT_THE_HUB,
        #[cfg(feature = "proxy")]
        Command::Provision(args::Provision { guard: When::SafeMode, .. })
        | Command::Remove(args::Remove { guard: When::SafeMode, .. }) => IN_SAFE_MODE,
        _ => ON_THE_ROUTER,
    }
}

fn run(args: Args, reporter: &Reporter) -> Result<Outcome, Failure> {
    log::start(&args.log)?;
    let command = args.settle()?;
    let runtime = process::runtime(command.serves())?;
    // To be stopped is how these end: they put everything in order first.
    let ends_itself = matches!(command, Command::Demo(_) | Command::Gateway(_) | Command::Agent(_) | Command::Fleet(_))
        || matches!(&command, Command::Proxy(proxy) if proxy.serves())
        || command.serves();
    let words = last_words(&command);
    let ended = if ends_itself {
        runtime.block_on(carry_out(command, reporter))
    } else {
        runtime.block_on(process::until_stopped(carry_out(command, reporter), words))
    };
    // A thread that still waits for an answer on stdin must not hold the process.
    runtime.shutdown_background();
    ended
}

async fn carry_out(command: Command, reporter: &Reporter) -> Result<Outcome, Failure> {
    let ended = match command {
        Command::Proxy(command) => Box::pin(proxy::run(command, reporter)).await,
        Command::Fleet(command) => Box::pin(fleet::run(command, reporter)).await,
        Command::Agent(command) => Box::pin(agent::run(command, reporter)).await,
        Command::Provision(command) => provision::run(command, reporter).await,
        Command::Plan(command) => plan::run(command, reporter).await,
        Command::Status(command) => status::run(command, reporter).await,
        Command::Doctor(command) => doctor::run(command, reporter).await,
        Command::Remove(command) => remove::run(command, reporter).await,
        Command::Freeze(command) => freeze::run(command, reporter).await,
        Command::Render(command) => render::run(command, reporter),
        #[cfg(feature = "proxy")]
        Command::RotateKey(command) => Box::pin(rotate_key::run(command, reporter)).await,
        // The agent on a router moves by itself when its hub wants it to; who asks for it sits elsewhere.
        #[cfg(not(feature = "proxy"))]
        Command::RotateKey(_) => Err(Failure::not_built("proxy").into()),
        Command::ClientKey(command) => client_key::run(command, reporter).await,
        Command::Gateway(command) => Box::pin(gateway::run(command, reporter)).await,
        Command::Hub(command) => Box::pin(hub::run(command, reporter)).await,
        Command::Sim(command) => sim::run(command, reporter).await,
        Command::Demo(command) => Box::pin(demo::run(command, reporter)).await,
        Command::Completions(command) => manual::completions(command, reporter),
        Command::Man => manual::man(reporter),
    };
    ended.map_err(Failure::from)
}
