//! The RouterOS API: what goes over the wire, the connection, and the client that asks.
//!
//! | module | holds |
//! |---|---|
//! | [`codec`] | bytes ↔ sentences, with the limits |
//! | [`command`], [`row`] | what is asked, and what is answered |
//!
//! Nothing here knows WireGuard, sites or plans, and nothing here prints.

pub mod codec;
pub mod command;
pub mod row;

pub use command::Command;
pub use row::Row;
