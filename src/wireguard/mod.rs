//! WireGuard in this process: keys made here, and the embedded userspace device that simulator and gateway share.
//!
//! | module | what it is for |
//! |---|---|
//! | [`keys`] | private and preshared keys |
//! | `device` | one embedded device: real UDP below, packets in memory above, peers changed in place |
//! | `exchange` | a device that forwards between its own peers, and nothing else: the far end of a demo, a gateway without root |
//! | `memory`, `wire` | what is above and below a device |
//! | `packet`, `prefix` | IP packets taken apart, and who owns an address |
//!
//! It knows nothing of routers, instances or the hub.

pub(crate) mod device;
pub(crate) mod exchange;
pub mod keys;
pub(crate) mod memory;
pub(crate) mod packet;
pub(crate) mod prefix;
pub(crate) mod wire;
