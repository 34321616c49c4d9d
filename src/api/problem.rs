//! Errors as the hub tells them: problem details, RFC 9457.

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `about:blank`: the code says which problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly is wrong, naming the thing and the place. Never a secret.
    pub detail: String,
    /// One of [`code`]: stable, for programs.
    pub code: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field of the request that is meant, such as `subnets[2]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Stable codes of problems.
pub mod code {
    /// The request is no valid JSON, misses a field or has one too many.
    pub const MALFORMED: &str = "malformed";
    /// A value is not allowed.
    pub const INVALID: &str = "invalid";
    /// No credential, or one that is not known.
    pub const UNAUTHENTICATED: &str = "unauthenticated";
    /// The token's role does not allow it.
    pub const FORBIDDEN: &str = "forbidden";
    /// There is no such thing, or it is not yours: nobody can tell which.
    pub const NOT_FOUND: &str = "not-found";
    /// The path exists, the method does not.
    pub const METHOD: &str = "method-not-allowed";
    /// A name is taken.
    pub const NAME_TAKEN: &str = "name-taken";
    /// A hostname is taken.
    pub const HOSTNAME_TAKEN: &str = "hostname-taken";
    /// A hostname is reserved.
    pub const HOSTNAME_RESERVED: &str = "hostname-reserved";
    /// A listen port is taken on the gateway.
    pub const PORT_TAKEN: &str = "port-taken";
    /// Two enabled peers would have the same subnet, or one would meet the tunnel's own.
    pub const OVERLAP: &str = "overlap";
    /// A prefix is broad and `allow_broad` was not said.
    pub const BROAD: &str = "broad-prefix";
    /// A tunnel address is taken.
    pub const ADDRESS_TAKEN: &str = "address-taken";
    /// A public key is taken.
    pub const KEY_TAKEN: &str = "key-taken";
    /// The tunnel subnet has no free address.
    pub const POOL_FULL: &str = "pool-full";
    /// The account, the instance or the list has its most.
    pub const LIMIT: &str = "limit-reached";
    /// The protocol is not served yet.
    pub const PROTOCOL: &str = "protocol-unsupported";
    /// The thing's state does not allow it (retry of an active instance, say).
    pub const STATE: &str = "wrong-state";
    /// The thing is still in use (an account with instances, a site with peers).
    pub const IN_USE: &str = "in-use";
    /// `If-Match` names another version.
    pub const CHANGED: &str = "changed-meanwhile";
    /// The idempotency key was used for another request.
    pub const KEY_REUSED: &str = "idempotency-key-reused";
    /// The agent's peer was deleted: nothing is to be on the router any more (`sitepeer remove`).
    pub const REMOVED: &str = "removed";
    /// A gateway token is used by another host, region or name than the one it was pinned to.
    pub const TOKEN_PINNED: &str = "token-pinned";
    /// The enrolment token was used up.
    pub const TOKEN_SPENT: &str = "token-spent";
    /// The enrolment token is past its time.
    pub const TOKEN_EXPIRED: &str = "token-expired";
    /// The token or credential was revoked.
    pub const TOKEN_REVOKED: &str = "token-revoked";
    /// Too many tries.
    pub const RATE_LIMITED: &str = "rate-limited";
    /// The site's lease has ended, or is another proxy's: what is said with it counts no more.
    pub const LEASE_ENDED: &str = "lease-ended";
    /// The site's router has a driver already: its own agent, or the proxies of a group.
    pub const DRIVEN: &str = "driven-already";
    /// The body is too large.
    pub const TOO_LARGE: &str = "too-large";
    /// The request took too long to arrive.
    pub const TIMEOUT: &str = "timeout";
    /// The hub's store does not answer.
    pub const UNAVAILABLE: &str = "unavailable";
    /// A fault of the hub.
    pub const INTERNAL: &str = "internal";
}
