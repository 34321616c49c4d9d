//! The RouterOS API client against a router that can misbehave in every way.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test fails with the test")]

mod calls;
mod cancel;
mod codec;
mod deadlines;
mod fake;
mod golden;
mod hostile;
mod login;
mod logs;
mod replies;
mod slow_reader;
mod tls;
mod url;
