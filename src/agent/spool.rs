//! Reports that wait for the hub: bounded, numbered, in order.
//!
//! While the hub is away they gather. Where there is no room, the oldest ordinary report goes first, and a change of state only when
//! nothing else is left; how many went is told with the next batch.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::api::{AgentReport, MAX_REPORTS, MAX_REQUEST_BYTES, PeerId};

/// Most reports that wait: a day and a half of one a minute, a megabyte at most.
pub const MAX_WAITING: usize = 2_000;
/// Most bytes of reports in a batch; what is around them is far smaller than the other half of a request.
const BATCH_BYTES: usize = MAX_REQUEST_BYTES / 2;

/// Reports of one peer on their way to its hub.
#[derive(Debug)]
pub struct Spool {
    room: usize,
    /// What numbers count from.
    epoch: Arc<str>,
    inner: Mutex<Inner>,
    /// Somebody put something in.
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    held: Held,
    last: i64,
    /// Dropped in all.
    ever_dropped: u64,
    /// Where it is kept beside memory.
    record: Option<Box<dyn Record>>,
}

/// What waits, and how many were dropped since the hub was last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Oldest first; an epoch's reports stand together.
    pub waiting: VecDeque<Waiting>,
    /// Dropped.
    pub dropped: u64,
}

/// A report that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What its number counts from.
    pub epoch: Arc<str>,
    /// It.
    pub report: AgentReport,
    /// Whether it tells of a change of state.
    pub is_change: bool,
}

/// What happened to a spool.
#[derive(Clone, Copy, Debug)]
pub enum Happened<'a> {
    /// This was put in.
    Put(&'a Waiting),
    /// The hub has an epoch's reports up to a number, and knows that so many were dropped.
    Arrived {
        /// The epoch.
        epoch: &'a str,
        /// The last number.
        number: i64,
        /// Dropped before, and told.
        dropped: u64,
    },
}

/// Where a spool is kept beside memory.
pub trait Record: fmt::Debug + Send {
    /// Notes what happened, and what is held since.
    fn note(&mut self, happened: Happened<'_>, held: &Held);
}

/// Where the spools of a machine are kept.
pub trait Shelf: fmt::Debug + Send + Sync {
    /// Opens the record of a peer of a hub, with what it held; `None` if there can be none, which was told.
    fn open(&self, hub: &str, peer: &PeerId, room: usize) -> Option<(Box<dyn Record>, Held)>;
}

/// What goes to the hub at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What their numbers count from.
    pub epoch: Arc<str>,
    /// Oldest first.
    pub reports: Vec<AgentReport>,
    /// How many were dropped since the last batch that arrived.
    pub dropped: u64,
}

impl Held {
    /// Puts a report in; returns how many were dropped for it, itself included.
    pub fn put(&mut self, waiting: Waiting, room: usize) -> u64 {
        let is_full = self.waiting.len() >= room;
        if is_full {
            self.dropped += 1;
            match self.waiting.iter().position(|waiting| !waiting.is_change) {
                Some(oldest) => drop(self.waiting.remove(oldest)),
                None if waiting.is_change => drop(self.waiting.pop_front()),
                // Nothing but changes wait: this one is worth less than any of them.
                None => return 1,
            }
        }
        self.waiting.push_back(waiting);
        u64::from(is_full)
    }

    /// The hub has reports of an epoch up to a number.
    pub fn arrived(&mut self, epoch: &str, number: i64, dropped: u64) {
        self.waiting.retain(|waiting| *waiting.epoch != *epoch || waiting.report.number > number);
        self.dropped = self.dropped.saturating_sub(dropped);
    }
}

impl Spool {
    /// For at most so many reports, whose numbers count from an epoch that never was before.
    #[must_use]
    pub fn with_room(room: usize, epoch: &str) -> Self {
        Self { room, epoch: epoch.into(), inner: Mutex::default(), news: Notify::new() }
    }

    /// The same, kept on a shelf too; what was kept there goes to the hub first, as what it was.
    #[must_use]
    pub fn on(self, place: &dyn Shelf, hub: &str, peer: &PeerId) -> Self {
        if let Some((record, held)) = place.open(hub, peer, self.room) {
            let has_any = !held.waiting.is_empty();
            let mut inner = self.lock();
            (inner.held, inner.record) = (held, Some(record));
            drop(inner);
            if has_any {
                self.news.notify_one();
            }
        }
        self
    }

    /// Puts a report in and gives it its number; `is_change` says that it tells of a change of state.
    pub fn put(&self, mut report: AgentReport, is_change: bool) {
        let mut inner = self.lock();
        inner.last += 1;
        report.number = inner.last;
        let waiting = Waiting { epoch: Arc::clone(&self.epoch), report, is_change };
        inner.ever_dropped += inner.held.put(waiting.clone(), self.room);
        let Inner { held, record, .. } = &mut *inner;
        if let Some(record) = record {
            record.note(Happened::Put(&waiting), held);
        }
        drop(inner);
        self.news.notify_one();
    }

    /// Returns what is to be sent next, `most` reports or as many as go into a request; `None` if there are none.
    #[must_use]
    pub fn batch(&self, most: usize) -> Option<Batch> {
        let inner = self.lock();
        let epoch = Arc::clone(&inner.held.waiting.front()?.epoch);
        let same = inner.held.waiting.iter().take_while(|waiting| waiting.epoch == epoch);
        let mut bytes = 0;
        let fitting = same.take(most.clamp(1, MAX_REPORTS)).enumerate().take_while(|(index, waiting)| {
            bytes += serde_json::to_vec(&waiting.report).map_or(0, |text| text.len());
            *index == 0 || bytes <= BATCH_BYTES
        });
        let reports = fitting.map(|(_, waiting)| waiting.report.clone()).collect();
        Some(Batch { reports, epoch, dropped: inner.held.dropped })
    }

    /// The hub will never take a batch: everything in it is dropped, and told as such.
    pub fn refused(&self, batch: &Batch) {
        let Some(number) = batch.reports.last().map(|report| report.number) else { return };
        let count = u64::try_from(batch.reports.len()).unwrap_or(u64::MAX);
        let Inner { held, ever_dropped, record, .. } = &mut *self.lock();
        held.arrived(&batch.epoch, number, 0);
        held.dropped += count;
        *ever_dropped += count;
        if let Some(record) = record {
            record.note(Happened::Arrived { epoch: &batch.epoch, number, dropped: 0 }, held);
        }
    }

    /// The hub has a batch: everything in it goes.
    pub fn arrived(&self, batch: &Batch) {
        let Some(number) = batch.reports.last().map(|report| report.number) else { return };
        let Inner { held, record, .. } = &mut *self.lock();
        held.arrived(&batch.epoch, number, batch.dropped);
        if let Some(record) = record {
            record.note(Happened::Arrived { epoch: &batch.epoch, number, dropped: batch.dropped }, held);
        }
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
    fn a_batch_is_no_longer_than_a_request_whatever_routers_say_and_what_is_refused_is_told_as_dropped() {
        let spool = Spool::with_room(MAX_WAITING, "e");
        for at in 0..20 {
            let verdict = "\u{1f}".repeat(50_000);
            let tunnel = TunnelHealth { verdict, handshake_age_secs: None, rtt_us: None };
            spool.put(AgentReport::new(0, at, tunnel), false);
        }
        let first = spool.batch(MAX_REPORTS).unwrap();
        let length = serde_json::to_vec(&first.reports).unwrap().len();
        assert!((BATCH_BYTES / 2..MAX_REQUEST_BYTES).contains(&length), "{length}");
        assert_eq!(spool.batch(1).unwrap().reports.len(), 1);
        let count = u64::try_from(first.reports.len()).unwrap();
        spool.refused(&first);
        let next = spool.batch(MAX_REPORTS).unwrap();
        assert_eq!((next.dropped, next.reports[0].number), (count, i64::try_from(count).unwrap() + 1));
        assert_eq!(spool.ever_dropped(), count);
    }

    #[test]
    fn what_arrived_goes_and_what_came_meanwhile_stays() {
        let spool = Spool::with_room(MAX_WAITING, "e");
        assert_eq!(spool.batch(MAX_REPORTS), None);
        for at in 0..3 {
            put(&spool, at, false);
        }
        let batch = spool.batch(MAX_REPORTS).unwrap();
        put(&spool, 3, true);
        // Sent, and the answer lost: the same again, and more.
        let again = spool.batch(MAX_REPORTS).unwrap();
        assert_eq!((batch.reports.len(), again.reports.len()), (3, 4));
        spool.arrived(&batch);
        let rest = spool.batch(MAX_REPORTS).unwrap();
        assert_eq!(rest.reports.iter().map(|report| report.number).collect::<Vec<_>>(), [4]);
        spool.arrived(&rest);
        assert_eq!(spool.batch(MAX_REPORTS), None);
    }

    #[test]
    fn a_full_spool_drops_the_oldest_ordinary_report_first_and_says_how_many() {
        let spool = Spool::with_room(50, "e");
        put(&spool, 0, true);
        for at in 1..=50 {
            put(&spool, at, false);
        }
        let batch = spool.batch(MAX_REPORTS).unwrap();
        assert_eq!((batch.reports[0].at, batch.reports[1].at, batch.dropped), (0, 2, 1));
        put(&spool, 9999, false);
        spool.arrived(&batch);
        assert_eq!(spool.batch(MAX_REPORTS).unwrap().dropped, 1, "the one dropped since is still to be told");
        assert_eq!(spool.ever_dropped(), 2);
    }

    proptest! {
        #[test]
        fn numbers_grow_order_stays_and_no_change_is_lost_while_ordinary_ones_are_left(
            changes in proptest::collection::vec(any::<bool>(), 0..3 * ROOM)
        ) {
            let spool = Spool::with_room(ROOM, "e");
            for (at, is_change) in changes.iter().enumerate() {
                put(&spool, i64::try_from(at).unwrap(), *is_change);
            }
            let mut got = Vec::new();
            while let Some(batch) = spool.batch(MAX_REPORTS) {
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
