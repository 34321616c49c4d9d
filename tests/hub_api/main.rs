//! The hub's HTTP API: a real server on a loopback port, spoken to over real sockets.
#![cfg(feature = "hub")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where")]
#![expect(clippy::print_stderr, reason = "what cannot run here says so")]

mod client;
mod fake;
mod health;
mod hub;
mod polls;
mod profile;
mod refusals;
mod rotation;
mod running;
mod server;
mod story;
#[cfg(feature = "sim")]
mod tls;
