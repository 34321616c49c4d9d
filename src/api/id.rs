//! Short ids: made by the hub, never changed, never used again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Characters of an id: 32^8 ids, so that two meet by chance only in a store of a million.
pub const ID_LENGTH: usize = 8;
/// Longest id that is read; a later hub may make longer ones.
const MAX_ID: usize = 12;

/// Not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id has 4 to 12 characters of a-z and 0-9")]
pub struct InvalidId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "hub", derive(utoipa::ToSchema), schema(value_type = String, example = "k3f9q2x7", pattern = "^[a-z0-9]{4,12}$"))]
        pub struct $name(String);

        impl $name {
            /// Returns the id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let fits = (4..=MAX_ID).contains(&text.len());
                let fits = fits && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                if fits { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    )*};
}
ids!(
    /// An account: what belongs together, and sees nothing of the others.
    AccountId,
    /// A VPN instance.
    InstanceId,
    /// A peer of an instance. A site peer's id marks its rows on the router.
    PeerId,
    /// A token for people, programs or gateways.
    TokenId,
    /// An enrolment token.
    EnrollmentId,
    /// A gateway.
    GatewayId
);
