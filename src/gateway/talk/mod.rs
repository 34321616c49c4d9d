//! What the gateway says to its hub, and hears from it. The hub being away changes nothing about the tunnels.

mod acks;
mod backoff;
mod hear;
mod reports;

pub use acks::tell_outcomes;
pub use backoff::Backoff;
pub use hear::{Ears, Heard};
pub use reports::{report_last, tell_traffic, write_down};

use std::time::Duration;

use crate::uplink::{Retry, UplinkError};

/// First pause after the hub did not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause while it is away: it is followed again within seconds of its return, and a thousand gateways ask it some 300 times a
/// second at most.
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause before a hub that is there is asked what it refused, or for everything; and the most patience it may ask for.
const REFUSED_PAUSE: Duration = Duration::from_mins(1);

/// How long to leave the hub alone after errors.
#[derive(Debug)]
pub struct Patience {
    away: Backoff,
    refused: Backoff,
}

impl Patience {
    /// Before the first error.
    #[must_use]
    pub fn new() -> Self {
        Self { away: Backoff::new(FIRST_PAUSE, MOST_PAUSE), refused: Backoff::new(FIRST_PAUSE, REFUSED_PAUSE) }
    }

    /// The pause after an error.
    pub fn after(&mut self, error: &UplinkError) -> Duration {
        let own = match error.retry() {
            Retry::Now | Retry::Later => self.away.pause(),
            Retry::Never => self.refused.pause(),
        };
        error.retry_after().map_or(own, |asked| asked.clamp(FIRST_PAUSE, REFUSED_PAUSE))
    }

    /// The pause before everything is asked for again: that is a long answer.
    pub fn before_everything(&mut self) -> Duration {
        self.refused.pause()
    }

    /// It went well.
    pub fn reset(&mut self) {
        self.away.reset();
        self.refused.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_hub_that_comes_back_after_a_day_is_asked_within_five_seconds() {
        let (mut patience, error) = (
            Patience::new(),
            UplinkError::Unreachable { place: "the hub".into(), why: ErrorKind::ConnectionRefused.into() },
        );
        let mut away = Duration::ZERO;
        while away < Duration::from_hours(24) {
            let pause = patience.after(&error);
            assert!(pause <= Duration::from_secs(5), "{pause:?}");
            away += pause;
        }
        patience.reset();
        assert!(patience.after(&error) <= Duration::from_secs(1));
    }
}
