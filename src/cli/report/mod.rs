//! What a command says while it works and when it ends.
//!
//! For people: steps on stderr as they happen, data on stdout, readable without colour. For machines
//! (`--json`): one object per line on stdout, the last is the result; their shape is in `cli/schema/`.
//! Nothing but this module and the commands' own data writes to stdout or stderr.
//!
//! A reader that goes away (`| head`) never ends a command: a router half changed is worse than a lost line. Neither does a disk
//! that is full (`> file`), but a command whose words are lost has not succeeded.

mod ask;
mod event;
mod outcome;

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use crate::domain::clean;
pub use ask::Confirm;
pub use event::{Action, Change, Event, FieldChange, ServingGateway, Step};
pub use outcome::{Outcome, RoundTrips, Tally, Verdict};

use super::failure::Failure;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Lines for people.
    People,
    /// One JSON object per line.
    Json,
}

/// Takes what a command has to say. Shared by reference; calls from several tasks come out as whole lines.
pub struct Reporter {
    mode: Mode,
    state: Mutex<State>,
}

struct State {
    /// `None` once the reader went away.
    out: Option<Box<dyn Write + Send>>,
    err: Option<Box<dyn Write + Send>>,
    /// Why not all is on stdout, where that is nobody's wish.
    lost: Option<io::Error>,
    tally: Tally,
}

impl Reporter {
    /// Reports on this process' stdout and stderr.
    #[must_use]
    pub fn stdio(mode: Mode) -> Self {
        Self::to(mode, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Reports elsewhere: the demo shows only some of what its commands say.
    #[must_use]
    pub fn to(mode: Mode, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let state = State { out: Some(out), err: Some(err), lost: None, tally: Tally::default() };
        Self { mode, state: Mutex::new(state) }
    }

    /// Who reads.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Says that something happened.
    pub fn event(&self, event: &Event) {
        match self.mode {
            Mode::People => event.lines().iter().for_each(|line| self.note(line)),
            Mode::Json => self.json_line(event),
        }
    }

    /// Writes data for people to stdout, as it is; with `--json` data is part of the result instead.
    pub fn data(&self, text: &str) {
        if self.mode == Mode::People {
            self.state().write(text);
        }
    }

    /// Writes a line to stderr that is no event, such as a question; never part of `--json`.
    pub fn note(&self, text: &str) {
        let mut state = self.state();
        let lost = state.err.as_mut().is_some_and(|err| writeln!(err, "{}", clean(text)).is_err());
        if lost {
            state.err = None;
        }
    }

    /// As [`Reporter::note`], but only where people read: with `--json`, stderr is for errors.
    pub fn note_for_people(&self, text: &str) {
        if self.mode == Mode::People {
            self.note(text);
        }
    }

    /// Counts round trips and writes; the result line tells them, whatever the end.
    pub fn tally(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.state().tally);
    }

    /// What was counted so far.
    #[must_use]
    pub fn tallied(&self) -> Tally {
        self.state().tally
    }

    /// Says for machines what is no event of this command itself; people are told in other words.
    #[cfg(feature = "proxy")]
    pub fn object(&self, value: &impl Serialize) {
        if self.mode == Mode::Json {
            self.json_line(value);
        }
    }

    /// Says how the command ended: its last words.
    pub fn finish(&self, outcome: &Outcome) {
        match self.mode {
            Mode::People => {
                outcome.summary.iter().for_each(|line| self.note(line));
            }
            Mode::Json => self.result_line(outcome.verdict, outcome.details.clone()),
        }
    }

    /// Returns a failure if what was to be on stdout is not all there, and that was not because its reader went away.
    #[must_use]
    pub fn lost(&self) -> Option<Failure> {
        let error = self.state().lost.take()?;
        let message = format!("not all of the output could be written to stdout: {error}");
        let failure = Failure::new(Verdict::Failed, "output-lost", message);
        Some(failure.hint("what the command did stays; what stands in the file is not whole"))
    }

    /// Says why the command failed: its last words.
    pub fn fail(&self, failure: &Failure) {
        self.note(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.note(&format!("hint: {hint}"));
        }
        if self.mode == Mode::Json {
            let mut details = Map::new();
            details.insert("code".into(), json!(failure.code));
            details.insert("message".into(), json!(failure.message));
            details.insert("hint".into(), json!(failure.hint));
            self.result_line(failure.verdict, details);
        }
    }

    fn result_line(&self, verdict: Verdict, details: Map<String, Value>) {
        let tally = self.tallied();
        self.json_line(&ResultLine {
            result: verdict,
            exit: verdict.exit() as u8,
            writes: tally.writes,
            round_trips: tally.round_trips.total(),
            round_trips_by: tally.round_trips,
            details,
        });
    }

    fn json_line(&self, value: &impl Serialize) {
        // Our own types, with text keys and finite numbers, always have a JSON form.
        let line = serde_json::to_string(value).unwrap_or_else(|error| {
            json!({"event": "warning", "code": "internal", "message": error.to_string()}).to_string()
        });
        self.state().write(&format!("{line}\n"));
    }

    /// The state. A panic elsewhere while it was held leaves whole lines and whole counts.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last line of `--json`.
#[derive(Serialize)]
struct ResultLine {
    result: Verdict,
    exit: u8,
    writes: u64,
    round_trips: u64,
    round_trips_by: RoundTrips,
    #[serde(flatten)]
    details: Map<String, Value>,
}

impl State {
    fn write(&mut self, text: &str) {
        let written = self.out.as_mut().map(|out| out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        if let Some(Err(error)) = written {
            tracing::debug!(%error, "stdout is gone");
            self.out = None;
            self.lost = (error.kind() != io::ErrorKind::BrokenPipe).then_some(error);
        }
    }
}
