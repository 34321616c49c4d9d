//! The whole of it in one process: a hub, a gateway, an agent and a simulated router, with WireGuard between the last and the second.
//!
//! What is lost while tunnels move is printed: `cargo test --test end_to_end -- --nocapture`.
#![cfg(all(feature = "hub", feature = "gateway", feature = "sim"))]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a world that cannot be built fails its test, with the place"
)]
#![expect(clippy::print_stdout, reason = "figures for whoever runs this with --nocapture")]
#![expect(clippy::format_push_string, reason = "writing into a String cannot fail")]

#[path = "../uplink/fake.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod fake;
#[path = "../gateway/far.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod far;
#[path = "../provision/harness/mod.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod harness;
#[path = "../provision_hub/hub.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod hub;
#[path = "../agent/pings.rs"]
mod pings;
#[path = "../agent/running.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod running;

mod moves;
mod stage;

use harness::{run, site, world};
