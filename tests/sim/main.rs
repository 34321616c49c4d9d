//! The simulated RouterOS device, asked over its own API and compared with recorded replies.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps fails with the place")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

mod client;
mod commands;
mod data;
mod extract;
mod faults;
mod golden;
mod log;
mod protocol;
mod refusals;
mod safe_mode;
mod schedule;
mod talk;
mod tunnel;
