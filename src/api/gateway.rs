//! What hub and gateway say to each other.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::peer::optional_secret;
use super::{GatewayId, InstanceId, PeerId, PeerKind, Policy};
use crate::domain::{Endpoint, Host, PublicKey, Secret, SubnetSet};

/// How a gateway makes tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum Backend {
    /// The kernel's WireGuard.
    Kernel,
    /// Embedded WireGuard with TUN devices.
    Userspace,
    /// Embedded WireGuard and forwarding in the process: no root, no TUN, no way out to the internet.
    Rootless,
}

/// A gateway that comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayHello {
    /// For people; unique.
    pub name: String,
    /// The region it serves.
    pub region: String,
    /// Where peers reach it from outside: an address or a DNS name.
    pub public_host: String,
    /// How it makes tunnels.
    pub backend: Backend,
    /// Its version.
    pub version: String,
    /// Random, made once and kept on the gateway's disk, 16 to 64 characters: two hosts that use one token are told apart by it.
    pub install: String,
}

/// What a gateway is told when it comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayWelcome {
    /// Its id.
    pub id: GatewayId,
    /// How often it is to report, in seconds.
    pub report_secs: u32,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Gateway {
    /// Never changes.
    pub id: GatewayId,
    /// For people; unique.
    pub name: String,
    /// The region it serves.
    pub region: String,
    /// Where peers reach it.
    pub public_host: String,
    /// How it makes tunnels.
    pub backend: Backend,
    /// Its version.
    pub version: String,
    /// Instances it serves.
    pub instances: u64,
    /// When it was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<i64>,
    /// The revision that is wanted.
    pub revision: i64,
    /// The revision that it has.
    pub applied_revision: i64,
}

impl Gateway {
    /// Reads the host where peers reach it.
    ///
    /// # Errors
    /// [`crate::domain::InvalidEndpoint`] if it is neither address nor name.
    pub fn host(&self) -> Result<Host, crate::domain::InvalidEndpoint> {
        self.public_host.parse()
    }
}

/// What changed for a gateway after a revision: everything, if it asked from 0.
///
/// Read in one snapshot. A peer is in `peers` or in `removed_peers`, never in both; no two things of a gateway share a revision, so
/// parts are cut anywhere. Removals are applied first, then peers that give something up, then those that get it.
/// An instance that a full list leaves out is taken down with its key set aside; keys go only with `removed_instances`.
///
/// Large changes come in parts: as long as `more` is set, ask again at once from `revision`. A gateway that began at 0 has
/// everything when `more` is not set, and drops what it was not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayDesired {
    /// What this brings the gateway to. Less than what it asked from: begin again at 0 (the hub was restored from a backup).
    pub revision: i64,
    /// The hub no longer knows what was removed since then: begin again at 0.
    #[serde(default)]
    pub restart: bool,
    /// There is more behind `revision`.
    #[serde(default)]
    pub more: bool,
    /// Instances that are new or changed.
    #[serde(default)]
    pub instances: Vec<GatewayInstance>,
    /// Peers that are new or changed. Disabled ones and such without a key are among `removed_peers`.
    #[serde(default)]
    pub peers: Vec<GatewayPeer>,
    /// Instances to take down, with peers, interface, namespace, rules and keys.
    #[serde(default)]
    pub removed_instances: Vec<InstanceId>,
    /// Peers to take out.
    #[serde(default)]
    pub removed_peers: Vec<RemovedPeer>,
}

/// A peer that is not to be served any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct RemovedPeer {
    /// Its instance.
    pub instance: InstanceId,
    /// The peer.
    pub peer: PeerId,
}

/// An instance as its gateway has to serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayInstance {
    /// Never changes.
    pub id: InstanceId,
    /// For people and logs.
    pub name: String,
    /// Switched off: the interface goes down, keys and everything else stay.
    pub suspended: bool,
    /// The gateway's addresses in the tunnel, with the length of the tunnel's networks.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpNet>,
    /// Number of the WireGuard device that new peers get. Each device of an instance has a key and a port of its own.
    #[serde(default, skip_serializing_if = "is_first")]
    pub device: u32,
    /// UDP port of that device outside.
    pub listen_port: u16,
    /// Nobody asked for this very port: where another process of the host has it, the gateway takes one of the next and says which.
    #[serde(default)]
    pub any_port: bool,
    /// Devices beside it: one that is about to be used, and those that some peers still have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<GatewayDevice>,
    /// Prefixes that lie beyond the gateway itself: what peers may reach through its host, beside each other.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub pushed_routes: SubnetSet,
    /// Who may reach whom.
    pub policy: Policy,
    /// Grows with every change, and with `retry`.
    pub revision: i64,
}

/// Most devices of an instance: two that peers change between, one that replaces both, and as many again that clients still have.
pub const MAX_DEVICES: usize = 6;

/// Whether a device is the first, which need not be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(device: &u32) -> bool {
    *device == 0
}

/// A further WireGuard device of an instance: another key and port, the same addresses and rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayDevice {
    /// Its number; one that is gone does not come back.
    pub device: u32,
    /// UDP port outside.
    pub listen_port: u16,
    /// As of an instance.
    #[serde(default)]
    pub any_port: bool,
}

/// A peer that changes to another device. Until it has, the gateway takes what it sends from either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayMove {
    /// The other device.
    pub device: u32,
    /// The peer's key there.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub public_key: PublicKey,
    /// What is sent to the peer goes through the other device already.
    pub sends: bool,
}

/// A peer as its gateway has to serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayPeer {
    /// Never changes.
    pub id: PeerId,
    /// Its instance.
    pub instance: InstanceId,
    /// What it is: decides the rules.
    pub kind: PeerKind,
    /// The device that it is on.
    #[serde(default, skip_serializing_if = "is_first")]
    pub device: u32,
    /// Its key.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub public_key: PublicKey,
    /// The device that it is changing to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<GatewayMove>,
    /// Its preshared key.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_secret")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub preshared_key: Option<Secret>,
    /// Its addresses in the tunnel.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// Its subnets.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub subnets: SubnetSet,
    /// Its whole traffic goes out through the gateway, masqueraded.
    pub route_all: bool,
    /// Where to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub endpoint: Option<Endpoint>,
    /// Seconds; 0 is none.
    pub keepalive_secs: u16,
    /// Grows with every change.
    pub revision: i64,
}

/// What a gateway did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayApplied {
    /// Everything up to this revision is done, or has failed as said below.
    pub revision: i64,
    /// What came of the instances that changed.
    pub instances: Vec<GatewayInstanceApplied>,
    /// Peers that could not be served; every other peer up to the revision is.
    #[serde(default)]
    pub peers: Vec<GatewayPeerFailed>,
}

/// A peer that a gateway could not serve. The others go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayPeerFailed {
    /// Which.
    pub id: PeerId,
    /// The peer's revision that was tried.
    pub revision: i64,
    /// Why.
    pub error: String,
}

/// What came of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayInstanceApplied {
    /// Which.
    pub id: InstanceId,
    /// The instance's revision that was tried.
    pub revision: i64,
    /// The device that key and port are of.
    #[serde(default, skip_serializing_if = "is_first")]
    pub device: u32,
    /// The public half of the key that the gateway made; missing if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// The port outside, as it really is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// Why it could not be served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What came of the devices beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<GatewayDeviceApplied>,
}

/// What came of a further device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayDeviceApplied {
    /// Which.
    pub device: u32,
    /// The public half of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// The port outside, once it listens there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A gateway's report, numbered; sent again after a lost reply it is taken once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayReport {
    /// Chosen anew whenever the gateway lost its count.
    pub epoch: String,
    /// Grows by one with each report.
    pub number: i64,
    /// Seconds since 1970 by the gateway's clock.
    pub at: i64,
    /// Peers; at most 500, the rest in the next report.
    pub peers: Vec<PeerTraffic>,
}

/// What WireGuard knows of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct PeerTraffic {
    /// Which.
    pub peer: PeerId,
    /// The peer's revision that the device has.
    pub revision: i64,
    /// When the last handshake was, by the gateway's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_at: Option<i64>,
    /// Since when handshakes follow each other without a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<i64>,
    /// Where it was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub endpoint: Option<SocketAddr>,
    /// Bytes received from it, ever: never falls, through restarts and counter resets.
    pub rx_bytes: u64,
    /// Bytes sent to it, ever: never falls.
    pub tx_bytes: u64,
}
