//! Reports that wait for the hub: bounded, numbered, in order.
//!
//! While the hub is away they gather. Where there is no room, the oldest ordinary report goes first, and a change of state only when
//! nothing else is left; how many went is told with the next batch.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::api::{AgentReport, MAX_REPORTS};

/// Most reports that wait: a day and a half of one a minute, a megabyte at most.
pub const MAX_WAITING: usize = 2_000;

/// Reports of one peer on their way to its hub.
#[derive(Debug)]
pub struct Spool {
    room: usize,
    inner: Mutex<Inner>,
    /// Somebody put something in.
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    last: i64,
    /// Dropped since the hub was last told.
    dropped: u64,
    /// Dropped in all.
    ever_dropped: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    report: AgentReport,
    is_change: bool,
}

/// What goes to the hub at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Oldest first.
    pub reports: Vec<AgentReport>,
    /// How many were dropped since the last batch that arrived.
    pub dropped: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self::with_room(MAX_WAITING)
    }
}

impl Spool {
    /// For at most so many reports.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self { room, inner: Mutex::default(), news: Notify::new() }
    }

    /// Puts a report in and gives it its number; `is_change` says that it tells of a change of state.
    pub fn put(&self, mut report: AgentReport, is_change: bool) {
        let mut inner = self.lock();
        if inner.waiting.len() >= self.room {
            inner.dropped += 1;
            inner.ever_dropped += 1;
            match inner.waiting.iter().position(|waiting| !waiting.is_change) {
                Some(oldest) => drop(inner.waiting.remove(oldest)),
                None if is_change => drop(inner.waiting.pop_front()),
                // Nothing but changes wait: this one is worth less than any of them.
                None => return,
            }
        }
        inner.last += 1;
        report.number = inner.last;
        inner.waiting.push_back(Waiting { report, is_change });
        drop(inner);
        self.news.notify_one();
    }

    /// Returns what is to be sent next, or `None` if nothing is.
    #[must_use]
    pub fn batch(&self) -> Option<Batch> {
        let inner = self.lock();
        let reports: Vec<_> = inner.waiting.iter().take(MAX_REPORTS).map(|waiting| waiting.report.clone()).collect();
        (!reports.is_empty()).then_some(Batch { reports, dropped: inner.dropped })
    }

    /// The hub has a batch: everything in it goes.
    pub fn arrived(&self, batch: &Batch) {
        let Some(last) = batch.reports.last().map(|report| report.number) else { return };
        let mut inner = self.lock();
        inner.waiting.retain(|waiting| waiting.report.number > last);
        inner.dropped = inner.dropped.saturating_sub(batch.dropped);
    }

    /// Waits until something was put in.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Returns how many were dropped in all.
    #[must_use]
    pub fn ever_dropped(&self) -> u64 {
        self.lock().ever_dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::TunnelHealth;

    /// A batch is smaller.
    const ROOM: usize = MAX_REPORTS + 20;

    fn put(spool: &Spool, at: i64, is_change: bool) {
        let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
        spool.put(AgentReport::new(0, at, tunnel), is_change);
    }

    #[test]
    fn what_arrived_goes_and_what_came_meanwhile_stays() {
        let spool = Spool::default();
        assert_eq!(spool.batch(), None);
        for at in 0..3 {
            put(&spool, at, false);
        }
        let batch = spool.batch().unwrap();
        put(&spool, 3, true);
        // Sent, and the answer lost: the same again, and more.
        let again = spool.batch().unwrap();
        assert_eq!((batch.reports.len(), again.reports.len()), (3, 4));
        spool.arrived(&batch);
        let rest = spool.batch().unwrap();
        assert_eq!(rest.reports.iter().map(|report| report.number).collect::<Vec<_>>(), [4]);
        spool.arrived(&rest);
        assert_eq!(spool.batch(), None);
    }

    #[test]
    fn a_full_spool_drops_the_oldest_ordinary_report_first_and_says_how_many() {
        let spool = Spool::with_room(50);
        put(&spool, 0, true);
        for at in 1..=50 {
            put(&spool, at, false);
        }
        let batch = spool.batch().unwrap();
        assert_eq!((batch.reports[0].at, batch.reports[1].at, batch.dropped), (0, 2, 1));
        put(&spool, 9999, false);
        spool.arrived(&batch);
        assert_eq!(spool.batch().unwrap().dropped, 1, "the one dropped since is still to be told");
        assert_eq!(spool.ever_dropped(), 2);
    }

    proptest! {
        #[test]
        fn numbers_grow_order_stays_and_no_change_is_lost_while_ordinary_ones_are_left(
            changes in proptest::collection::vec(any::<bool>(), 0..3 * ROOM)
        ) {
            let spool = Spool::with_room(ROOM);
            for (at, is_change) in changes.iter().enumerate() {
                put(&spool, i64::try_from(at).unwrap(), *is_change);
            }
            let mut got = Vec::new();
            while let Some(batch) = spool.batch() {
                prop_assert!(batch.reports.len() <= MAX_REPORTS);
                got.extend(batch.reports.clone());
                spool.arrived(&batch);
            }
            prop_assert!(got.len() <= ROOM);
            prop_assert!(got.windows(2).all(|two| two[0].number < two[1].number && two[0].at < two[1].at));
            let wanted = changes.iter().filter(|is| **is).count();
            let kept = got.iter().filter(|report| changes[usize::try_from(report.at).unwrap()]).count();
            prop_assert_eq!(kept, wanted.min(ROOM));
            prop_assert_eq!(u64::try_from(changes.len() - got.len()).unwrap(), spool.ever_dropped());
        }
    }
}
