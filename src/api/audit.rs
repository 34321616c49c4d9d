//! The audit log.

use serde::{Deserialize, Serialize};

use super::AccountId;

/// One change: who did what to what, and what it was before and after. Secrets are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Grows.
    pub number: i64,
    /// When.
    pub at: i64,
    /// `token k3f9q2x7 (laptop)`, `agent …`, `gateway …`, `hub`.
    pub who: String,
    /// Such as `peer.edit`, `instance.delete`, `enrollment.use`.
    pub action: String,
    /// Such as `peer k3f9q2x7 (branch-12)`.
    pub object: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The fields before, where there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// The fields after, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}
