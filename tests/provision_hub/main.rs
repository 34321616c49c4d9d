//! `provision --hub` against a scripted hub: the router is simulated, the tunnel is real, the hub says what the test wants.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test fails with the test")]
#![expect(clippy::format_push_string, reason = "writing into a String cannot fail")]

#[path = "../uplink/fake.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod fake;
#[path = "../provision/harness/mod.rs"]
#[expect(dead_code, reason = "more is used elsewhere")]
mod harness;

mod client_key;
mod enrolment;
mod hostile;
mod hub;
mod laws;
mod run_of;
mod waiting;

use harness::{run, site, world};
