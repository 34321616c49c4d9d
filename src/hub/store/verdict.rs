//! Holds the two ends of a tunnel against each other: pure.
//!
//! The agent looks from the router, and pings through the tunnel; the gateway knows when the last handshake was. Where both speak,
//! the agent's word is the finer one. What neither measured is unknown, never up.

use crate::api::{AgentEnd, GatewayEnd, HealthFinding, Severity, SiteVerdict, TunnelState};

/// A handshake this young, in seconds, is a tunnel that lives: WireGuard makes a new one every two minutes.
pub(super) const ALIVE_WITHIN: u64 = 180;
/// A state this young, in seconds, is not held against the gateway's word yet: that is up to a minute old for a peer without traffic,
/// and a router may be quicker to see its tunnel.
const TOO_YOUNG: i64 = 120;

/// Whether anything is expected of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    /// It may connect.
    On,
    /// The peer itself is switched off.
    PeerOff,
    /// Its instance is suspended.
    Suspended,
}

/// What is known of a peer.
#[derive(Debug)]
pub(super) struct Ends<'a> {
    pub switch: Switch,
    /// Whether a router brought its key: before, no tunnel can be.
    pub has_key: bool,
    /// Whether what the gateway said of the peer is fresh.
    pub fresh: bool,
    pub gateway: &'a GatewayEnd,
    pub agent: Option<&'a AgentEnd>,
    /// Whether the agent said nothing for too long.
    pub silent: bool,
    pub now: i64,
}

/// What both ends come to, and what the hub found.
pub(super) fn verdict(ends: &Ends<'_>) -> (SiteVerdict, Vec<HealthFinding>) {
    let mut findings = Vec::new();
    let verdict = decide(ends, &mut findings);
    (verdict, findings)
}

fn decide(ends: &Ends<'_>, findings: &mut Vec<HealthFinding>) -> SiteVerdict {
    let mut find = |code: &str, severity, evidence: String, hint: &str| {
        let (code, hint) = (code.to_owned(), hint.to_owned());
        findings.push(HealthFinding { code, severity, since: ends.now, evidence, hint });
    };
    if ends.switch == Switch::PeerOff {
        let hint = "sitepeer hub peer enable PEER switches it on";
        find("peer-disabled-at-hub", Severity::Info, "the peer is switched off at the hub".to_owned(), hint);
        return SiteVerdict::Disabled;
    }
    if ends.switch == Switch::Suspended {
        let hint = "sitepeer hub instance resume INSTANCE switches it on";
        find("instance-suspended", Severity::Info, "the peer's instance is suspended".to_owned(), hint);
        return SiteVerdict::Disabled;
    }
    let speaks = ends.agent.filter(|_| !ends.silent);
    let told = speaks.map(|agent| agent.state);
    let sees = told.filter(|state| !matches!(state, TunnelState::Stale | TunnelState::Unknown));
    let alive = ends.fresh.then(|| ends.gateway.handshake_age_secs.is_some_and(|age| age <= ALIVE_WITHIN));
    if !ends.gateway.online {
        let severity = if sees == Some(TunnelState::Up) { Severity::Warning } else { Severity::Critical };
        let hint = "look at the gateway's host: is `sitepeer gateway` running, and does it reach the hub?";
        find("hub-down", severity, "the gateway was not heard within the last minute".to_owned(), hint);
    }
    if ends.silent && ends.agent.is_some() {
        let heard = ends.agent.map_or(0, |agent| ends.now.saturating_sub(agent.heard_at));
        let hint = "look at the agent's host: is `sitepeer agent` running, and does it reach the hub?";
        find("agent-silent", Severity::Warning, format!("the agent said nothing for {heard} s"), hint);
    }
    match (sees, alive) {
        (Some(TunnelState::Up | TunnelState::Degraded), Some(false)) if is_settled(ends) => {
            let evidence = format!("the agent says it carries traffic, the gateway {}", handshake(ends.gateway));
            let hint = "see where the router's peer points to: another gateway, or another router with the same key";
            find("ends-disagree", Severity::Critical, evidence, hint);
            SiteVerdict::Disputed
        }
        (Some(TunnelState::Down), Some(true)) => {
            let evidence = format!("the agent says it carries nothing, the gateway {}", handshake(ends.gateway));
            let hint = "the tunnel stands: look at routes, firewall and MTU on the router with sitepeer doctor";
            find("tunnel-stands", Severity::Info, evidence, hint);
            SiteVerdict::Down
        }
        (Some(TunnelState::Degraded), _) => SiteVerdict::Degraded,
        (Some(TunnelState::Down), _) => SiteVerdict::Down,
        (None, Some(true)) if ends.agent.is_some() => SiteVerdict::AgentAway,
        (Some(TunnelState::Up), _) | (None, Some(true)) => SiteVerdict::Up,
        (None, Some(false)) if ends.has_key => {
            let evidence = format!("the gateway {}", handshake(ends.gateway));
            let hint = "see whether the site has power and a way out to the internet";
            find("no-handshake", Severity::Critical, evidence, hint);
            SiteVerdict::Down
        }
        // An agent that says disabled has not heard yet that it is switched on again.
        (Some(TunnelState::Disabled | TunnelState::Stale | TunnelState::Unknown) | None, _) => SiteVerdict::Unknown,
    }
}

/// Whether the agent's state is old enough for the gateway to have told of it.
fn is_settled(ends: &Ends<'_>) -> bool {
    ends.agent.is_some_and(|agent| ends.now.saturating_sub(agent.since) >= TOO_YOUNG)
}

fn handshake(gateway: &GatewayEnd) -> String {
    match gateway.handshake_age_secs {
        Some(age) => format!("saw the last handshake {age} s ago"),
        None => "never saw a handshake".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_796_000_000;

    fn agent(state: TunnelState) -> AgentEnd {
        AgentEnd { state, since: NOW - 600, heard_at: NOW - 20, findings: Vec::new(), sample: None, dropped: 0 }
    }

    fn seen(age: Option<u64>) -> GatewayEnd {
        GatewayEnd { enabled: true, online: true, handshake_age_secs: age, ..GatewayEnd::default() }
    }

    fn ends<'a>(gateway: &'a GatewayEnd, agent: Option<&'a AgentEnd>) -> Ends<'a> {
        let fresh = gateway.online;
        Ends { switch: Switch::On, has_key: true, fresh, gateway, agent, silent: false, now: NOW }
    }

    fn said(ends: &Ends<'_>) -> (SiteVerdict, Vec<String>) {
        let (verdict, findings) = verdict(ends);
        (verdict, findings.into_iter().map(|finding| finding.code).collect())
    }

    #[test]
    fn where_both_ends_agree_nothing_is_found() {
        let (alive, dead) = (seen(Some(20)), seen(Some(900)));
        for (gateway, state, verdict) in [
            (&alive, TunnelState::Up, SiteVerdict::Up),
            (&alive, TunnelState::Degraded, SiteVerdict::Degraded),
            (&dead, TunnelState::Down, SiteVerdict::Down),
        ] {
            assert_eq!(said(&ends(gateway, Some(&agent(state)))), (verdict, vec![]));
        }
    }

    #[test]
    fn an_agent_that_says_up_without_a_handshake_at_the_gateway_is_disputed_once_it_is_settled() {
        let (never, mut up) = (seen(None), agent(TunnelState::Up));
        assert_eq!(said(&ends(&never, Some(&up))), (SiteVerdict::Disputed, vec!["ends-disagree".to_owned()]));
        up.since = NOW - 30;
        assert_eq!(said(&ends(&never, Some(&up))), (SiteVerdict::Up, vec![]));
    }

    #[test]
    fn a_silent_agent_over_a_tunnel_that_lives_is_away_and_the_tunnel_not_down() {
        let (alive, dead, stale) = (seen(Some(20)), seen(Some(900)), agent(TunnelState::Stale));
        let silent = |gateway| said(&Ends { silent: true, ..ends(gateway, Some(&stale)) });
        assert_eq!(silent(&alive), (SiteVerdict::AgentAway, vec!["agent-silent".to_owned()]));
        assert_eq!(silent(&dead), (SiteVerdict::Down, vec!["agent-silent".to_owned(), "no-handshake".to_owned()]));
        // It speaks, and does not see its router.
        assert_eq!(said(&ends(&alive, Some(&stale))), (SiteVerdict::AgentAway, vec![]));
    }

    #[test]
    fn a_tunnel_that_stands_and_carries_nothing_is_down_and_told_apart() {
        let told = said(&ends(&seen(Some(20)), Some(&agent(TunnelState::Down))));
        assert_eq!(told, (SiteVerdict::Down, vec!["tunnel-stands".to_owned()]));
    }

    #[test]
    fn what_is_switched_off_is_disabled_whatever_the_ends_say() {
        let (alive, up) = (seen(Some(20)), agent(TunnelState::Up));
        let off = Ends { switch: Switch::PeerOff, ..ends(&alive, Some(&up)) };
        assert_eq!(said(&off), (SiteVerdict::Disabled, vec!["peer-disabled-at-hub".to_owned()]));
        let off = Ends { switch: Switch::Suspended, ..ends(&alive, Some(&up)) };
        assert_eq!(said(&off), (SiteVerdict::Disabled, vec!["instance-suspended".to_owned()]));
    }

    #[test]
    fn a_gateway_that_is_not_heard_says_nothing_of_the_tunnel() {
        let away = GatewayEnd { online: false, ..seen(Some(20)) };
        let down = vec!["hub-down".to_owned()];
        assert_eq!(said(&ends(&away, Some(&agent(TunnelState::Up)))), (SiteVerdict::Up, down.clone()));
        assert_eq!(said(&ends(&away, Some(&agent(TunnelState::Down)))), (SiteVerdict::Down, down.clone()));
        assert_eq!(said(&ends(&away, None)), (SiteVerdict::Unknown, down));
    }

    #[test]
    fn without_an_agent_the_gateway_alone_decides() {
        assert_eq!(said(&ends(&seen(Some(20)), None)), (SiteVerdict::Up, vec![]));
        assert_eq!(said(&ends(&seen(None), None)), (SiteVerdict::Down, vec!["no-handshake".to_owned()]));
        let never = seen(None);
        assert_eq!(said(&Ends { has_key: false, ..ends(&never, None) }), (SiteVerdict::Unknown, vec![]));
    }
}
