//! How a command ended.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::exit::Exit;

/// The `result` of the last line of `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As desired, and proven (exit 0).
    Converged,
    /// Nothing of ours is left (exit 0).
    Removed,
    /// A script was written (exit 0).
    Rendered,
    /// Did what it was asked, where none of the others fits: `demo`, `sim` (exit 0).
    Done,
    /// Something is the matter (exit 3).
    Found,
    /// Changes are needed and were not made (exit 3).
    Pending,
    /// Applied, but the tunnel is not proven (exit 3).
    Unproven,
    /// The router refused a write (exit 3).
    Rejected,
    /// Flags, files or environment are wrong (exit 2).
    Invalid,
    /// The router is not reached, or refuses the login (exit 4).
    Unreachable,
    /// A safety rule (exit 5).
    Refused,
    /// The hub is not reached, refuses, or says what cannot be used (exit 6).
    HubFailed,
    /// Ctrl-C (exit 130).
    Interrupted,
    /// SIGTERM (exit 143).
    Terminated,
    /// A fault of this program (exit 1).
    Failed,
}

impl Verdict {
    /// The exit code that goes with it.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Converged | Self::Removed | Self::Rendered | Self::Done => Exit::Converged,
            Self::Found | Self::Pending | Self::Unproven | Self::Rejected => Exit::NotConverged,
            Self::Invalid => Exit::Usage,
            Self::Unreachable => Exit::Unreachable,
            Self::Refused => Exit::Safety,
            Self::HubFailed => Exit::Hub,
            Self::Interrupted => Exit::Interrupted,
            Self::Terminated => Exit::Terminated,
            Self::Failed => Exit::Internal,
        }
    }
}

/// What a command that was carried out says at its end.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Decides the exit code.
    pub verdict: Verdict,
    /// Lines for people, on stderr.
    pub summary: Vec<String>,
    /// Fields of the result line beside those that every result has.
    pub details: Map<String, Value>,
}

impl Outcome {
    /// An outcome with nothing to say but its verdict.
    #[must_use]
    pub fn new(verdict: Verdict) -> Self {
        Self { verdict, summary: Vec::new(), details: Map::new() }
    }

    /// Adds a line for people.
    #[must_use]
    pub fn say(mut self, line: impl Into<String>) -> Self {
        self.summary.push(line.into());
        self
    }

    /// Adds a field of the result line. Its shape belongs into `cli/schema/`.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

/// What was asked of a router.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that the router carried out.
    pub writes: u64,
    /// Round trips after the TCP and TLS connect.
    pub round_trips: RoundTrips,
}

/// Round trips by what they were for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoundTrips {
    /// Login.
    pub login: u64,
    /// Reading the router before a plan.
    pub read: u64,
    /// Writing.
    pub write: u64,
    /// Reading again, to see that the plan is empty.
    pub verify: u64,
    /// Waiting for handshake and answers.
    pub prove: u64,
}

impl RoundTrips {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.login + self.read + self.write + self.verify + self.prove
    }
}
