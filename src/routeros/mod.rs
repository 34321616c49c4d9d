//! The RouterOS API: what goes over the wire, the connection, and the client that asks.
//!
//! | module | holds |
//! |---|---|
//! | [`codec`] | bytes ↔ sentences, with the limits |
//! | [`command`], [`row`] | what is asked, and what is answered |
//! | [`client`] | the handle that asks |
//! | [`connection`] | the task that owns the socket |
//! | [`menu`] | a typed table for each menu |
//! | [`error`] | what can go wrong with a call |
//! | [`target`], [`tls`], [`login`] | from a URL to a session |
//!
//! Nothing here knows WireGuard, sites or plans, and nothing here prints.

pub mod client;
pub mod codec;
pub mod command;
pub mod connection;
pub mod error;
pub mod login;
pub mod menu;
pub mod row;
pub mod target;
pub mod tls;

pub use client::{Call, Client, Done, Reply, Usage};
pub use command::Command;
pub use error::{CallError, Refusal, Retry, Trap};
pub use row::Row;
pub use target::{Access, ConnectError, RouterUrl, connect};
