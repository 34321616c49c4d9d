//! The hub's store: one story over both databases, and the laws that hold whoever writes.
#![cfg(feature = "hub")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what cannot run here says so")]

#[path = "../common/postgres.rs"]
mod postgres;

mod agents;
mod caps;
mod desired;
mod files;
mod gateways;
mod health;
mod laws;
mod leases;
mod many;
mod replicas;
mod rotate;
mod scopes;
mod silence;
mod story;
mod world;
