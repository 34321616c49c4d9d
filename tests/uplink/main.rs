//! The client of the hub's API against a server that can misbehave in every way.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test fails with the test")]

mod connections;
mod fake;
mod replies;
#[cfg(feature = "sim")] // for its certificates
mod tls;
