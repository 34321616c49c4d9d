//! When a router that failed is tried again: later each time, never at the same moment as others.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Before the second try.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause: a router that came back is found within it.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// Failures in a row from which a router counts as away, and no longer as one that had bad luck.
pub const OPEN_AFTER: u32 = 3;

/// Before a router is read again on which somebody else was at work: long beside a run, short beside a lock that ends by itself.
pub const BUSY_PAUSE_MS: u64 = 2_000;

/// [`BUSY_PAUSE_MS`], and up to as much again by chance: who keeps step with whoever has the lock, called by the same changes, never gets it.
#[must_use]
pub fn busy_pause(chance: u16) -> Duration {
    Duration::from_millis(BUSY_PAUSE_MS + u64::from(chance) % BUSY_PAUSE_MS)
}

/// Whether a router is believed to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// The last try went well, or it failed only once or twice.
    Closed,
    /// It failed [`OPEN_AFTER`] times in a row: it is tried rarely.
    Open,
}

/// The tries at one thing.
#[derive(Debug)]
pub struct Pace {
    first: Duration,
    longest: Duration,
    pauses: ExponentialBackoff,
    failures: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

impl Pace {
    /// Tries that begin `first` apart and come to be `longest` apart, each with as much again by chance.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, pauses: pauses(first, longest), failures: 0 }
    }

    /// Notes a success: the next failure begins anew.
    pub fn succeeded(&mut self) {
        if self.failures > 0 {
            *self = Self::new(self.first, self.longest);
        }
    }

    /// Notes a failure, and returns how long to wait.
    pub fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.pauses.next().unwrap_or(self.longest)
    }

    /// Returns how it stands.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        if self.failures >= OPEN_AFTER { Circuit::Open } else { Circuit::Closed }
    }

    /// Returns the failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

fn pauses(first: Duration, longest: Duration) -> ExponentialBackoff {
    let builder = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
    builder.without_max_times().with_jitter().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_stay_there_and_begin_anew_after_a_success() {
        let mut pace = Pace::default();
        let first = pace.failed();
        assert!((FIRST_PAUSE..=2 * FIRST_PAUSE).contains(&first), "{first:?}");
        assert_eq!(pace.circuit(), Circuit::Closed);
        let later: Vec<Duration> = (0..200).map(|_| pace.failed()).collect();
        assert!(later.iter().all(|pause| *pause <= 2 * LONGEST_PAUSE), "{later:?}");
        assert!(later.iter().skip(20).all(|pause| *pause >= LONGEST_PAUSE), "{later:?}");
        assert_eq!((pace.circuit(), pace.failures()), (Circuit::Open, 201));
        pace.succeeded();
        assert_eq!((pace.circuit(), pace.failures()), (Circuit::Closed, 0));
        assert!(pace.failed() <= 2 * FIRST_PAUSE);
    }

    #[test]
    fn two_routers_that_fail_together_do_not_come_back_together() {
        let (mut a, mut b) = (Pace::default(), Pace::default());
        let same = (0..20).filter(|_| a.failed() == b.failed()).count();
        assert!(same < 20, "no chance in the pauses");
    }
}
