//! Steps of healing, taken between two readings.

use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};

use super::Driver;
use crate::agent::healer::Due;
use crate::agent::pulse::Pulse;
use crate::agent::round::{RoundError, mend};
use crate::agent::source::{Chain, Wanted};
use crate::agent::standing::Phase;
use crate::routeros::client::Client;

/// Whether something may be written while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    On,
    /// Somebody works there, or the router is not as wanted: then what ails the tunnel may be that.
    Off,
}

/// A number by chance; without any, healing takes the port that is next.
pub(super) fn chance() -> u16 {
    let mut bytes = [0; 2];
    // The system's source of chance does not fail where TLS works.
    let _filled = SystemRandom::new().fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

impl Driver {
    /// How long ago the rows were as they are wanted now; `None` if they never were: then nobody changed them since.
    pub(super) fn as_wanted_since(&self, wanted: &Wanted) -> Option<Duration> {
        let known = self.standing.figures();
        let is_kept = !self.unfinished && known.revision == wanted.revision && known.rounds > 0;
        self.as_wanted.filter(|_| is_kept).map(|at| at.elapsed())
    }

    /// Takes a step of healing, and returns the connection to go on with if it is another one.
    pub(super) async fn heal(&mut self, client: &Client, wanted: &Wanted, due: &Due) -> Result<Option<Client>, String> {
        self.standing.phase(Phase::Working);
        let (router, word, evidence) = (self.standing.name(), due.step.word(), &due.evidence);
        tracing::warn!(router, step = word, evidence, "a step of healing");
        let lease = self.lease_of_run();
        let what = (due.step, chance(), self.pulse.as_ref().map_or(1, Pulse::steps_of_day));
        let consent = self.consent();
        let mended = Box::pin(mend(client, &self.access, wanted, what, &lease, &consent)).await;
        match mended {
            Ok(round) => {
                if round.changes == 0 {
                    tracing::info!(router, step = word, "nothing of it could be done");
                }
                self.book(due, round.changes > 0);
                self.standing.note(|figures| figures.writes += round.writes);
                if let Some(pulse) = &mut self.pulse {
                    pulse.changed();
                }
                Ok(round.client)
            }
            Err(RoundError::Withheld) => {
                self.book(due, false);
                Ok(None)
            }
            Err(error) if error.is_lost() => {
                self.book(due, !error.is_before_writes());
                self.spare(&error, due);
                Err(Chain(&error).to_string())
            }
            Err(error) => {
                tracing::warn!(router, step = word, why = %Chain(&error), "the step was not taken");
                self.book(due, !error.is_before_writes());
                self.spare(&error, due);
                Ok(None)
            }
        }
    }

    /// Counts a step for which something was written; any other is not waited for.
    fn book(&mut self, due: &Due, written: bool) {
        match &mut self.pulse {
            Some(pulse) if written => pulse.stepped(due.step),
            Some(pulse) => pulse.passed_over(),
            None => {}
        }
    }

    /// A step that the router undid is not taken again: it cut us off.
    fn spare(&mut self, error: &RoundError, due: &Due) {
        if let Some(pulse) = self.pulse.as_mut().filter(|_| error.is_undone()) {
            pulse.undone(due.step);
        }
    }

    /// Whether hands are to be held off now: a freeze may have begun while nothing was written.
    pub(super) fn is_held(&self) -> bool {
        self.wish.borrow().as_ref().is_some_and(|wanted| self.hold.on(wanted, crate::agent::now()).is_some())
    }
}
