//! What the gateway says to its hub, and hears from it. The hub being away changes nothing about the tunnels.

mod acks;
mod backoff;
mod hear;
mod reports;

pub use acks::tell_outcomes;
pub use backoff::Backoff;
pub use hear::{Ears, Heard};
pub use reports::{report_last, tell_traffic};

use std::time::Duration;

use crate::uplink::{Retry, UplinkError};

/// First pause after the hub did not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause; a hub that refuses us is asked so seldom.
const MOST_PAUSE: Duration = Duration::from_mins(1);

/// How long to leave the hub alone after an error.
fn pause_after(error: &UplinkError, backoff: &mut Backoff) -> Duration {
    let own = match error.retry() {
        Retry::Now | Retry::Later => backoff.pause(),
        Retry::Never => MOST_PAUSE,
    };
    error.retry_after().map_or(own, |asked| asked.clamp(FIRST_PAUSE, MOST_PAUSE))
}
