//! The words of the field: parsed once at the edge, pure, without I/O.
//!
//! Everything here is a value that cannot be malformed: a [`SiteId`] that marks rows, a [`PublicKey`] that is
//! never all zero, a [`SubnetSet`] whose host bits are zero. Nothing here knows RouterOS menus, files or sockets.

mod clean;
mod endpoint;
mod fault;
mod key;
mod marker;
mod name;
mod secret;
mod shown;
mod site;
mod subnet;
mod text;
mod version;

pub use clean::clean;
pub use endpoint::{Endpoint, Host, InvalidEndpoint};
pub use fault::{SiteFault, not_a_host, unroutable, unroutable_prefix};
pub use key::{InvalidKey, PresharedKey, PublicKey};
pub use marker::{MARKER_PREFIX, Marker, Role};
pub use name::{InstanceName, InvalidName, SiteId};
pub use secret::Secret;
pub use shown::{MAX_SHOWN_CHARS, shown};
pub use site::{
    Beside, DEFAULT_ROUTING_TABLE, End, Hub, MAX_ADDRESSES, MAX_ENDPOINTS, MAX_KEEPALIVE_SECS, MAX_MTU, MAX_PROBES,
    MAX_SUBNETS, MIN_MTU, Routing, Site, SiteConflict, Tunnel,
};
pub use subnet::{SubnetSet, is_broad, overlap};
pub use version::{InvalidVersion, RouterOsVersion};
