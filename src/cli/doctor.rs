//! `sitepeer doctor`: what stops a tunnel, or would, with the command that mends it. Only looks.

use std::fmt::Write as _;

use serde_json::json;

use super::args::Doctor;
use super::report::{Event, Outcome, Reporter, Step, Verdict, clean};
use super::session;
use super::uplink::{self, Enrolling, Uplink};
use crate::api::{HealthFinding, Severity};
use crate::health::HubView;
use crate::health::checkup::{Checkup, Patient, examine};
use crate::reconcile::generation::as_on;
use crate::reconcile::observe::Interest;

/// Carries out `doctor`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Doctor, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Doctor { access, source } = command;
    let (site, uplink) = uplink::site_of(source, Enrolling::Forbidden, reporter).await?;
    let client = session::open(&access, reporter).await?;
    let interest = Interest::of(&site);
    let (observed, facts) = futures_util::join!(
        session::read(&client, &interest, reporter),
        session::facts(&client, &access, Some(&site), false)
    );
    let observed = observed?;
    let mut hub = hub_view(uplink.as_ref());
    let present = site.generation;
    let site = as_on(site, &observed);
    if site.generation != present {
        // The key that the hub tells is that of the tunnel before.
        hub.public_key = None;
    }
    let detail = "looking at the router, and at the way to the hub; up to a minute".to_owned();
    reporter.event(&Event::Step { step: Step::Check, detail });
    let before = client.round_trips();
    let patient = Patient { site: &site, observed: &observed, session: &facts, hub: &hub };
    let checkup = examine(&client, patient).await;
    reporter.tally(|tally| tally.round_trips.prove = client.round_trips() - before);
    client.close().await;
    let checkup = checkup?;
    reporter.data(&text(&checkup));
    Ok(outcome(&checkup))
}

fn hub_view(uplink: Option<&Uplink>) -> HubView {
    let Some(uplink) = uplink else { return HubView::default() };
    HubView { enabled: Some(uplink.is_enabled()), public_key: uplink.known_key(), gateway_online: None }
}

fn outcome(checkup: &Checkup) -> Outcome {
    let stops = |finding: &HealthFinding| finding.severity <= Severity::Warning;
    let count = checkup.findings.iter().filter(|finding| stops(finding)).count();
    let verdict = if count == 0 { Verdict::Converged } else { Verdict::Found };
    let words = match count {
        0 => "well     nothing speaks against this tunnel, as far as can be told".to_owned(),
        1 => "found    1 thing is the matter".to_owned(),
        count => format!("found    {count} things are the matter, the gravest and likeliest first"),
    };
    Outcome::new(verdict)
        .say(words)
        .detail("state", checkup.state.map(crate::api::TunnelState::word))
        .detail("findings", json!(checkup.findings))
        .detail("unknown", checkup.unknown.clone())
        .detail("handled", checkup.handled.clone())
        .detail("sample", json!(checkup.sample))
}

fn text(checkup: &Checkup) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing into a String cannot fail.
        let _infallible = writeln!(text, "{}", clean(&words));
    };
    if let Some(state) = checkup.state {
        line(format!("{:<9} the tunnel is {}", "state", state.word()));
    }
    for finding in &checkup.findings {
        let weight = match finding.severity {
            Severity::Critical => "stops it",
            Severity::Warning => "hampers",
            Severity::Info => "news",
        };
        line(format!("{weight:<9} {}: {}", finding.code, finding.evidence));
        line(format!("{:<9} hint: {}", "", finding.hint));
    }
    for handled in &checkup.handled {
        line(format!("{:<9} {handled}", "handled"));
    }
    for unknown in &checkup.unknown {
        line(format!("{:<9} {unknown}", "unknown"));
    }
    text
}
