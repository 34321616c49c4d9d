//! Pauses that grow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Pauses after failures: each twice the last, up to a most, a little off so that many gateways do not ask at once.
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
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        // Up to an eighth less; the clock's last digits are random enough for that.
        let noise = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos() % 125;
        pause * (1000 - noise) / 1000
    }

    /// It went well: begin with the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
