//! The agent against simulated routers and a scripted hub: what it keeps, what it puts back, and what it survives.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test fails with the test")]
#![expect(clippy::print_stdout, reason = "figures for whoever runs this with --nocapture")]
#![expect(clippy::format_push_string, reason = "writing into a String cannot fail")]

#[path = "../uplink/fake.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod fake;
#[path = "../provision/harness/mod.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod harness;
#[path = "../provision_hub/hub.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod hub;

#[path = "../cli/schema.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod schema;

mod away;
mod blame;
mod fleet;
mod heals;
mod keeps;
mod kept;
mod killed;
mod leased;

mod moving;
mod odd;
mod pings;
mod rotate_key;
mod running;
mod spooled;
mod strict;
mod telling;
mod through;

use harness::{meddler, run, site, world};
