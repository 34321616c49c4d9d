//! How many routers are connected to, read and written to at once.
//!
//! Limits apart from each other: logging in costs this host a TLS handshake and the network a burst; a reading is held in memory until
//! it is judged; writing costs the hub a proof and people their trust if it goes wrong everywhere at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Routers that are read whole at once. Each takes some 60 KiB until it is judged, and over a link of 300 ms there and back a second:
/// so many are read in a second even there.
const READING: usize = 256;
/// Longest time that one router is in the way of others: whoever is silent for so long costs this host nothing but a socket. Else the
/// routers that are away, which stay silent for all of their deadlines, would have all places after a while.
#[cfg(feature = "proxy")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Shared by all drivers of a supervisor.
#[derive(Clone, Debug)]
pub struct Gates {
    connecting: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    applying: Arc<Semaphore>,
}

impl Gates {
    /// At most so many routers that are connected to, and that are written to; at least one each.
    #[must_use]
    pub fn new(connecting: usize, applying: usize) -> Self {
        let gate = |places: usize| Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        Self { connecting: gate(connecting), reading: gate(READING), applying: gate(applying) }
    }

    /// Waits for a place among those who connect.
    ///
    /// # Cancel safety
    /// The place in the queue is lost.
    pub async fn connecting(&self) -> Place<'_> {
        place(&self.connecting).await
    }

    /// Waits for a place among those who read.
    ///
    /// # Cancel safety
    /// The place in the queue is lost.
    pub async fn reading(&self) -> Place<'_> {
        place(&self.reading).await
    }

    /// Waits for a place among those who write.
    ///
    /// # Cancel safety
    /// The place in the queue is lost.
    pub async fn applying(&self) -> Place<'_> {
        place(&self.applying).await
    }
}

async fn place(gate: &Semaphore) -> Place<'_> {
    // Never closed; if it were, nobody would be held up.
    Place { _permit: gate.acquire().await.ok() }
}

/// A place that is held until this is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    _permit: Option<SemaphorePermit<'a>>,
}

impl Place<'_> {
    /// Does what it was waited for, and gives the place back with its end, or while it goes on once it takes long.
    ///
    /// # Cancel safety
    /// As that of the work.
    #[cfg(feature = "proxy")]
    pub async fn briefly<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        if let Ok(done) = tokio::time::timeout(PATIENCE, &mut work).await {
            return done;
        }
        drop(self);
        work.await
    }

    /// Does what it was waited for: one router alone is in the way of nobody.
    ///
    /// # Cancel safety
    /// As that of the work.
    #[cfg(not(feature = "proxy"))]
    pub async fn briefly<T>(self, work: impl Future<Output = T>) -> T {
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[cfg(feature = "proxy")]
    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_in_the_way_of_nobody_for_long() {
        let (gates, begun) = (Gates::new(1, 1), Instant::now());
        let slow = async {
            gates.connecting().await.briefly(sleep(Duration::from_mins(1))).await;
            begun.elapsed()
        };
        let next = async {
            gates.connecting().await.briefly(async {}).await;
            begun.elapsed()
        };
        let (slow, next) = tokio::join!(slow, next);
        assert_eq!((slow.as_secs(), next.as_secs()), (60, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_read_at_once_than_there_are_places() {
        let (gates, begun) = (Gates::new(1, 1), Instant::now());
        let reading =
            (0..=READING).map(|_| async { gates.reading().await.briefly(sleep(Duration::from_secs(1))).await });
        futures_util::future::join_all(reading).await;
        assert_eq!(begun.elapsed().as_secs(), 2, "one has to wait for the others");
    }
}
