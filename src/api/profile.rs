//! Client profiles.

use serde::{Deserialize, Serialize};

/// Stands where the client's own private key belongs: the hub never has it.
pub const PRIVATE_KEY_PLACEHOLDER: &str = "[YOUR_PRIVATE_KEY]";

/// How a profile is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum ProfileFormat {
    /// A `.conf` for `wg-quick` and the WireGuard apps.
    #[default]
    Conf,
    /// The same as a QR code: SVG, or PNG with `image=png`.
    Qr,
}
