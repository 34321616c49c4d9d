//! The gateway: its planes without root, and its control part against a scripted hub.
//!
//! Figures are printed, never asserted: `cargo test --test gateway -- --nocapture`.
#![cfg(all(feature = "gateway", feature = "sim"))]
#![expect(clippy::print_stdout, reason = "figures for whoever runs this with --nocapture")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a world that cannot be built fails its test, with the place"
)]

mod control;
mod devices;
#[cfg(feature = "hub")]
mod far;
mod hostile;
mod hub;
mod laws;
mod planes;
mod restart;
mod rootless;
#[cfg(feature = "hub")]
mod whole;
mod world;
