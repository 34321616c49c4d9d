//! Instances.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AccountId, GatewayId, InstanceDevice, InstanceId};
use crate::domain::{Endpoint, InstanceName, PublicKey, SubnetSet};

/// Hostnames that nobody gets: people would take them for something else.
pub const RESERVED_HOSTNAMES: &[&str] = &[
    "admin",
    "api",
    "app",
    "autoconfig",
    "autodiscover",
    "cdn",
    "console",
    "dns",
    "ftp",
    "gateway",
    "help",
    "hub",
    "imap",
    "localhost",
    "login",
    "mail",
    "mx",
    "ns",
    "ns1",
    "ns2",
    "pop",
    "root",
    "smtp",
    "ssl",
    "static",
    "status",
    "support",
    "test",
    "vpn",
    "web",
    "webmail",
    "wpad",
    "www",
];

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum InstanceStatus {
    /// A gateway is being found, or is at work.
    Deploying,
    /// A gateway serves it.
    Active,
    /// A gateway could not; see `reason`.
    Error,
    /// Switched off by its owner; everything is kept.
    Suspended,
}

/// Who may reach whom through an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Client peers reach each other.
    pub client_to_client: bool,
    /// Sites (and remote peers) reach each other.
    pub site_to_site: bool,
}

impl Default for Policy {
    /// Sites meet, clients do not: what an operator of branch offices expects.
    fn default() -> Self {
        Self { client_to_client: false, site_to_site: true }
    }
}

/// A step on the way to `active`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// Which.
    pub step: Step,
    /// Whether it is done.
    pub state: StepState,
    /// In words, such as `waiting for a gateway in region eu`.
    pub detail: String,
}

/// The steps, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum Step {
    /// A gateway of the region took it.
    Gateway,
    /// The gateway made interface and keys.
    Interface,
    /// The public endpoint is known.
    Endpoint,
}

/// Whether a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum StepState {
    /// It is.
    Done,
    /// Not yet.
    Waiting,
    /// It went wrong.
    Failed,
}

/// A VPN instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Instance {
    /// Never changes.
    pub id: InstanceId,
    /// Whose it is.
    pub account: AccountId,
    /// The account's name.
    pub account_name: String,
    /// Unique in its account.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub name: InstanceName,
    /// Its public label, unique on this hub.
    pub hostname: String,
    /// Where its gateway stands.
    pub region: String,
    /// Where it stands.
    pub status: InstanceStatus,
    /// Why it is `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The steps to `active`.
    pub readiness: Vec<Readiness>,
    /// The gateway that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// IPv4 network of the tunnel addresses; the gateway has its first host.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub tunnel_subnet: IpNet,
    /// IPv6 network of the tunnel addresses, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub tunnel_subnet6: Option<IpNet>,
    /// UDP port; chosen when a gateway took it, unless one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// DNS servers of client profiles.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub dns: Vec<IpAddr>,
    /// Search domains of client profiles.
    pub search: Vec<String>,
    /// Prefixes that every peer is told to reach here, beside what sites advertise.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub pushed_routes: SubnetSet,
    /// Who may reach whom.
    pub policy: Policy,
    /// Where peers connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub endpoint: Option<Endpoint>,
    /// The gateway's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// Since when it has that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_at: Option<i64>,
    /// The number of the gateway's device that has this key and port: new peers get it.
    #[serde(default)]
    pub device: u32,
    /// Further devices. In lists there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<InstanceDevice>,
    /// Since when its site peers follow to another key of the gateway, while some have not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotating_since: Option<i64>,
    /// Routers get another key when theirs is older than so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_keys_days: Option<u32>,
    /// What sites may reach as it was last told to them: tunnel subnets, pushed routes and advertised subnets, merged.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub reach: SubnetSet,
    /// Peers it has, enabled or not.
    pub peers: u64,
    /// Peers that are connected.
    pub connected: u64,
    /// Traffic of the current period.
    pub usage: Usage,
    /// When it was made.
    pub created_at: i64,
    /// Grows with every edit; the ETag.
    pub version: i64,
}

impl Instance {
    /// Where peers on a device connect to, and the key there.
    #[must_use]
    pub fn end_of(&self, device: u32) -> Option<(PublicKey, Endpoint)> {
        let endpoint = self.endpoint.as_ref()?;
        if device == self.device {
            return Some((self.public_key?, endpoint.clone()));
        }
        let other = self.devices.iter().find(|other| other.device == device)?;
        Some((other.public_key?, Endpoint { host: endpoint.host.clone(), port: other.listen_port }))
    }
}

/// Traffic in a period, seen from the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Usage {
    /// The month, such as `2026-11`, UTC.
    pub period: String,
    /// Bytes received from peers.
    pub rx_bytes: u64,
    /// Bytes sent to peers.
    pub tx_bytes: u64,
}

/// An instance to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NewInstance {
    /// A DNS label of 1 to 20 characters, unique in its account.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub name: InstanceName,
    /// 3 to 20 characters, DNS-safe, not reserved, unique on this hub. The name if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// A region that a gateway serves, or will.
    pub region: String,
    /// Whose it is to be: for administrators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// 10.99.0.0/24 if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub tunnel_subnet: Option<IpNet>,
    /// No IPv6 in the tunnel if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub tunnel_subnet6: Option<IpNet>,
    /// 51820, or the next port that is free on the gateway, if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 1, maximum = 65535))]
    pub listen_port: Option<u16>,
    /// DNS servers of client profiles.
    #[serde(default)]
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub dns: Vec<IpAddr>,
    /// Search domains of client profiles.
    #[serde(default)]
    pub search: Vec<String>,
    /// Prefixes that every peer is told to reach here.
    #[serde(default)]
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub pushed_routes: Vec<IpNet>,
    /// Who may reach whom.
    #[serde(default)]
    pub policy: Policy,
    /// Routers get another key when theirs is older than so many days; never if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 1, maximum = 3650))]
    pub rotate_keys_days: Option<u32>,
    /// Allows prefixes shorter than /8 among `pushed_routes`.
    #[serde(default)]
    pub allow_broad: bool,
}

/// What to change of an instance; what is missing stays. Region, tunnel subnets and keys never change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct InstanceEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub name: Option<InstanceName>,
    /// The new hostname: profiles handed out before stop working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The new port. Once peers have tunnels, it is served beside the one before, with another key: sites move to it without an
    /// outage, clients with their next profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 1, maximum = 65535))]
    pub listen_port: Option<u16>,
    /// DNS servers of client profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub dns: Option<Vec<IpAddr>>,
    /// Search domains of client profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Vec<String>>,
    /// Prefixes that every peer is told to reach here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<Vec<String>>))]
    pub pushed_routes: Option<Vec<IpNet>>,
    /// Who may reach whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Routers get another key when theirs is older than so many days; 0 is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 0, maximum = 3650))]
    pub rotate_keys_days: Option<u32>,
    /// Allows prefixes shorter than /8 among `pushed_routes`.
    #[serde(default)]
    pub allow_broad: bool,
}
