//! Pauses that grow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Pauses after failures: each twice the last, up to a most. Up to half of one is left off at random, so that many gateways whose hub
/// went away at one moment do not come back at one moment.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// From a first pause to the longest.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The pause to make now.
    pub fn pause(&mut self) -> Duration {
        // The clock's last digits are random enough for that.
        self.pause_less(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos())
    }

    /// The pause to make now, shorter by what a random number says.
    fn pause_less(&mut self, random: u32) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause * (1000 - random % 500) / 1000
    }

    /// It went well: begin with the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    use crate::gateway::talk::MOST_PAUSE;

    #[test]
    fn a_thousand_gateways_do_not_ask_in_one_moment() {
        let mut moments = BTreeMap::<u128, usize>::new();
        for gateway in 0..1000 {
            let mut backoff = Backoff::new(Duration::from_secs(1), MOST_PAUSE);
            // Clocks of machines that nobody set alike.
            let pauses =
                (0..4_u32).map(|failure| backoff.pause_less((gateway * 7919 + failure * 104_729) % 1_000_000_007));
            *moments.entry(pauses.sum::<Duration>().as_millis() / 100).or_default() += 1;
        }
        let most = moments.values().max();
        assert!(most < Some(&100), "{most:?} of 1,000 ask in one tenth of a second");
    }

    proptest! {
        #[test]
        fn pauses_are_between_half_and_the_whole_of_what_they_grow_to(random in prop::collection::vec(any::<u32>(), 1..40)) {
            let mut backoff = Backoff::new(Duration::from_millis(100), MOST_PAUSE);
            let mut whole = Duration::from_millis(100);
            for random in random {
                let pause = backoff.pause_less(random);
                prop_assert!(pause > whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
                whole = (whole * 2).min(MOST_PAUSE);
            }
        }
    }
}
