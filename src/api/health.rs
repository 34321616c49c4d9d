//! How a tunnel is, seen from the router: what agents report and the hub keeps.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Most findings in one report: there are not many more codes, and most silence others.
pub const MAX_FINDINGS: usize = 32;
/// Longest code of a finding, in characters.
pub const MAX_CODE: usize = 48;
/// Longest evidence or hint of a finding, in characters: a sentence or two.
pub const MAX_FINDING_TEXT: usize = 600;
/// Longest text of a router about itself, in characters.
pub const MAX_FACT: usize = 128;

/// The state of a tunnel, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// It carries traffic, and nothing speaks against it.
    Up,
    /// It carries traffic, but not all of it as it should.
    Degraded,
    /// It carries nothing.
    Down,
    /// It was known, but the router could not be looked at for a while.
    Stale,
    /// The peer is switched off at the hub: nothing is expected of it.
    Disabled,
    /// Not measured yet; or a word of a newer agent.
    #[serde(other)]
    Unknown,
}

impl TunnelState {
    /// The word that stands in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stale => "stale",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

/// What a finding means for the tunnel, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// No traffic passes while this holds.
    Critical,
    /// Part of the traffic suffers, or will.
    Warning,
    /// A person may want to know; also a word of a newer agent.
    #[serde(other)]
    Info,
}

/// Something that is the matter, with what shows it and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct HealthFinding {
    /// Stable word for machines, such as `no-udp-egress`.
    pub code: String,
    /// What it means for the tunnel.
    pub severity: Severity,
    /// When it was first seen, by the agent's clock.
    pub since: i64,
    /// What was seen.
    pub evidence: String,
    /// The next step, with the RouterOS command where there is one.
    pub hint: String,
}

/// Round-trip times through the tunnel in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct RoundTrip {
    /// Shortest.
    pub min: u64,
    /// Mean.
    pub avg: u64,
    /// Longest.
    pub max: u64,
}

/// What was measured; a field that is missing was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct HealthSample {
    /// Seconds since the last handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_age_secs: Option<u64>,
    /// Bytes received through the tunnel, as the router counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rx_bytes: Option<u64>,
    /// Bytes sent into the tunnel, as the router counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tx_bytes: Option<u64>,
    /// Pings through the tunnel to the hub that were not answered, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<u8>,
    /// Round-trip times of those that were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<RoundTrip>,
    /// Where the router sends the tunnel's packets: address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Longest packet that passed the tunnel whole, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The router's clock less the agent's, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_secs: Option<i64>,
    /// The router's processor load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u8>,
    /// The router's free memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    /// The router's temperature in degrees Celsius, where it has a sensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<i16>,
    /// Seconds since the router started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_secs: Option<u64>,
    /// RouterOS version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The router's own address on the interface of its default route.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub wan: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_newer_agent_is_unknown_and_no_error() {
        assert_eq!(serde_json::from_str::<TunnelState>("\"dozing\"").unwrap(), TunnelState::Unknown);
        assert_eq!(serde_json::from_str::<Severity>("\"grave\"").unwrap(), Severity::Info);
        for state in [TunnelState::Up, TunnelState::Degraded, TunnelState::Down, TunnelState::Stale] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
    }

    #[test]
    fn what_was_not_measured_is_missing_and_never_a_number() {
        assert_eq!(serde_json::to_string(&HealthSample::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<HealthSample>("{}").unwrap(), HealthSample::default());
    }
}
