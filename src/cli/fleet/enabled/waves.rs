//! Who goes when, and when it stops: decided here, carried out elsewhere.

use std::ops::Range;

use crate::cli::args::fleet::{FleetChange, Portion};

/// The waves that `count` routers go in, as ranges of their order; the first is the canaries, if there are any. A share is one of
/// all that were selected, `of`, also where many of them are done.
pub(super) fn waves(count: usize, of: usize, change: Option<&FleetChange>) -> Vec<Range<usize>> {
    let Some(change) = change else { return whole(0..count) };
    let canary = change.canary.min(count);
    let size = match change.wave {
        Portion::Count(size) => size.max(1),
        Portion::Percent(share) => (of * usize::from(share)).div_ceil(100).max(1),
    };
    let mut waves = whole(0..canary);
    let mut from = canary;
    while from < count {
        let to = from.saturating_add(size).min(count);
        waves.push(from..to);
        from = to;
    }
    waves
}

/// A wave, if there is anybody in it.
fn whole(range: Range<usize>) -> Vec<Range<usize>> {
    if range.is_empty() { Vec::new() } else { vec![range] }
}

/// Failures so far, and whether they are too many.
#[derive(Debug)]
pub(super) struct Patience {
    /// `None` where nothing is changed: every router is looked at, whatever comes of it.
    max_failures: Option<usize>,
    canaries: usize,
    failures: usize,
    is_over: bool,
}

impl Patience {
    pub(super) fn new(change: Option<&FleetChange>) -> Self {
        let (max_failures, canaries) = (change.map(|change| change.max_failures), change.map_or(0, |c| c.canary));
        Self { max_failures, canaries, failures: 0, is_over: false }
    }

    /// Notes that the router at this place of the order failed.
    pub(super) fn failed(&mut self, place: usize) {
        self.failures += 1;
        let Some(max_failures) = self.max_failures else { return };
        self.is_over |= place < self.canaries || self.failures > max_failures;
    }

    /// Whether no further router is begun with.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::time::Duration;

    use super::*;
    use crate::cli::report::Confirm;
    use crate::reconcile::guard::When;

    fn change(canary: usize, wave: Portion, max_failures: usize) -> FleetChange {
        let (pause, confirm, guard) = (Duration::ZERO, Confirm::Given, When::Session);
        FleetChange { canary, wave, max_failures, pause, state: None, again: false, confirm, guard }
    }

    #[test]
    fn canaries_go_first_and_a_share_is_rounded_up() {
        let sizes =
            |count, change: &FleetChange| waves(count, count, Some(change)).iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!(sizes(25, &change(1, Portion::Percent(10), 0)), [1, 3, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(sizes(5, &change(0, Portion::Count(2), 0)), [2, 2, 1]);
        assert_eq!(sizes(2, &change(9, Portion::Percent(1), 0)), [2]);
        assert_eq!(sizes(0, &change(1, Portion::Percent(1), 0)), [0; 0]);
        assert_eq!(waves(7, 7, None).iter().map(Range::len).collect::<Vec<_>>(), [7]);
        let rest = waves(4, 30, Some(&change(1, Portion::Percent(10), 0)));
        assert_eq!(rest, [0..1, 1..4], "a share of all, not of what is left");
    }

    #[test]
    fn a_failing_canary_stops_all_and_others_only_when_they_are_too_many() {
        let rule = change(1, Portion::Count(5), 2);
        let mut patience = Patience::new(Some(&rule));
        for place in [1, 2] {
            patience.failed(place);
            assert!(!patience.is_over(), "{place}");
        }
        patience.failed(3);
        assert!(patience.is_over());
        let mut patience = Patience::new(Some(&rule));
        patience.failed(0);
        assert!(patience.is_over(), "the canary");
        let mut patience = Patience::new(None);
        (0..100).for_each(|place| patience.failed(place));
        assert!(!patience.is_over(), "nothing is changed by looking");
    }

    proptest! {
        #[test]
        fn every_router_is_in_one_wave_in_order(count in 0usize..500, canary in 0usize..20, size in 1usize..60, share in 1u8..=100) {
            for wave in [Portion::Count(size), Portion::Percent(share)] {
                let all: Vec<usize> = waves(count, count, Some(&change(canary, wave, 0))).into_iter().flatten().collect();
                prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
