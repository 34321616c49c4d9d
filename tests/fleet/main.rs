//! Fleets: `sitepeer fleet` as a process against simulated routers.
#![cfg(all(feature = "sim", feature = "proxy"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test fails with the test")]
#![expect(clippy::print_stdout, reason = "figures")]
#![expect(clippy::format_push_string, reason = "writing into a String cannot fail")]

#[path = "../provision/harness/mod.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod harness;
#[path = "../cli/schema.rs"]
mod schema;

mod commands;
#[cfg(all(feature = "hub", feature = "gateway"))]
mod leases;
mod stage;
mod warrant;

use harness::{run, site, world};
