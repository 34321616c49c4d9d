//! The simulated RouterOS device, asked over its own API and compared with recorded replies.

mod client;
mod commands;
mod data;
mod extract;
mod faults;
mod golden;
mod protocol;
mod refusals;
mod talk;
mod tunnel;
