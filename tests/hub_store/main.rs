//! The hub's store: one story over both databases, and the laws that hold whoever writes.

#[path = "../common/postgres.rs"]
mod postgres;

mod agents;
mod files;
mod gateways;
mod laws;
mod many;
mod replicas;
mod scopes;
mod story;
mod world;
