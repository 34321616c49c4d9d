//! The simulated RouterOS device, asked over its own API and compared with recorded replies.

mod data;
mod extract;
