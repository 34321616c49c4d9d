//! The whole of it as programs in network namespaces: hub and gateway, simulated routers with real hosts behind them, clients.
//!
//! Needs root and what `tests/common/netns.rs` needs; what runs on PostgreSQL needs `SITEPEER_TEST_POSTGRES`. What cannot run says
//! `skipped: …`. Figures are printed: `cargo test --test system -- --test-threads=1 --nocapture`.

#![cfg(all(feature = "hub", feature = "gateway", feature = "sim", target_os = "linux"))]
#![expect(dead_code, reason = "the world's helpers serve other tests too")]
#![expect(clippy::unwrap_used, reason = "a world that cannot be built fails its test, with the place")]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "figures, and why a test cannot run")]

#[path = "../common/netns.rs"]
mod netns;

mod admin;
mod apart;
mod database;
mod fleet;
mod gateway_killed;
mod hub_killed;
mod live;
mod program;
mod reach;
mod replicas;
mod tunnels_stay;
