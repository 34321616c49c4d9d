//! The health of a tunnel, watched on simulated routers with a real tunnel to a hub on loopback.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps fails with the place")]
#![expect(clippy::format_push_string, reason = "writing into a String cannot fail")]

#[path = "../provision/harness/mod.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod harness;

#[path = "../cli/schema.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod schema;

mod doctor;
mod parts;
mod silence;
mod steady;
mod watch;

use harness::{meddler, run, site, world};
