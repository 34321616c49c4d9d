//! Sites.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AccountId, DeviceFacts, Freeze, ProxyAssignment, SiteId, SiteLease};

/// A place with a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Site {
    /// Never changes.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub id: SiteId,
    /// Whose it is.
    pub account: AccountId,
    /// Unique in its account.
    pub name: String,
    /// What its agent last said of the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceFacts>,
    /// When it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_at: Option<i64>,
    /// Other sites of the account whose routers claim the same serial number: one of them is copied, moved or lying.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "hub", schema(value_type = Vec<String>))]
    pub same_serial: Vec<SiteId>,
    /// Whether agents hold hands off, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
    /// Which proxies drive its router, if any do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyAssignment>,
    /// Which of them has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<SiteLease>,
    /// When it was made.
    pub created_at: i64,
    /// Grows with every edit; the ETag.
    pub version: i64,
}

/// A site to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NewSite {
    /// 1 to 64 characters.
    pub name: String,
    /// Whose it is to be: for administrators only; others make their own account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
}

/// What to change of a site; what is missing stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A network that the router is directly in: what it could advertise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteSubnet {
    /// The network.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub subnet: IpNet,
    /// The router's interface to it.
    pub interface: String,
    /// Peers of the site that advertise it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advertised_by: Vec<super::PeerId>,
}

/// What a site could advertise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteSubnets {
    /// The networks.
    pub subnets: Vec<SiteSubnet>,
    /// When the agent said so; missing if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}
