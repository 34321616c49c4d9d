//! The hub: control plane of the VPN. HTTP API, store, enrolment; it never talks to a router.

mod auth;
pub mod config;
mod metrics;
mod openapi;
mod problem;
mod profile;
mod request;
mod routes;
pub mod server;
mod state;
pub mod store;
pub mod wake;

use std::time::Duration;

/// Between two rounds of housekeeping: short, because a merged reach waits for it.
pub const TICK: Duration = Duration::from_millis(200);
