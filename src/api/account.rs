//! Accounts.

use serde::{Deserialize, Serialize};

use super::AccountId;

/// Most instances of an account if nothing else was said.
pub const DEFAULT_MAX_INSTANCES: u32 = 5;

/// What instances, sites and peers belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Account {
    /// Never changes.
    pub id: AccountId,
    /// Unique.
    pub name: String,
    /// Most instances; 0 is no limit.
    pub max_instances: u32,
    /// Instances it has.
    pub instances: u32,
    /// When it was made.
    pub created_at: i64,
    /// Grows with every edit; the ETag.
    pub version: i64,
}

/// An account to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NewAccount {
    /// 1 to 64 characters.
    pub name: String,
    /// Most instances; 0 is no limit, 5 if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
}

/// What to change of an account; what is missing stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AccountEdit {
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Most instances; 0 is no limit. Lowering it removes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
}
