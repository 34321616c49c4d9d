//! Two simulated routers and a hub end, over real WireGuard on loopback.
//!
//! Figures are printed, never asserted: `cargo test --test sim_plane -- --nocapture`.
#![cfg(feature = "sim")]

mod firewall;
mod patience;
mod peers;
mod pings;
mod sockets;
mod world;
