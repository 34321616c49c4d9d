//! Why a gateway does not start, or ends.

use crate::gateway::disk::DiskError;
use crate::uplink::UplinkError;

/// Why a gateway does not start, or ends. Once it serves tunnels, neither the hub nor one instance ends it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its own disk cannot be used or trusted.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The hub does not take this gateway, and it has nothing to serve without it.
    #[error("the hub does not take this gateway")]
    Refused(#[source] Box<UplinkError>),
    /// The host's data plane does not answer at all.
    #[error(transparent)]
    Plane(#[from] super::plane::PlaneError),
}

impl GatewayError {
    /// What the user may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Disk(error) => error.hint(),
            Self::Refused(error) => error.hint(),
            Self::Plane(_) => Some("run `sitepeer gateway doctor` on this host".to_owned()),
        }
    }
}
