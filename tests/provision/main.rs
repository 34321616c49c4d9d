//! `provision`, `plan`, `status` and `remove` against simulated routers with a real tunnel to a hub on loopback.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that unwraps fails with the place")]
#![expect(
    clippy::format_push_string,
    reason = "a config is written line by line, and writing into a String cannot fail"
)]
#![expect(clippy::print_stderr, reason = "figures that were measured are shown")]

mod causes;
mod changes;
mod clean;
mod cuts;
mod faults;
mod hostile;
mod meddler;
mod ownership;
mod process;
mod refusals;
mod removal;
mod run;
mod site;
mod timed_rows;
mod versions;
mod world;
