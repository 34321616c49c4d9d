//! The turns of all routers: wave after wave, a bounded number at once, until all are through or it has to stop.

use std::io::{self, IsTerminal as _};
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::done::{Done, recipe};
use super::one::{Ended, turn};
use super::waves::Patience;
use super::words;
use crate::agent::fleet::FleetRouter;
use crate::cli::args::Fleet;
use crate::cli::args::fleet::Operation;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::report::{Event, Mode, Reporter, Step, Verdict};
use crate::cli::{process, session};

/// The next wish to stop; made anew once it was heard.
type Signal = Pin<Box<dyn Future<Output = Verdict>>>;

/// How the course of a fleet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Every router had its turn.
    Through,
    /// Too many failed.
    TooManyFailed,
    /// Somebody stopped it.
    Stopped(Verdict),
}

/// Whether a router is as it was to be.
pub(super) fn is_well(command: &Fleet, ended: &Ended) -> bool {
    match &ended.result {
        Ok(outcome) if command.operation == Operation::Plan => {
            matches!(outcome.verdict, Verdict::Converged | Verdict::Pending)
        }
        Ok(outcome) => outcome.verdict.exit() == Exit::Converged,
        Err(_) => false,
    }
}

/// A fleet on its way.
pub(super) struct Course<'a> {
    command: &'a Fleet,
    todo: &'a [FleetRouter],
    done: Option<&'a mut Done>,
    reporter: &'a Reporter,
    patience: Patience,
    turns: Vec<Option<Ended>>,
    bar: ProgressBar,
    stopped: Option<Verdict>,
    /// Who is done could not be kept.
    unkept: Option<Failure>,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        command: &'a Fleet,
        todo: &'a [FleetRouter],
        done: Option<&'a mut Done>,
        reporter: &'a Reporter,
    ) -> Self {
        let (patience, turns) = (Patience::new(command.change.as_ref()), todo.iter().map(|_| None).collect());
        let bar = bar(todo.len(), reporter);
        Self { command, todo, done, reporter, patience, turns, bar, stopped: None, unkept: None }
    }

    /// How each router's turn ended, in their order; `None` for one that had none.
    pub(super) fn turns(self) -> Vec<Option<Ended>> {
        self.bar.finish_and_clear();
        self.turns
    }

    /// Lets all have their turns. At the first signal no further one begins, at the second it ends at once.
    ///
    /// # Errors
    /// If it cannot be kept who is done, or at the second signal.
    pub(super) async fn all(&mut self, waves: &[Range<usize>]) -> Result<How, Failure> {
        if let Some(done) = &self.done {
            // Before the first router is written to: what could not be kept then would be known too late.
            done.write()?;
        }
        let mut signal: Signal = Box::pin(process::stop_signal());
        for (index, wave) in waves.iter().enumerate() {
            if index > 0 {
                self.pause(&mut signal).await;
            }
            if self.must_end() {
                break;
            }
            if waves.len() > 1 {
                let detail = format!("wave {} of {}: {} routers", index + 1, waves.len(), wave.len());
                self.say(|reporter| reporter.event(&Event::Step { step: Step::Plan, detail }));
            }
            self.wave(wave.clone(), &mut signal).await?;
        }
        Ok(match self.stopped {
            Some(verdict) => How::Stopped(verdict),
            None if self.patience.is_over() => How::TooManyFailed,
            None => How::Through,
        })
    }

    fn must_end(&self) -> bool {
        self.stopped.is_some() || self.unkept.is_some() || self.patience.is_over()
    }

    /// Says something beside the bar.
    fn say(&self, words: impl FnOnce(&Reporter)) {
        self.bar.suspend(|| words(self.reporter));
    }

    async fn pause(&mut self, signal: &mut Signal) {
        let pause = self.command.change.as_ref().map_or(Duration::ZERO, |change| change.pause);
        if pause.is_zero() || self.must_end() {
            return;
        }
        self.say(|reporter| {
            reporter.note_for_people(&format!("pause    {} s before the next wave", pause.as_secs()));
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            verdict = signal => self.stopped = Some(verdict),
        }
    }

    async fn wave(&mut self, wave: Range<usize>, signal: &mut Signal) -> Result<(), Failure> {
        let (command, todo, reporter) = (self.command, self.todo, self.reporter);
        let mut next = wave.start;
        let mut under_way = FuturesUnordered::new();
        loop {
            while next < wave.end && under_way.len() < command.at_once && !self.must_end() {
                let place = next;
                under_way.push(Box::pin(turn(command, &todo[place], place, reporter)));
                next += 1;
            }
            self.bar.set_message(format!("{} under way", under_way.len()));
            tokio::select! {
                ended = under_way.next() => match ended {
                    // Those under way end first: a router is not left halfway for what is wrong here.
                    Some(ended) => self.unkept = self.note(ended).err().or(self.unkept.take()),
                    None => return self.unkept.take().map_or(Ok(()), Err),
                },
                verdict = &mut *signal => {
                    if self.stopped.is_some() {
                        let words = "stopped at once; what was written to the routers under way stays on them";
                        return Err(Failure::new(verdict, "stopped", words)
                            .hint("running the same command again completes it"));
                    }
                    self.stopped = Some(verdict);
                    *signal = Box::pin(process::stop_signal());
                    let words = "routers are under way and end first; once more ends at once";
                    let words = format!("stopping: {} {words}", under_way.len());
                    self.say(|reporter| reporter.note(&words));
                }
            }
        }
    }

    /// Notes how a router's turn ended, and keeps it if it is done.
    fn note(&mut self, ended: Ended) -> Result<(), Failure> {
        let router = &self.todo[ended.place];
        self.reporter.tally(|tally| {
            tally.writes += ended.tally.writes;
            let (sum, one) = (&mut tally.round_trips, ended.tally.round_trips);
            sum.login += one.login;
            sum.read += one.read;
            sum.write += one.write;
            sum.verify += one.verify;
            sum.prove += one.prove;
        });
        let is_well = is_well(self.command, &ended);
        let kept = match (&mut self.done, is_well) {
            (Some(done), true) => done.add(&router.name, recipe(router), session::now()),
            _ => Ok(()),
        };
        if !is_well {
            self.patience.failed(ended.place);
        }
        let (word, what) = words::ended(&ended);
        let place = ended.place;
        self.turns[place] = Some(ended);
        self.bar.inc(1);
        let (count, all) = (self.turns.iter().flatten().count(), self.todo.len());
        self.say(|reporter| reporter.note_for_people(&format!("[{count}/{all}] {}: {word}, {what}", router.name)));
        kept
    }
}

/// A bar where a person watches, else one that is not seen.
fn bar(count: usize, reporter: &Reporter) -> ProgressBar {
    let is_seen = reporter.mode() == Mode::People && io::stderr().is_terminal();
    let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(count as u64), target);
    match ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
        Ok(style) => bar.with_style(style),
        // It is drawn in the library's own style.
        Err(_) => bar,
    }
}
