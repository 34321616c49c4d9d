//! Tokens of people, programs and gateways.

use serde::{Deserialize, Serialize};

use super::{AccountId, TokenId};
use crate::domain::Secret;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum Role {
    /// Reads what belongs to its account.
    Viewer,
    /// Reads and changes what belongs to its account.
    Operator,
    /// Everything, of all accounts.
    Admin,
    /// Is a gateway; of no account.
    Gateway,
    /// Is a proxy: drives the routers of its account's sites.
    Proxy,
}

/// A token, without its secret: that is shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Token {
    /// Never changes.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whose it is; none for admin and gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The region of a gateway's token, the group of a proxy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When it was made.
    pub created_at: i64,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// When it was last used, to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<i64>,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// 1 to 64 characters.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whose it is; needed for operator and viewer, not allowed for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The only region that a gateway with this token serves, or the only group whose sites a proxy with it drives; needed for the
    /// role gateway, allowed for the role proxy, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Time to live in seconds; without it, it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 1, maximum = 315_360_000))]
    pub ttl_secs: Option<u32>,
}

/// A token that was just made, with its secret: the only time it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct TokenMade {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What goes behind `Authorization: Bearer`.
    #[serde(with = "secret")]
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub secret: Secret,
}

/// Who a credential stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct WhoAmI {
    /// The token's name, or `agent <peer>`.
    pub name: String,
    /// The role of a token; none for an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
}

/// A secret in JSON: on purpose, in the few replies and requests that carry one.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}
