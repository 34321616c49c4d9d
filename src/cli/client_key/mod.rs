//! `sitepeer client-key`: a client's key pair, made where the client is, if this build can make keys.

#[cfg(not(feature = "wireguard"))]
#[path = "disabled.rs"]
mod implementation;
#[cfg(feature = "wireguard")]
#[path = "enabled.rs"]
mod implementation;

pub use implementation::run;
