//! Two simulated routers and a hub end, over real WireGuard on loopback.
//!
//! Figures are printed, never asserted: `cargo test --test sim_plane -- --nocapture`.
#![cfg(feature = "sim")]
#![expect(clippy::print_stdout, reason = "figures for whoever runs this with --nocapture")]
#![expect(clippy::unwrap_used, reason = "a world that cannot be built fails its test, with the place")]

mod firewall;
mod namespace;
mod patience;
mod peers;
mod pings;
mod sockets;
mod wire;
mod world;
