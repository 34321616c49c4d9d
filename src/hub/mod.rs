//! The hub: control plane of the VPN. HTTP API, store, enrolment; it never talks to a router.

pub mod config;
pub mod store;
pub mod wake;

use std::time::Duration;

/// Between two rounds of housekeeping: short, because a merged reach waits for it.
pub const TICK: Duration = Duration::from_millis(200);
