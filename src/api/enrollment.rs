//! Enrolment tokens.

use serde::{Deserialize, Serialize};

use super::token::secret;
use super::{AccountId, EnrollmentId, PeerId};
use crate::domain::Secret;

/// Whom a token enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum EnrollmentKind {
    /// The agent of a site peer.
    Site,
    /// A client that makes its own key.
    Client,
}

/// Whether a token can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum EnrollmentState {
    /// It can.
    Open,
    /// All its uses are used.
    Spent,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// An enrolment token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Enrollment {
    /// Never changes.
    pub id: EnrollmentId,
    /// Whose it is.
    pub account: AccountId,
    /// Whom it enrols.
    pub kind: EnrollmentKind,
    /// The peer it binds.
    pub peer: PeerId,
    /// Whether it can still be used.
    pub state: EnrollmentState,
    /// How often it may be used.
    pub uses: u32,
    /// How often it was.
    pub used: u32,
    /// When it was made.
    pub created_at: i64,
    /// When its time is over.
    pub expires_at: i64,
}

/// An enrolment token to be made, for a site peer or a client peer that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NewEnrollment {
    /// The peer it binds; its kind decides what the token is for.
    pub peer: PeerId,
    /// Time to live in seconds; a day if it is missing, at most 90 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 1, maximum = 7_776_000))]
    pub ttl_secs: Option<u32>,
    /// How often it may be used; once if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(minimum = 1, maximum = 1000))]
    pub uses: Option<u32>,
}

/// A token that was just made, with its secret: the only time it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct EnrollmentMade {
    /// The token.
    #[serde(flatten)]
    pub enrollment: Enrollment,
    /// What the device sends.
    #[serde(with = "secret")]
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub token: Secret,
}
