//! How a site is, seen from both ends: what the hub makes of its gateway's and the agent's words.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{HealthFinding, HealthSample, InstanceId, PeerId, SiteId, TunnelState};

/// Longest freeze, in seconds: a week. Whoever needs longer says so again.
pub const MAX_FREEZE_SECS: u64 = 7 * 24 * 3600;
/// Longest reason of a freeze, in characters.
pub const MAX_FREEZE_REASON: usize = 200;

/// A time in which no agent changes anything on the site's routers: somebody works there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Freeze {
    /// When it ends by itself.
    pub until: i64,
    /// When it began, or was last renewed.
    pub since: i64,
    /// Why.
    pub reason: String,
    /// Who asked for it, as in the audit log.
    pub by: String,
}

/// A freeze to begin now; one that holds already is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct NewFreeze {
    /// How long, in seconds: 1 to [`MAX_FREEZE_SECS`].
    pub for_secs: u64,
    /// Why: for those who wonder. At most [`MAX_FREEZE_REASON`] characters.
    #[serde(default)]
    pub reason: String,
}

/// What both ends come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SiteVerdict {
    /// The tunnel carries nothing.
    Down,
    /// The ends contradict each other; a finding says how.
    Disputed,
    /// It carries traffic, but not all of it as it should.
    Degraded,
    /// The agent is silent, or does not see its router; the gateway sees the tunnel alive.
    AgentAway,
    /// It carries traffic, and nothing speaks against it.
    Up,
    /// It is switched off at the hub: nothing is expected of it.
    Disabled,
    /// Neither end says enough; or a word of a newer hub.
    #[serde(other)]
    Unknown,
}

impl SiteVerdict {
    /// The gravest of several; unknown where there are none.
    #[must_use]
    pub fn gravest(verdicts: impl IntoIterator<Item = Self>) -> Self {
        const ORDER: [SiteVerdict; 7] = [
            SiteVerdict::Down,
            SiteVerdict::Disputed,
            SiteVerdict::Degraded,
            SiteVerdict::AgentAway,
            SiteVerdict::Unknown,
            SiteVerdict::Up,
            SiteVerdict::Disabled,
        ];
        let place = |verdict: &Self| ORDER.iter().position(|known| known == verdict);
        verdicts.into_iter().min_by_key(place).unwrap_or(Self::Unknown)
    }
}

/// How a site is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteHealth {
    /// Which.
    #[cfg_attr(feature = "hub", schema(value_type = String))]
    pub site: SiteId,
    /// For people.
    pub name: String,
    /// The gravest of its peers'.
    pub verdict: SiteVerdict,
    /// Whether agents hold hands off, and until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Freeze>,
    /// Its peers, in the order of ids.
    pub peers: Vec<PeerHealth>,
    /// The last changes of state, newest first; `/v1/sites/{id}/transitions` has them all.
    pub transitions: Vec<Transition>,
}

/// How a site peer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct PeerHealth {
    /// Which.
    pub peer: PeerId,
    /// For people.
    pub name: String,
    /// Its instance.
    pub instance: InstanceId,
    /// For people.
    pub instance_name: String,
    /// What both ends come to.
    pub verdict: SiteVerdict,
    /// What the hub found by holding the ends against each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<HealthFinding>,
    /// The hub's end.
    pub gateway: GatewayEnd,
    /// The router's end; missing until its agent first reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentEnd>,
    /// Of the month that was asked for.
    pub availability: Availability,
}

/// The hub's end of a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct GatewayEnd {
    /// Whether the peer may connect, and its instance is not suspended.
    pub enabled: bool,
    /// Whether the gateway was heard within the last minute.
    pub online: bool,
    /// When the gateway last spoke of this peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<i64>,
    /// Seconds since the last handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_secs: Option<u64>,
    /// Where the router was last heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub endpoint: Option<SocketAddr>,
    /// Bytes received from the router.
    pub rx_bytes: u64,
    /// Bytes sent to the router.
    pub tx_bytes: u64,
}

/// The router's end of a tunnel, as its agent said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AgentEnd {
    /// The last state; `stale` if the agent is silent.
    pub state: TunnelState,
    /// Since when, by the hub's clock.
    pub since: i64,
    /// When the agent last reported, by the hub's clock.
    pub heard_at: i64,
    /// What is the matter, as the agent said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<HealthFinding>,
    /// What was last measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<HealthSample>,
    /// Reports that the agent had to drop, ever.
    pub dropped: u64,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Transition {
    /// Grows.
    pub number: i64,
    /// The peer whose tunnel it was.
    pub peer: PeerId,
    /// When, by the hub's clock.
    pub at: i64,
    /// The state before.
    pub was: TunnelState,
    /// The state from then on.
    pub state: TunnelState,
    /// The code of the gravest finding then; `agent-silent` where the hub itself marked it stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// How a month went, in seconds. Time that nobody watched is not counted as up, and is told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct Availability {
    /// Such as `2026-11`, UTC.
    pub month: String,
    /// It carried traffic, and nothing spoke against it.
    pub up_secs: u64,
    /// It carried traffic, but not all of it as it should.
    pub degraded_secs: u64,
    /// It carried nothing.
    pub down_secs: u64,
    /// It was switched off.
    pub disabled_secs: u64,
    /// Nobody watched: the agent was silent, or did not see its router.
    pub unknown_secs: u64,
    /// Of the known time (up, degraded, down) the part in up or degraded, in millionths; missing where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_ppm: Option<u32>,
}

/// An hour of a tunnel. Raw points are kept for a day, the rest for 13 months.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct HealthHour {
    /// The peer whose tunnel it was.
    pub peer: PeerId,
    /// Its first second.
    pub at: i64,
    /// Seconds in `up`.
    pub up_secs: u64,
    /// Seconds in `degraded`.
    pub degraded_secs: u64,
    /// Seconds in `down`.
    pub down_secs: u64,
    /// Seconds in `disabled`.
    pub disabled_secs: u64,
    /// Pings that were not answered, in percent: mean of the reports; missing where none was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<u8>,
    /// The worst report's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent_max: Option<u8>,
    /// Round-trip times of those that were: shortest, mean of the reports' means, longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<super::RoundTrip>,
    /// Bytes the router received through the tunnel.
    pub rx_bytes: u64,
    /// Bytes the router sent into the tunnel.
    pub tx_bytes: u64,
    /// Each report, oldest first, as long as it is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<HealthPoint>,
}

/// One report of an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct HealthPoint {
    /// When, by the hub's clock.
    pub at: i64,
    /// The state it told.
    pub state: TunnelState,
    /// Pings that were not answered, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<u8>,
    /// Mean round-trip time in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Seconds since the last handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake_age_secs: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_as_bad_as_its_gravest_tunnel_and_unknown_without_any() {
        use SiteVerdict::{AgentAway, Disabled, Down, Unknown, Up};
        assert_eq!(SiteVerdict::gravest([Up, Down, Unknown]), Down);
        assert_eq!(SiteVerdict::gravest([Disabled, Up]), Up);
        assert_eq!(SiteVerdict::gravest([Up, AgentAway]), AgentAway);
        assert_eq!(SiteVerdict::gravest([]), Unknown);
        assert_eq!(serde_json::from_str::<SiteVerdict>("\"dreaming\"").unwrap(), Unknown);
    }
}
