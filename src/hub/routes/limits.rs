//! What agents and gateways may say: their words are stored and listed, so none of them is longer than it needs to be.
//!
//! People's requests are checked by the store, field by field. Machines' texts come from elsewhere (a router's identity, an error of
//! the kernel): what only informs is cut off rather than refused, for a machine cannot choose other words.

use crate::api::{
    AgentEvent, AgentReports, DeviceFacts, EnrollRequest, GatewayApplied, GatewayHello, GatewayReport, HealthFinding,
    MAX_CODE, MAX_EVENTS, MAX_FACT, MAX_FINDING_TEXT, MAX_FINDINGS, MAX_NAME, MAX_REPORTS,
};
use crate::domain::MAX_SUBNETS;
use crate::hub::problem::Refusal;

/// Longest error of a gateway, in characters: a cause with its own causes.
const MAX_ERROR: usize = 500;
/// Longest verdict of an agent, in characters.
const MAX_VERDICT: usize = 200;
/// Shortest and longest random text that tells devices apart, in characters.
const NONCE: std::ops::RangeInclusive<usize> = 16..=64;
/// Most instances and peers in one word of a gateway: its body is bounded as well.
const MAX_RESULTS: usize = 10_000;

/// Shortens what a router says of itself; networks beyond what a site could advertise are refused.
pub(super) fn device(facts: &mut DeviceFacts, field: &str) -> Result<(), Refusal> {
    for text in [&mut facts.identity, &mut facts.board, &mut facts.version, &mut facts.serial] {
        shorten(text, MAX_FACT);
    }
    if facts.subnets.len() > MAX_SUBNETS {
        return Err(Refusal::invalid(&format!("{field}.subnets"), format!("more than {MAX_SUBNETS} networks")));
    }
    for subnet in &mut facts.subnets {
        cut(&mut subnet.interface, MAX_FACT);
        // That is the hub's to know.
        subnet.advertised_by.clear();
    }
    Ok(())
}

/// Checks a device's request to enrol.
pub(super) fn enroll(request: &mut EnrollRequest) -> Result<(), Refusal> {
    nonce(&request.device_nonce, "device_nonce")?;
    device(&mut request.device, "device")
}

/// Checks an agent's reports.
pub(super) fn agent_reports(reports: &mut AgentReports) -> Result<(), Refusal> {
    epoch(&reports.epoch)?;
    if reports.reports.len() > MAX_REPORTS {
        return Err(
            Refusal::invalid("reports", format!("at most {MAX_REPORTS} reports at once")).hint("send the rest next")
        );
    }
    for (index, report) in reports.reports.iter_mut().enumerate() {
        if report.tunnel.verdict.chars().count() > MAX_VERDICT {
            let field = format!("reports[{index}].tunnel.verdict");
            return Err(Refusal::invalid(&field, format!("longer than {MAX_VERDICT} characters")));
        }
        findings(&mut report.findings, &format!("reports[{index}].findings"))?;
        events(&mut report.events, &format!("reports[{index}].events"))?;
        if let Some(sample) = &mut report.sample {
            shorten(&mut sample.version, MAX_FACT);
            shorten(&mut sample.endpoint, MAX_FACT);
        }
    }
    Ok(())
}

/// Checks what an agent found: its codes are compared, its sentences only shown.
fn findings(findings: &mut [HealthFinding], field: &str) -> Result<(), Refusal> {
    if findings.len() > MAX_FINDINGS {
        return Err(Refusal::invalid(field, format!("more than {MAX_FINDINGS} findings")));
    }
    for (index, finding) in findings.iter_mut().enumerate() {
        if !(1..=MAX_CODE).contains(&finding.code.chars().count()) {
            return Err(Refusal::invalid(&format!("{field}[{index}].code"), format!("1 to {MAX_CODE} characters")));
        }
        cut(&mut finding.evidence, MAX_FINDING_TEXT);
        cut(&mut finding.hint, MAX_FINDING_TEXT);
    }
    Ok(())
}

/// Checks what an agent did: its codes are compared, its sentences only shown.
fn events(events: &mut [AgentEvent], field: &str) -> Result<(), Refusal> {
    if events.len() > MAX_EVENTS {
        return Err(Refusal::invalid(field, format!("more than {MAX_EVENTS} events")));
    }
    for (index, event) in events.iter_mut().enumerate() {
        if !(1..=MAX_CODE).contains(&event.code.chars().count()) {
            return Err(Refusal::invalid(&format!("{field}[{index}].code"), format!("1 to {MAX_CODE} characters")));
        }
        cut(&mut event.words, MAX_FINDING_TEXT);
    }
    Ok(())
}

/// Checks what a gateway says of itself.
pub(super) fn hello(hello: &GatewayHello) -> Result<(), Refusal> {
    nonce(&hello.install, "install")?;
    for (field, text) in [("name", &hello.name), ("region", &hello.region), ("version", &hello.version)] {
        if !(1..=MAX_NAME).contains(&text.chars().count()) {
            return Err(Refusal::invalid(field, format!("1 to {MAX_NAME} characters")));
        }
    }
    let host = hello.public_host.parse::<crate::domain::Host>();
    host.map(|_| ()).map_err(|error| Refusal::invalid("public_host", error.to_string()))
}

/// Shortens a gateway's errors.
pub(super) fn applied(applied: &mut GatewayApplied) -> Result<(), Refusal> {
    if applied.instances.len() > MAX_RESULTS || applied.peers.len() > MAX_RESULTS {
        return Err(Refusal::invalid("instances", format!("at most {MAX_RESULTS} results at once")));
    }
    applied.instances.iter_mut().for_each(|instance| shorten(&mut instance.error, MAX_ERROR));
    applied.peers.iter_mut().for_each(|peer| cut(&mut peer.error, MAX_ERROR));
    Ok(())
}

/// Checks a gateway's report.
pub(super) fn report(report: &GatewayReport) -> Result<(), Refusal> {
    epoch(&report.epoch)?;
    if report.peers.len() <= MAX_REPORTS {
        return Ok(());
    }
    Err(Refusal::invalid("peers", format!("at most {MAX_REPORTS} peers at once"))
        .hint("send the rest in the next report"))
}

fn epoch(text: &str) -> Result<(), Refusal> {
    if (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Refusal::invalid("epoch", "1 to 64 printable ASCII characters"))
}

fn nonce(text: &str, field: &str) -> Result<(), Refusal> {
    if NONCE.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Refusal::invalid(field, format!("{} to {} printable ASCII characters", NONCE.start(), NONCE.end())))
}

fn shorten(text: &mut Option<String>, most: usize) {
    if let Some(text) = text {
        cut(text, most);
    }
}

fn cut(text: &mut String, most: usize) {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
}
