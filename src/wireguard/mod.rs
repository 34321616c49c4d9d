//! WireGuard in this process: keys made here, and the embedded userspace device that simulator and gateway share.
//!
//! It knows nothing of routers, instances or the hub.

pub mod keys;
