//! `sitepeer hub site health`, `transitions`, `events` and `freeze`.

use super::api::{Api, Asked};
use super::instance::{json_of, listed};
use super::site::{changed, path};
use super::text::{Column, Sheet, Table, age, now, since, when, word};
use crate::api::{
    AgentEnd, Availability, Freeze, GatewayEnd, NewFreeze, PeerHealth, Site, SiteEvent, SiteHealth, Transition,
};
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::cli::show::bytes;
use crate::uplink::encode;

/// Carries out `site health`.
pub(super) async fn health(api: &Api, wanted: &str, month: Option<String>, reporter: &Reporter) -> Asked<Outcome> {
    let site = api.site(wanted).await?;
    let query = month.map(|month| format!("?month={}", encode(&month))).unwrap_or_default();
    let health: SiteHealth = api.get(&format!("{}/health{query}", path(&site))).await?;
    reporter.data(&text(&health));
    Ok(Outcome::new(Verdict::Done).detail("health", json_of(&health)))
}

fn text(health: &SiteHealth) -> String {
    let now = now();
    let site = Sheet::default()
        .line("site", format!("{} ({})", health.name, health.site))
        .line("verdict", word(&health.verdict))
        .line_if("frozen", health.frozen.as_ref().map(|freeze| frozen(freeze, now)));
    let mut text = site.text().to_owned();
    for peer in &health.peers {
        text.push('\n');
        text.push_str(sheet(peer, now).text());
    }
    if !health.transitions.is_empty() {
        text.push('\n');
        text.push_str(&table(&health.transitions, now));
    }
    text
}

fn sheet(peer: &PeerHealth, now: i64) -> Sheet {
    let sheet = Sheet::default()
        .line("peer", format!("{}/{} ({})", peer.instance_name, peer.name, peer.peer))
        .line("verdict", word(&peer.verdict))
        .line("gateway", gateway(&peer.gateway, now))
        .line("agent", peer.agent.as_ref().map_or_else(|| "has not reported yet".to_owned(), |end| agent(end, now)));
    let findings = peer.findings.iter().chain(peer.agent.iter().flat_map(|agent| &agent.findings));
    let sheet = findings.fold(sheet, |sheet, finding| {
        let hint = Some(&finding.hint).filter(|hint| !hint.is_empty());
        sheet.line("finding", format!("{}: {}", finding.code, finding.evidence)).line_if("", hint)
    });
    sheet.line("available", available(&peer.availability))
}

/// What the hub's end sees.
fn gateway(end: &GatewayEnd, now: i64) -> String {
    let Some(at) = end.reported_at else { return "has not spoken of it yet".to_owned() };
    let handshake = match end.handshake_age_secs {
        Some(secs) => format!("handshake {} ago", age(secs)),
        None => "no handshake yet".to_owned(),
    };
    let away = if end.online { "" } else { ", and is not heard now" };
    let (received, sent) = (bytes(end.rx_bytes), bytes(end.tx_bytes));
    format!("{handshake}, {received} received, {sent} sent, reported {}{away}", since(at, now))
}

/// What the router's end says.
fn agent(end: &AgentEnd, now: i64) -> String {
    let rtt = end.sample.as_ref().and_then(|sample| sample.rtt_us);
    let loss = end.sample.as_ref().and_then(|sample| sample.loss_percent);
    let rtt = rtt.map(|rtt| format!(", {}.{} ms", rtt.avg / 1000, rtt.avg % 1000 / 100)).unwrap_or_default();
    let loss = loss.map(|loss| format!(", {loss}% lost")).unwrap_or_default();
    let so_long = age(u64::try_from(now.saturating_sub(end.since)).unwrap_or(0));
    let (state, heard) = (word(&end.state), since(end.heard_at, now));
    format!("{state} for {so_long}{rtt}{loss}, heard {heard}")
}

/// The part of the known time in which it carried traffic, and how much nobody knows.
fn available(month: &Availability) -> String {
    let (name, down, unknown) = (&month.month, age(month.down_secs), age(month.unknown_secs));
    let Some(ppm) = month.available_ppm else { return format!("unknown: nobody watched in {name} (UTC)") };
    let (whole, part) = (ppm / 10_000, ppm % 10_000 / 10);
    format!("{whole}.{part:03}% of the known time of {name} (UTC), down {down}, unknown {unknown}")
}

/// Until when, by whom and why.
pub(super) fn frozen(freeze: &Freeze, now: i64) -> String {
    let reason = if freeze.reason.is_empty() { String::new() } else { format!(": {}", freeze.reason) };
    format!("until {}, by {}{reason}", when(freeze.until, now), freeze.by)
}

/// Carries out `site transitions`.
pub(super) async fn transitions(api: &Api, wanted: &str, limit: usize, reporter: &Reporter) -> Asked<Outcome> {
    let site = api.site(wanted).await?;
    let all: Vec<Transition> = api.some(&format!("{}/transitions", path(&site)), &[], limit).await?;
    reporter.data(&table(&all, now()));
    Ok(listed("transitions", "its agent has told of no change of state yet", &all))
}

fn table(transitions: &[Transition], now: i64) -> String {
    let columns = [
        Column::whole("WHEN"),
        Column::whole("PEER"),
        Column::whole("WAS"),
        Column::whole("STATE"),
        Column::cut("CAUSE", 10),
        Column::cut("EVIDENCE", 10),
    ];
    let rows = transitions.iter().map(|transition| {
        [
            since(transition.at, now),
            transition.peer.to_string(),
            word(&transition.was),
            word(&transition.state),
            transition.cause.clone().unwrap_or_default(),
            transition.evidence.clone().unwrap_or_default(),
        ]
    });
    Table::new(columns, rows).text()
}

/// Carries out `site events`.
pub(super) async fn events(api: &Api, wanted: &str, limit: usize, reporter: &Reporter) -> Asked<Outcome> {
    let site = api.site(wanted).await?;
    let all: Vec<SiteEvent> = api.some(&format!("{}/events", path(&site)), &[], limit).await?;
    let columns = [
        Column::whole("WHEN"),
        Column::whole("PEER"),
        Column::whole("KIND"),
        Column::cut("CODE", 10),
        Column::cut("WHAT", 10),
    ];
    let now = now();
    let rows = all.iter().map(|event| {
        [since(event.at, now), event.peer.to_string(), word(&event.kind), event.code.clone(), event.words.clone()]
    });
    reporter.data(&Table::new(columns, rows).text());
    Ok(listed("events", "its agent has healed nothing and found nothing changed", &all))
}

/// Carries out `site freeze`.
pub(super) async fn freeze(api: &Api, wanted: &str, freeze: Option<NewFreeze>) -> Asked<Outcome> {
    let found = api.site(wanted).await?;
    let place = format!("{}/freeze", path(&found));
    let called = format!("site {} ({})", found.name, found.id);
    match freeze {
        Some(new) => {
            let site: Site = api.act_with(&place, &new).await?;
            let until = site.frozen.as_ref().map(|freeze| when(freeze.until, now())).unwrap_or_default();
            Ok(changed(&site).say(format!("{called} is frozen until {until}: its agents hold hands off")))
        }
        None if found.frozen.is_none() => Ok(changed(&found).say(format!("{called} is not frozen"))),
        None => {
            api.delete(&place).await?;
            let site: Site = api.get(&path(&found)).await?;
            Ok(changed(&site).say(format!("{called} is no longer frozen: its agents go on")))
        }
    }
}
