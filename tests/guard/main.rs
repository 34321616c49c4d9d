//! The dead-man, against simulated routers that run scripts by themselves and lose the sessions whose way goes.
//!
//! Time is simulated where a router has to wait for its timer: `pass_time` moves its clock. Deadlines of the product run in real time.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps fails with the place")]
#![expect(clippy::format_push_string, reason = "writing into a String cannot fail")]
#![expect(clippy::print_stderr, reason = "figures that were measured are shown")]

mod arming;
#[path = "../provision/harness/mod.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod harness;
mod lan;
mod laws;
mod others;
mod safe_mode;
mod stage;
mod steps;
mod touching;
mod tunnel;

use harness::{run, site, world};
