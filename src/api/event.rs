//! What an agent did to a router by itself, or found that somebody did.

use serde::{Deserialize, Serialize};

use super::PeerId;

/// Most events in one report: they are rare, and each is told at once.
pub const MAX_EVENTS: usize = 16;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A step of healing was taken, and the tunnel came back.
    Healed,
    /// A step of healing was taken, and did not help in its time.
    Unhealed,
    /// Rows of ours were changed by somebody else, and put back.
    Drift,
    /// A word of a newer agent.
    #[serde(other)]
    Other,
}

impl EventKind {
    /// Returns the word in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Healed => "healed",
            Self::Unhealed => "unhealed",
            Self::Drift => "drift",
            Self::Other => "other",
        }
    }
}

/// An event as an agent tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct AgentEvent {
    /// What kind.
    pub kind: EventKind,
    /// Stable word for machines: the step that was taken, or the menu that was changed. 1 to [`super::MAX_CODE`] characters.
    pub code: String,
    /// What it was, for people. At most [`super::MAX_FINDING_TEXT`] characters.
    pub words: String,
    /// When, by the agent's clock.
    pub at: i64,
}

/// An event as the hub keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct SiteEvent {
    /// Grows.
    pub number: i64,
    /// The peer whose router it was.
    pub peer: PeerId,
    /// When, by the hub's clock.
    pub at: i64,
    /// What kind.
    pub kind: EventKind,
    /// Stable word for machines: the step that was taken, or the menu that was changed.
    pub code: String,
    /// What it was, for people.
    pub words: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_a_newer_agent_is_another_and_no_error() {
        assert_eq!(serde_json::from_str::<EventKind>("\"rebooted\"").unwrap(), EventKind::Other);
        for kind in [EventKind::Healed, EventKind::Unhealed, EventKind::Drift, EventKind::Other] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }
}
