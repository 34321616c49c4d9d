//! The gateway: data plane of the instances in a region. It keeps its keys on its own disk and gives the hub public keys only.

pub mod plane;
