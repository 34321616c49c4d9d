//! Everything at once: what would stop a tunnel on this router, before it is there or after.
//!
//! With rows of ours on the router the tunnel itself is watched until there is a verdict; without, everything that a tunnel
//! would need is looked at beside it. What only a handshake can tell is said to be unknown.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use super::assess::{CLOCK_BEHIND_SECS, HubView};
use super::codes::{CODES, Code};
use super::finding::{Seen, Words, causes_only};
use super::measured::{Echo, Moment};
use super::monitor::{Monitor, Settings};
use super::near::{Closely, Near, look_closely, output_drop};
use super::probe::{self, Pings};
use super::rows;
use crate::api::{HealthFinding, HealthSample, Severity, TunnelState};
use crate::domain::{Host, Site};
use crate::reconcile::decide::{Refused, decide};
use crate::reconcile::firewall;
#[cfg(feature = "proxy")]
use crate::reconcile::guard::guards;
use crate::reconcile::names::Names;
use crate::reconcile::observe::Observed;
use crate::reconcile::preflight::{Finding, Session, Weight};
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::row::Row;

/// Longest wait for a verdict on a tunnel that is there: what a dead one takes, and some.
const VERDICT_WITHIN: Duration = Duration::from_secs(45);
/// What WireGuard adds to a packet in the tunnel, by the family of the way: 60 bytes over IPv4, 80 over IPv6.
const OVERHEAD: [u16; 2] = [60, 80];
/// Lengths that are tried on the way to the hub's host: Ethernet, `PPPoE`, and what tunnels of providers leave.
const OUTSIDE: [u16; 5] = [1500, 1492, 1480, 1460, 1400];
/// A plan is only looked at: whatever it removes.
const NO_LIMIT: usize = usize::MAX;

/// What a check-up found.
#[derive(Clone, Debug)]
pub struct Checkup {
    /// The tunnel's state, if there is a tunnel.
    pub state: Option<TunnelState>,
    /// What is the matter, the gravest and likeliest first.
    pub findings: Vec<HealthFinding>,
    /// What could not be told.
    pub unknown: Vec<&'static str>,
    /// What stands in the way and provisioning takes care of.
    pub handled: Vec<String>,
    /// What was measured.
    pub sample: HealthSample,
}

/// What a check-up begins with.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// The site.
    pub site: &'a Site,
    /// Its router, as it was just read.
    pub observed: &'a Observed,
    /// Who we are there.
    pub session: &'a Session,
    /// What the hub says, if there is one.
    pub hub: &'a HubView,
}

/// Examines a router.
///
/// # Errors
/// Any [`CallError`] but a refusal.
///
/// # Cancel safety
/// Nothing is written: the future can be dropped at any time.
pub async fn examine(client: &Client, patient: Patient<'_>) -> Result<Checkup, CallError> {
    let Patient { site, observed, .. } = patient;
    let is_there = observed.marked().any(|(_, _, marker)| marker.site == site.id);
    let mut checkup = if is_there { watch(client, patient).await? } else { beside(client, patient).await? };
    let told: Vec<String> = checkup.findings.iter().map(|finding| finding.code.clone()).collect();
    for finding in preflight(patient).into_iter().chain(device(client, patient, &mut checkup).await?) {
        if !told.contains(&finding.code) {
            checkup.findings.push(finding);
        }
    }
    let place = |code: &str| CODES.iter().position(|about| about.word == code).unwrap_or(CODES.len());
    checkup.findings.sort_by_key(|finding| (finding.severity, place(&finding.code)));
    checkup.findings.dedup_by(|one, other| one.code == other.code && one.evidence == other.evidence);
    Ok(checkup)
}

/// Watches a tunnel that is there until there is a verdict.
async fn watch(client: &Client, patient: Patient<'_>) -> Result<Checkup, CallError> {
    let start = Instant::now();
    let settings = Settings { user: patient.session.user.clone() };
    let mut monitor = Monitor::new(patient.site.clone(), settings, Moment::since(start));
    monitor.set_hub(patient.hub.clone());
    loop {
        let looked = tokio::time::Instant::now();
        let report = monitor.cycle(client, Moment::since(start)).await?;
        let is_told = report.state != TunnelState::Unknown;
        if is_told || start.elapsed() > VERDICT_WITHIN {
            let unknown = if is_told { Vec::new() } else { vec!["whether the tunnel carries traffic"] };
            return Ok(Checkup {
                state: Some(report.state),
                findings: report.findings,
                unknown,
                handled: Vec::new(),
                sample: report.sample,
            });
        }
        // Pacing: the monitor says when a look tells something new.
        tokio::time::sleep_until(looked + report.next_in).await;
    }
}

/// Looks at what a tunnel would need.
async fn beside(client: &Client, patient: Patient<'_>) -> Result<Checkup, CallError> {
    let Patient { site, session, hub, observed } = patient;
    let now = Moment { mono: Duration::ZERO, unix: session.now };
    let mut measured = super::measured::Measured::default();
    let questions = probe::beside_tunnel();
    let interface = Names::of(site).interface;
    probe::ask(client, (site, &interface), &questions, &mut measured, now).await?;
    let closely = Closely { site, wanted: site, session, gateway: measured.default_gateway(now) };
    let near = look_closely(client, closely).await?;
    let words = Words::of(site, None);
    let mut found = way(site, &words, &near, measured.default_route(now).is_some());
    if hub.enabled == Some(false) {
        found.push(words.seen(
            Code::PeerDisabledAtHub,
            "the hub has this peer switched off: no gateway answers it",
            "",
        ));
    }
    if hub.gateway_online == Some(false) {
        found.push(words.seen(Code::HubDown, "the hub does not hear from the gateway", ""));
    }
    if let Some(offset) = near.clock_offset.filter(|offset| *offset < -CLOCK_BEHIND_SECS) {
        let evidence = format!("the router's clock is {} s behind this host's", offset.unsigned_abs());
        found.push(words.seen(Code::ClockBehind, evidence, ""));
    }
    if let Some(rule) = output_drop(site, observed) {
        let evidence = format!("a rule of the router's own drops UDP to {}: {rule}", words.endpoint());
        found.push(words.seen(Code::NoUdpEgress, evidence, ""));
    }
    found.extend(rows::service(&words, observed, session, client.peer_addr().port()));
    let mut unknown = vec!["whether UDP gets to the hub and back: only a handshake tells"];
    match near.hub_host.as_ref().filter(|echo| echo.answered()) {
        Some(_) => found.extend(path_mtu(client, site, &words).await?),
        None => unknown.push("the MTU of the way to the hub: its host answers no pings"),
    }
    Ok(Checkup {
        state: None,
        findings: told(causes_only(found), now.unix),
        unknown,
        handled: handled(site, observed),
        sample: measured.sample(now, None),
    })
}

/// Findings as they are told.
fn told(seen: Vec<Seen>, since: i64) -> Vec<HealthFinding> {
    let finding = |seen: Seen| HealthFinding {
        code: seen.code.word().to_owned(),
        severity: seen.code.severity(),
        since,
        evidence: seen.evidence,
        hint: seen.hint,
    };
    seen.into_iter().map(finding).collect()
}

/// Name and way to the hub's host.
fn way(site: &Site, words: &Words, near: &Near, has_default: bool) -> Vec<Seen> {
    let mut found = Vec::new();
    let host = near.hub_host.as_ref();
    let said = host.and_then(|echo| echo.refused.as_ref()).filter(|said| said.contains("resolve"));
    if let (Some(Host::Name(name)), Some(said)) = (site.endpoint().map(|endpoint| &endpoint.host), said) {
        let evidence = format!("the router cannot resolve the hub's name {name}; it said: {said}");
        found.push(words.seen(Code::EndpointUnresolved, evidence, ""));
    }
    let answered = host.is_some_and(Echo::answered);
    if !has_default && !answered {
        found.push(words.seen(Code::WanDown, "the router has no active default route", ""));
    }
    if let Some(conflict) = host.and_then(|echo| echo.host).and_then(|address| site.check_endpoint(address).err()) {
        found.push(words.seen(Code::EndpointInReach, conflict.to_string(), ""));
    }
    let refused = host.and_then(|echo| echo.refused.as_ref()).filter(|said| said.contains("permission"));
    found.extend(
        refused.map(|said| words.seen(Code::PingRefused, format!("the router would not ping; it said: {said}"), "")),
    );
    found
}

/// Whether a packet as long as the tunnel's would fit on the way to the hub's host.
async fn path_mtu(client: &Client, site: &Site, words: &Words) -> Result<Option<Seen>, CallError> {
    let Some(endpoint) = site.endpoint() else { return Ok(None) };
    let to = &endpoint.host.to_string();
    let overhead = match endpoint.host {
        Host::Address(address) if address.is_ipv6() => OVERHEAD[1],
        _ => OVERHEAD[0],
    };
    let full = probe::full_size(site);
    let needed = full.saturating_add(overhead);
    let lengths = std::iter::once(needed).chain(OUTSIDE.into_iter().filter(|length| *length < needed));
    let tries = lengths.map(|length| async move {
        Ok::<_, CallError>((length, probe::ping(client, to, &Pings::whole(2, length)).await?))
    });
    let echoes = try_join_all(tries).await?;
    let passed = echoes.iter().filter(|(_, echo)| echo.answered()).map(|(length, _)| *length).max();
    Ok(passed.filter(|passed| *passed < needed).map(|passed| {
        let mtu = passed - overhead;
        let evidence = format!(
            "packets of {passed} bytes get to the hub's host and none of {needed}, which the tunnel's MTU of {full} needs"
        );
        words.seen(Code::MtuBlackHole, evidence, &mtu.to_string())
    }))
}

/// What stands in the way of the sites' traffic here, and provisioning puts rules before.
fn handled(site: &Site, observed: &Observed) -> Vec<String> {
    let mut lines: Vec<String> = firewall::needs(site, observed, &Names::of(site))
        .into_iter()
        .map(|need| {
            let rule = observed.rows(need.menu).iter().find(|row| Some(row.id()) == need.before.as_deref());
            let action = rule.and_then(|row| row.text("action")).unwrap_or_default().into_owned();
            let before =
                if action.is_empty() { String::new() } else { format!(" before the rule with action={action}") };
            format!("{}: provision puts a rule there{before}", need.menu.path)
        })
        .collect();
    lines.dedup();
    lines
}

/// What speaks against provisioning, in the words of the preflight, or in ours where we have one for it.
fn preflight(patient: Patient<'_>) -> Vec<HealthFinding> {
    let Patient { site, observed, session, .. } = patient;
    let findings = match decide(site, observed, session, NO_LIMIT) {
        Ok(decision) => decision.warnings,
        Err(Refused::Preflight(findings)) => findings,
        Err(Refused::Ambiguous(_) | Refused::Removals { .. }) => Vec::new(),
    };
    findings
        .into_iter()
        .filter(|finding| !NOT_HERE.contains(&finding.code))
        .map(|f| in_our_words(f, session.now))
        .collect()
}

/// Said by a finding of our own, or of no meaning to a command that only looks.
const NOT_HERE: [&str; 2] = ["clock", "session-in-tunnel"];

fn in_our_words(finding: Finding, since: i64) -> HealthFinding {
    let code = if finding.code == "overlap" { Code::OverlapWithLan.word() } else { finding.code };
    let severity = if finding.weight == Weight::Refuse { Severity::Critical } else { Severity::Warning };
    HealthFinding { code: code.to_owned(), severity, since, evidence: finding.message, hint: finding.hint.to_owned() }
}

/// Device-mode and the clock's own source.
async fn device(client: &Client, patient: Patient<'_>, checkup: &mut Checkup) -> Result<Vec<HealthFinding>, CallError> {
    let words = Words::of(patient.site, None);
    let (mode, ntp) = futures_util::try_join!(
        first(client, Command::new("/system/device-mode/print")),
        first(client, Command::new("/system/ntp/client/print"))
    )?;
    let said = |row: &Row, name: &str| row.text(name).unwrap_or_default().into_owned();
    let mut found = Vec::new();
    match mode {
        Some(row) if matches!(said(&row, "scheduler").as_str(), "false" | "no") => {
            let mode = said(&row, "mode");
            let evidence = format!(
                "device-mode {mode:?} forbids the scheduler: a change that cuts us off could not be undone by the router"
            );
            found.push(words.seen(Code::DeviceModeBlocks, evidence, ""));
        }
        Some(_) => {}
        None => checkup.unknown.push("what device-mode forbids: the router has none, or does not show it"),
    }
    match ntp {
        Some(row) if matches!(said(&row, "enabled").as_str(), "false" | "no") => {
            let evidence =
                "the NTP client is off: after a power cut the clock may be behind, and the hub ignores handshakes";
            found.push(words.seen(Code::ClockUnsynchronized, evidence, ""));
        }
        Some(row) if !said(&row, "status").is_empty() && said(&row, "status") != "synchronized" => {
            let evidence = format!("the NTP client is on, and says {:?}", said(&row, "status"));
            found.push(words.seen(Code::ClockUnsynchronized, evidence, ""));
        }
        Some(_) => {}
        None => checkup.unknown.push("whether NTP sets the clock"),
    }
    #[cfg(feature = "proxy")]
    found.extend(guards(patient.observed).iter().map(|guard| {
        let code = if guard.armed { Code::GuardArmed } else { Code::GuardLeftOver };
        words.seen(code, guard.explain(), "")
    }));
    #[cfg(feature = "proxy")]
    found.extend(safe_mode(client, patient.observed, &words).await?);
    let behind = checkup.findings.iter().any(|finding| finding.code == Code::ClockBehind.word());
    found.retain(|seen| !(behind && seen.code == Code::ClockUnsynchronized));
    Ok(told(found, patient.session.now))
}

/// Who holds safe mode, where the router has it: what is written now may be undone.
#[cfg(feature = "proxy")]
async fn safe_mode(client: &Client, observed: &Observed, words: &Words) -> Result<Option<Seen>, CallError> {
    use crate::reconcile::apply::safe_hold_of;
    let hold = safe_hold_of(client, observed).await?;
    Ok(hold.map(|hold| words.seen(Code::SafeModeHeld, hold.explain(), "")))
}

/// The only row of a menu that a router may not have.
async fn first(client: &Client, command: Command) -> Result<Option<Row>, CallError> {
    match client.call(&command).await {
        Ok(reply) => Ok(reply.rows.into_iter().next()),
        Err(error) if error.refusal().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
