//! Enrolment, and what hub and agent say to each other.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::peer::optional_secret;
use super::token::secret;
use super::{AgentEvent, EnrollmentKind, HealthFinding, HealthSample, InstanceId, PeerId, SiteSubnet, TunnelState};
use crate::domain::{Endpoint, InstanceName, PublicKey, Secret, SiteId, SubnetSet};

/// What a router says of itself: information, never proof of who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct DeviceFacts {
    /// `/system/identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// `board-name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// RouterOS version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `serial-number`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Seconds since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_secs: Option<u64>,
    /// Networks it is directly in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<SiteSubnet>,
}

/// A device that wants to belong here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct EnrollRequest {
    /// The enrolment token.
    #[serde(with = "secret")]
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub token: Secret,
    /// Random, made once by the device and kept until it is enrolled, 16 to 64 characters. The same token with the same value is
    /// the same device again, whose reply was lost: it costs no use, and replaces the credential made before.
    pub device_nonce: String,
    /// What it is.
    #[serde(default)]
    pub device: DeviceFacts,
    /// A client's public key; a site's comes later, from its router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
}

/// What an enrolled device gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct EnrollReply {
    /// What it was enrolled as.
    pub kind: EnrollmentKind,
    /// Its peer.
    pub peer: PeerId,
    /// Its instance.
    pub instance: InstanceId,
    /// The instance's name.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub instance_name: InstanceName,
    /// The interface to make on the router.
    pub interface: String,
    /// Its UDP port; missing, the router chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// An agent's own credential, what goes behind `Authorization: Bearer`; shown this once. Clients get none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_secret")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub credential: Option<Secret>,
    /// A client's profile, with the placeholder for its private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What is to be on the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AgentDesired {
    /// Grows whenever anything below changes.
    pub revision: i64,
    /// The peer; its id marks the rows.
    pub peer: PeerId,
    /// Whether the peer may connect. A disabled one keeps its rows; nothing answers it.
    pub enabled: bool,
    /// The public key that the hub has for this router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// The site config, once the instance has a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<SiteConfig>,
    /// Why there is no config yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Until when, in seconds since 1970, nothing is to be changed on the router: somebody works there. The revision grows when a
    /// freeze begins, and again when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_until: Option<i64>,
    /// For how much longer, in seconds from this answer: what an agent goes by, whose clock may be wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_for_secs: Option<u64>,
    /// Whether the hub hears from the instance's gateway, at the moment of this answer: no change of it is a new revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_online: Option<bool>,
}

/// A site config, as in the file of `--site`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteConfig {
    /// Marks the rows: the peer's id.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub id: SiteId,
    /// The instance's name.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub instance: InstanceName,
    /// The router's end.
    pub tunnel: TunnelEnd,
    /// The other end.
    pub hub: HubEnd,
    /// What the site offers.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub advertise: SubnetSet,
    /// What it may reach.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub reach: SubnetSet,
    /// Which tunnel in a row this is: the first is 0. The key on the router, and often the hub's, differ from one to the next.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u32,
    /// The tunnel that is to take over from this one: made beside it, told of in [`AgentApplied::next`], and used once it is proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextTunnel>,
}

/// Whether a generation is the first, which need not be said.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(generation: &u32) -> bool {
    *generation == 0
}

/// A tunnel beside the one in use, with the same addresses, `advertise` and `reach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NextTunnel {
    /// Larger than the generation in use.
    pub generation: u32,
    /// The other end. Its key and endpoints differ from the present ones: one WireGuard interface cannot hold the same prefixes twice.
    pub hub: HubEnd,
    /// UDP port of the router's end; missing lets the router choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
}

/// The router's end of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct TunnelEnd {
    /// With the length of the tunnel's network.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpNet>,
    /// Bytes; missing leaves RouterOS's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// UDP port; missing lets the router choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// Addresses that must answer through the tunnel.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub probe: Vec<IpAddr>,
}

/// The gateway, as a WireGuard peer of the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct HubEnd {
    /// Its key.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub public_key: PublicKey,
    /// Where it is reached; the first is used.
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub endpoints: Vec<Endpoint>,
    /// Seconds; 0 is none.
    pub keepalive_secs: u16,
}

/// What an agent did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AgentApplied {
    /// The revision that is on the router now.
    pub revision: i64,
    /// The key of the router's end: the router made it, and keeps the private half.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub public_key: PublicKey,
    /// What the router is.
    #[serde(default)]
    pub device: DeviceFacts,
    /// The tunnel beside it, once the router has one: [`SiteConfig::next`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<AppliedNext>,
}

/// A tunnel that is about to take over, as it is on the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AppliedNext {
    /// Which.
    pub generation: u32,
    /// The key of the router's end, made for this tunnel.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub public_key: PublicKey,
    /// What goes to the hub goes through it already. What comes from there is taken from either.
    pub in_use: bool,
}

/// Reports of an agent, oldest first. Sent again after a lost reply they are taken once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AgentReports {
    /// Chosen anew whenever the agent lost its count; numbers begin again with it. 1 to 64 characters.
    pub epoch: String,
    /// At most 500.
    pub reports: Vec<AgentReport>,
    /// Reports that the agent had to drop since the last batch.
    #[serde(default)]
    pub dropped: u64,
    /// When the batch is sent, by the agent's clock: what the hub makes of each report's time is how long before this it was. Missing,
    /// the newest report is taken for new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<i64>,
}

/// One report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AgentReport {
    /// Grows by one.
    pub number: i64,
    /// When it was made, by the agent's clock.
    pub at: i64,
    /// How the tunnel is, seen from the router.
    pub tunnel: TunnelHealth,
    /// The same as a state; missing from agents that do not watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TunnelState>,
    /// What is the matter, causes only. At most [`super::MAX_FINDINGS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<HealthFinding>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<HealthSample>,
    /// What was done, or was found done. At most [`super::MAX_EVENTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<AgentEvent>,
}

impl AgentReport {
    /// Makes a report that says no more than how the tunnel is.
    #[must_use]
    pub fn new(number: i64, at: i64, tunnel: TunnelHealth) -> Self {
        Self { number, at, tunnel, state: None, findings: Vec::new(), sample: None, events: Vec::new() }
    }
}

/// A tunnel seen from the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct TunnelHealth {
    /// In a word: `proven`, `unproven`, `unknown`, with the code of the first cause behind a colon.
    pub verdict: String,
    /// Seconds since the last handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_secs: Option<u64>,
    /// Round trip through the tunnel in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
}

/// What the hub has of somebody's reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct ReportsTaken {
    /// Everything up to this number is stored.
    pub number: i64,
    /// Whether the hub hears from the instance's gateway; told where a report speaks of a tunnel that is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_online: Option<bool>,
}
