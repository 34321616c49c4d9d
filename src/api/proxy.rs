//! Proxies at a hub: which sites they drive, and for how long each may count on that.
//!
//! A site is assigned to a group of proxies, with the address of its router; whoever of the group has the site's lease drives it. A
//! lease has a number that grows with each new holder: what is said with an older one is refused.

use serde::{Deserialize, Serialize};

use super::{PeerId, SiteId};

/// How long a lease lasts from when it was asked for, in milliseconds: a proxy that died is known as dead after this.
pub const LEASE_MS: u64 = 20_000;
/// Leases taken by one request: the hub's transaction stays short.
pub const MAX_TAKEN: u32 = 500;
/// Most sites of one proxy: what one process on two cores was measured with.
pub const MAX_LEASES: u32 = 10_000;
/// Longest URL of a router, in characters.
pub const MAX_ROUTER_URL: usize = 256;

/// Which proxies drive a site, and where its router is. Never how to log in: that only the proxy knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct ProxyAssignment {
    /// The group of proxies, 1 to 64 characters. A proxy whose token names no group drives the sites of all groups of its account.
    pub group: String,
    /// The router as its proxies reach it, such as `apis://10.1.1.1` or `apis://sitepeer@10.1.1.1:8729`: with an address and not a
    /// name, so that each proxy can say to which networks it takes a password.
    pub url: String,
    /// The fingerprint of its certificate: `sha256:` and 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
}

/// Who drives a site's router by a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteLease {
    /// The name of the proxy's token; several processes may have the same.
    pub proxy: String,
    /// The number of the lease, which stands on the router as well.
    pub number: i64,
    /// Until when, seconds since 1970. One in the past has ended: nobody has the router, or whoever has it hears nothing of the hub.
    pub until: i64,
}

/// A proxy renews its leases, and takes more up to its fair share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct LeaseRequest {
    /// This process, and no other: random, 16 to 64 characters, another one at each start.
    pub proxy: String,
    /// Most sites that it has room for.
    #[cfg_attr(feature = "hub", schema(maximum = 10_000))]
    pub room: u32,
    /// Sites it lets go of: their leases are not renewed, and end by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>, max_items = 10_000))]
    pub leave: Vec<SiteId>,
    /// `digest` of the reply before: where nothing has changed, the sites are not told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// It drives nothing any more: all its leases end now.
    #[serde(default)]
    pub ends: bool,
}

/// What a proxy has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct LeaseReply {
    /// How long every lease lasts, in milliseconds from when the request was *sent*.
    pub lease_ms: u64,
    /// Stands for the sites it has now.
    pub digest: String,
    /// All sites it has now; missing if they are those that it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Vec<LeasedSite>>,
    /// Sites beyond its fair share, to be let go of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub give_up: Vec<SiteId>,
    /// Whether there is more for it: it asks again at once.
    #[serde(default)]
    pub more: bool,
}

/// A site that a proxy drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct LeasedSite {
    /// Which.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub site: SiteId,
    /// For people.
    pub name: String,
    /// The number of the lease: larger than that of every holder before.
    pub number: i64,
    /// Its group, and where its router is.
    pub assignment: ProxyAssignment,
    /// Its site peers: what is to be on the router.
    pub peers: Vec<PeerId>,
}
