//! Tells systemd (`Type=notify`). Without `NOTIFY_SOCKET` nobody is told.
//!
//! *Source:* `sd_notify(3)`.

use sd_notify::NotifyState;

/// It serves; `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It ends what is under way.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that it lives, as often as systemd wants to hear it: as long as this runtime gets its turn. Never ends.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // Twice within the limit, so that one that comes late does not end us.
    let mut every = tokio::time::interval(limit / 2);
    loop {
        every.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd is not told");
    }
}
