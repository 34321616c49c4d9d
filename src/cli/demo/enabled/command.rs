//! The ordinary commands, run inside the demo: parsed from the words a user would type, heard through their `--json`.

use std::io::{self, Write};

use clap::Parser as _;
use serde_json::Value;
use tokio::sync::watch;

use crate::cli::args::{Args, Command};
use crate::cli::failure::Failure;
use crate::cli::report::{Mode, Outcome, Reporter, Tally};
use crate::cli::{plan, provision, remove};

/// More changes than any plan of the demo has.
const MAX_CHANGES: usize = 64;

/// What a command has said so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The changes of its plan.
    pub(super) changes: Vec<Value>,
}

/// A command about to run.
pub(super) struct Prepared {
    command: Command,
    reporter: Reporter,
    heard: watch::Receiver<Heard>,
}

/// How a command ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) tally: Tally,
    pub(super) heard: watch::Receiver<Heard>,
}

impl Prepared {
    /// Reads the words of a command as the command line does: site config, password file and pin included.
    ///
    /// # Errors
    /// As on the command line.
    pub(super) fn of(words: &[String]) -> Result<Self, Failure> {
        let args = Args::try_parse_from(["sitepeer"].into_iter().chain(words.iter().map(String::as_str)))
            .map_err(|error| Failure::internal(format!("the demo's own command line: {}", error.kind())))?;
        let (ear, heard) = Ear::new();
        let reporter = Reporter::to(Mode::Json, Box::new(ear), Box::new(io::sink()));
        Ok(Self { command: args.settle()?, reporter, heard })
    }

    /// Carries it out.
    ///
    /// # Errors
    /// As the command itself.
    pub(super) async fn carry_out(self) -> anyhow::Result<Ended> {
        let reporter = &self.reporter;
        // Boxed: their states are large, and the demo holds two at once.
        let outcome = match self.command {
            Command::Provision(command) => Box::pin(provision::run(command, reporter)).await,
            Command::Plan(command) => Box::pin(plan::run(command, reporter)).await,
            Command::Remove(command) => Box::pin(remove::run(command, reporter)).await,
            _ => Err(Failure::internal("the demo does not run this command").into()),
        };
        Ok(Ended { outcome: outcome?, tally: self.reporter.tallied(), heard: self.heard })
    }
}

/// Reads the lines a command writes.
struct Ear {
    line: Vec<u8>,
    heard: watch::Sender<Heard>,
}

impl Ear {
    fn new() -> (Self, watch::Receiver<Heard>) {
        let (heard, receiver) = watch::channel(Heard::default());
        (Self { line: Vec::new(), heard }, receiver)
    }

    fn hear(&self, event: Value) {
        self.heard.send_modify(|heard| {
            if event["event"] == "change" && heard.changes.len() < MAX_CHANGES {
                heard.changes.push(event);
            }
        });
    }
}

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.hear(serde_json::from_slice(&line)?);
            } else {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_heard_however_the_line_comes_in() {
        let (mut ear, heard) = Ear::new();
        for byte in b"{\"event\":\"change\",\"menu\":\"/ip/route\"}\n" {
            assert!(heard.borrow().changes.is_empty());
            ear.write_all(&[*byte]).unwrap();
        }
        assert_eq!(heard.borrow().changes[0]["menu"], "/ip/route");
    }
}
