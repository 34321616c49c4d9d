//! How many routers are connected to, and written to, at once.
//!
//! Two limits, apart from each other: logging in costs this host a TLS handshake and the network a burst; writing costs the hub
//! a proof and people their trust if it goes wrong everywhere at once.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Shared by all drivers of a supervisor.
#[derive(Clone, Debug)]
pub struct Gates {
    connecting: Arc<Semaphore>,
    applying: Arc<Semaphore>,
}

impl Gates {
    /// At most so many routers that are connected to, and that are written to; at least one each.
    #[must_use]
    pub fn new(connecting: usize, applying: usize) -> Self {
        let gate = |places: usize| Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        Self { connecting: gate(connecting), applying: gate(applying) }
    }

    /// Waits for a place among those who connect.
    ///
    /// # Cancel safety
    /// The place in the queue is lost.
    pub async fn connecting(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed; if it were, nobody would be held up.
        self.connecting.acquire().await.ok()
    }

    /// Waits for a place among those who write.
    ///
    /// # Cancel safety
    /// The place in the queue is lost.
    pub async fn applying(&self) -> Option<SemaphorePermit<'_>> {
        self.applying.acquire().await.ok()
    }
}
