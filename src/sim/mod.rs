//! A simulated RouterOS device with a real tunnel.

pub mod plane;
