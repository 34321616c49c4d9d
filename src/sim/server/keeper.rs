//! What the device does by itself: scheduled scripts, with nobody connected.

use std::sync::Arc;

use tokio::time::Instant;

use super::Shared;

/// Runs scheduled scripts when they are due, until the device ends.
pub(super) async fn keep(shared: Arc<Shared>) {
    loop {
        // Before looking: what changes in between wakes it all the same.
        let changed = shared.rows_changed.notified();
        let (next, now) = {
            let device = shared.device();
            (device.next_event(), device.clock.monotonic())
        };
        match next {
            None => changed.await,
            Some(next) => {
                let due = Instant::now() + next.saturating_duration_since(now);
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => run_due(&shared).await,
                }
            }
        }
    }
}

/// Runs what is due now, and lets it take effect.
pub(super) async fn run_due(shared: &Shared) {
    let ran = shared.device().run_due();
    if ran {
        shared.uplink.apply(shared).await;
    }
}
