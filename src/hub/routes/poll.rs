//! Long-polls: answered at once if there is news, else when there is, or when the wait is over.
//!
//! Ten thousand of these wait at once. What is held meanwhile is the waiter, a timer and the handle of the hub; reading the
//! store is boxed, and gone again before the wait begins.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use crate::api::{DEFAULT_WAIT_SECS, InstanceId, MAX_WAIT_SECS};
use crate::hub::auth::Pass;
use crate::hub::problem::Refusal;
use crate::hub::state::State;
use crate::hub::wake::Topic;

/// Polls of one caller that wait at once: the one it has, and the one it makes while the hub has not noticed that the other is dead.
const SEATS: usize = 2;

/// What a long-poll asks for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct PollParams {
    /// The revision that the caller has; missing if it has none.
    #[param(minimum = 0)]
    pub(super) revision: Option<i64>,
    /// Seconds to wait for another one; 30 if it is missing.
    #[param(minimum = 0, maximum = 50)]
    pub(super) wait: Option<u64>,
}

impl PollParams {
    /// Checks the numbers.
    pub(super) fn checked(&self) -> Result<(Option<i64>, Duration), Refusal> {
        let wait = self.wait.unwrap_or(DEFAULT_WAIT_SECS);
        if wait > MAX_WAIT_SECS {
            return Err(Refusal::invalid("wait", format!("a poll waits for at most {MAX_WAIT_SECS} s")));
        }
        if self.revision.is_some_and(i64::is_negative) {
            return Err(Refusal::invalid("revision", "a revision is not negative"));
        }
        Ok((self.revision, Duration::from_secs(wait)))
    }
}

/// Places of those who wait: a caller has [`SEATS`] of them, and one more takes the oldest one's.
#[derive(Debug, Default)]
pub(in crate::hub) struct Seats(Mutex<HashMap<Topic, VecDeque<(u64, CancellationToken)>>>);

/// A place, left when dropped.
struct Seat<'a> {
    seats: &'a Seats,
    topic: Topic,
    number: u64,
    left: CancellationToken,
}

impl Seats {
    fn take(&self, topic: Topic) -> Seat<'_> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = all.entry(topic.clone()).or_default();
        if mine.len() >= SEATS
            && let Some((_, oldest)) = mine.pop_front()
        {
            // Its connection may be long dead: a caller that lost its network comes back before the hub notices.
            oldest.cancel();
        }
        let number = mine.back().map_or(0, |(number, _)| number.wrapping_add(1));
        let left = CancellationToken::new();
        mine.push_back((number, left.clone()));
        Seat { seats: self, topic, number, left }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut all = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = all.get_mut(&self.topic) {
            mine.retain(|(number, _)| *number != self.number);
            if mine.is_empty() {
                all.remove(&self.topic);
            }
        }
    }
}

/// Who waits, and for what.
pub(super) struct Wait<'a> {
    /// The hub.
    pub(super) hub: &'a State,
    /// What it waits for.
    pub(super) topic: Topic,
    /// The instance of an agent.
    pub(super) instance: Option<InstanceId>,
    /// What it came with: looked at again before news that were waited for are told.
    pub(super) pass: &'a Pass,
    /// At most so long.
    pub(super) time: Duration,
}

impl Wait<'_> {
    /// Reads until there is something.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn until<T, F>(self, mut read: impl FnMut() -> F) -> Result<Option<T>, Refusal>
    where
        F: Future<Output = Result<Option<T>, Refusal>>,
    {
        let hub = self.hub;
        // Taken before the first reading, so that no change is missed.
        let mut waiter = hub.store.wakes().waiter(self.topic.clone(), self.instance);
        if let Some(news) = Box::pin(read()).await? {
            return Ok(Some(news));
        }
        let kind = if matches!(self.topic, Topic::Gateway(_)) { "gateway" } else { "agent" };
        let (seat, _counted) = (hub.seats.take(self.topic), hub.metrics.poll(kind));
        let deadline = Instant::now() + self.time;
        loop {
            tokio::select! {
                () = waiter.woken() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(None),
                () = hub.stopping.cancelled() => return Ok(None),
                () = seat.left.cancelled() => return Ok(None),
            }
            Box::pin(self.pass.again(hub)).await?;
            if let Some(news) = Box::pin(read()).await? {
                return Ok(Some(news));
            }
        }
    }
}
