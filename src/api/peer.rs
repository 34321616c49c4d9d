//! Peers: sites, clients, and remote networks that we do not manage.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::token::secret;
use super::{AccountId, InstanceId, PeerId, PeerMove, SiteId, Usage};
use crate::domain::{Endpoint, PublicKey, Secret, SubnetSet};

/// How a peer connects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum Protocol {
    /// WireGuard.
    #[default]
    Wireguard,
    /// OpenVPN: known, not served yet, and refused with the code `protocol-unsupported`.
    Openvpn,
}

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum PeerKind {
    /// A MikroTik router and the subnets behind it.
    Site,
    /// A person's device.
    Client,
    /// A network whose router we do not manage.
    Remote,
}

/// A peer in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum PeerStatus {
    /// Switched off; its configuration is kept.
    Disabled,
    /// No public key yet: not enrolled, or the client has not made its key.
    Waiting,
    /// A handshake within three minutes.
    Connected,
    /// None within three minutes, though the gateway reports.
    Offline,
    /// The gateway has not reported for a while: nobody knows.
    Unknown,
}

/// A peer of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Peer {
    /// Never changes. Marks a site peer's rows on the router.
    pub id: PeerId,
    /// Its instance.
    pub instance: InstanceId,
    /// The instance's name.
    pub instance_name: String,
    /// Whose it is.
    pub account: AccountId,
    /// What it is.
    pub kind: PeerKind,
    /// Unique in its instance.
    pub name: String,
    /// How it connects.
    pub protocol: Protocol,
    /// Whether it may connect.
    pub enabled: bool,
    /// In a word.
    pub status: PeerStatus,
    /// The site of a site peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub site: Option<SiteId>,
    /// The user of a client peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its public key, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// Since when it has that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_at: Option<i64>,
    /// The gateway's device that it is on.
    #[serde(default)]
    pub device: u32,
    /// Which tunnel in a row this is, of a site peer: each has keys of its own.
    #[serde(default)]
    pub generation: u32,
    /// The tunnel that is to take over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<PeerMove>,
    /// Its addresses in the tunnel.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// What a site advertises, or lies behind a remote peer.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub subnets: SubnetSet,
    /// What a site may reach if it is not what the instance offers to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub reach: Option<SubnetSet>,
    /// A client's whole traffic goes through the tunnel.
    pub route_all: bool,
    /// DNS servers of a client, instead of the instance's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub dns: Option<Vec<IpAddr>>,
    /// Seconds; none is sent for 0.
    pub keepalive_secs: u16,
    /// Where a remote peer is reached, if the gateway is to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub remote_endpoint: Option<Endpoint>,
    /// Whether a preshared key is set; it is never shown.
    pub preshared_key: bool,
    /// What is known of its tunnel.
    pub link: Link,
    /// Traffic of the current period.
    pub usage: Usage,
    /// When it was made.
    pub created_at: i64,
    /// Grows with every edit; the ETag.
    pub version: i64,
}

/// What is known of a peer's tunnel. What was not measured is missing, never good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Link {
    /// When the gateway saw the last handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_at: Option<i64>,
    /// How long ago that is, in seconds, by the hub's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_secs: Option<u64>,
    /// Where the gateway last heard it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub endpoint: Option<SocketAddr>,
    /// Since when handshakes follow each other without a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<i64>,
    /// Bytes received from it, ever.
    pub rx_bytes: u64,
    /// Bytes sent to it, ever.
    pub tx_bytes: u64,
    /// When the gateway last reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<i64>,
    /// The revision that is wanted on the router.
    pub revision: i64,
    /// The revision that the router has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_revision: Option<i64>,
    /// The revision that is wanted at the gateway.
    pub gateway_wanted: i64,
    /// The revision that the gateway has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_revision: Option<i64>,
    /// Why the gateway could not serve it, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_error: Option<String>,
    /// What the agent last said of the tunnel, in a word (`proven`, `unproven`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_says: Option<String>,
    /// When it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_at: Option<i64>,
}

/// A peer to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum NewPeer {
    /// A site peer: its router's key comes with the enrolment.
    Site {
        /// Its site.
        #[cfg_attr(feature = "hub", schema(value_type = String))]
        site: SiteId,
        /// The site's name if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// How it connects.
        #[serde(default)]
        protocol: Protocol,
        /// What it advertises.
        #[serde(default)]
        #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
        subnets: Vec<IpNet>,
        /// What it may reach instead of what the instance offers to all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
        reach: Option<Vec<IpNet>>,
        /// A tunnel address of its own choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
        address: Option<IpAddr>,
        /// 25 if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keepalive_secs: Option<u16>,
        /// Allows prefixes shorter than /8.
        #[serde(default)]
        allow_broad: bool,
    },
    /// A client peer.
    Client {
        /// Whose device.
        user: String,
        /// The user if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// How it connects.
        #[serde(default)]
        protocol: Protocol,
        /// Full tunnel instead of split.
        #[serde(default)]
        route_all: bool,
        /// The client's own key; missing, it waits for `sitepeer client-key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
        public_key: Option<PublicKey>,
        /// DNS servers instead of the instance's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
        dns: Option<Vec<IpAddr>>,
        /// 25 if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keepalive_secs: Option<u16>,
        /// A tunnel address of its own choice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
        address: Option<IpAddr>,
    },
    /// A remote peer.
    Remote {
        /// Unique in its instance.
        name: String,
        /// How it connects.
        #[serde(default)]
        protocol: Protocol,
        /// Its key.
        #[cfg_attr(feature = "hub", schema(value_type = String))]
        public_key: PublicKey,
        /// Where to call it; missing, it calls.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
        endpoint: Option<Endpoint>,
        /// What lies behind it.
        #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
        allowed_ips: Vec<IpNet>,
        /// A preshared key: sent, never shown again.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_secret")]
        #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
        preshared_key: Option<Secret>,
        /// 25 if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keepalive_secs: Option<u16>,
        /// Allows prefixes shorter than /8.
        #[serde(default)]
        allow_broad: bool,
    },
}

/// What to change of a peer; what is missing stays. A field that its kind does not have is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct PeerEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Switches it on or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What a site advertises, or lies behind a remote peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub subnets: Option<Vec<IpNet>>,
    /// What a site may reach; an empty list goes back to what the instance offers to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub reach: Option<Vec<IpNet>>,
    /// Full tunnel of a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_all: Option<bool>,
    /// The user of a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The key of a client or remote peer. A site's comes from its router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// DNS servers of a client; an empty list goes back to the instance's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub dns: Option<Vec<IpAddr>>,
    /// Seconds; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive_secs: Option<u16>,
    /// A tunnel address of its own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
    /// Where a remote peer is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub endpoint: Option<Endpoint>,
    /// A remote peer's preshared key; an empty text removes it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_secret")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub preshared_key: Option<Secret>,
    /// Allows prefixes shorter than /8.
    #[serde(default)]
    pub allow_broad: bool,
}

/// A secret that may be missing.
pub(super) mod optional_secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Secret;

    #[expect(clippy::ref_option, reason = "serde hands it so")]
    pub fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => super::secret::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
    }
}
