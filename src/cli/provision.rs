//! `sitepeer provision`: plan, confirm, apply, prove.

use std::time::Instant;

use serde_json::json;

use super::args::{Provision, Write};
use super::report::{Event, Outcome, Reporter, Step, Verdict};
use super::{session, show};
use crate::domain::{Role, Site};
use crate::reconcile::apply::LocalLock;
use crate::reconcile::converge::{Progress, Task, converge};
use crate::reconcile::decide::decide;
use crate::reconcile::observe::{Interest, Observed};
use crate::reconcile::plan::Plan;
use crate::reconcile::preflight::Session;
use crate::reconcile::prove::{Evidence, Handshake, Proof, diagnose, prove};
use crate::routeros::client::Client;
use crate::routeros::menu;

/// Carries out `provision`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Provision, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Provision { access, site, write, proof_timeout, max_removals } = command;
    let client = session::open(&access, reporter).await?;
    let interest = Interest::of(&site);
    let (observed, facts) =
        futures_util::join!(session::read(&client, &interest, reporter), session::facts(&client, &access, &site));
    let observed = observed?;
    let deciding = |observed: &Observed| decide(&site, observed, &facts, max_removals);
    let decision = deciding(&observed).map_err(|why| show::refused(why, reporter))?;
    show::decision(&decision, reporter);

    let mut progress = Progress::default();
    let mut settled = observed;
    let begun = Instant::now();
    if !decision.plan.is_empty() {
        let Write::Apply(confirm) = write else { return Ok(pending(&decision.plan)) };
        confirm.obtain(reporter, &format!("Change this router ({})?", show::in_short(&decision.plan))).await?;
        let agreed = (confirm == super::report::Confirm::Ask).then_some(&decision.plan);
        let task = Task { site: &site.id, interest, decide: deciding, agreed };
        let local = LocalLock::claim(&site.id, &client.peer_addr().to_string()).map_err(show::busy_here)?;
        let before = client.round_trips();
        let done = |op: &_| reporter.event(&Event::Written(show::change(op)));
        let converged = converge(&client, task, local, &settled, &mut progress, done).await;
        show::tally(reporter, &progress, before);
        settled = converged.map_err(|error| show::unconverged(error, reporter))?;
        let detail = format!("{} writes; the router read again is as it should be", progress.writes);
        reporter.event(&Event::Step { step: Step::Verify, detail });
    }
    let public_key = tell_public_key(&site, &settled, reporter);
    let handshake = match progress {
        Progress { peer_added: true, .. } => Handshake::Any,
        Progress { peer_keyed: true, .. } => Handshake::After(begun),
        _ => Handshake::Recent,
    };
    let detail =
        format!("waiting up to {} s for a handshake and an answer through the tunnel", proof_timeout.as_secs());
    reporter.event(&Event::Step { step: Step::Prove, detail });
    let before = client.round_trips();
    let proven = prove(&client, &site, handshake, proof_timeout).await;
    let outcome = match proven? {
        Ok(proof) => converged(&proof, &progress),
        Err(evidence) => unproven(&client, &site, &evidence, &facts).await?,
    };
    reporter.tally(|tally| tally.round_trips.prove = client.round_trips() - before);
    client.close().await;
    Ok(outcome.detail("public_key", public_key).detail("changes", progress.changes))
}

/// Says which key the router has: someone may have to enter it at a hub that is not ours.
fn tell_public_key(site: &Site, observed: &Observed, reporter: &Reporter) -> Option<String> {
    let is_ours = |row: &&crate::reconcile::entry::Entry| {
        row.marker().is_some_and(|marker| marker.site == site.id && marker.role == Role::Interface)
    };
    let row = observed.rows(&menu::WIREGUARD).iter().find(is_ours)?;
    let public_key = row.text("public-key")?.into_owned();
    let interface = row.text("name").unwrap_or_default().into_owned();
    reporter.event(&Event::PublicKey { interface, public_key: public_key.clone() });
    Some(public_key)
}

/// Changes are needed and were not to be made.
pub fn pending(plan: &Plan) -> Outcome {
    Outcome::new(Verdict::Pending)
        .say(format!("pending  {}; nothing was written", show::in_short(plan)))
        .detail("changes", plan.ops.len())
}

fn converged(proof: &Proof, progress: &Progress) -> Outcome {
    let rtt = menu::format_duration(proof.rtt);
    let age = menu::format_duration(proof.handshake_age);
    let what = if progress.changes == 0 { "nothing to change" } else { "changed and read back" };
    Outcome::new(Verdict::Converged)
        .say(format!("proven   handshake {age} ago, {} answers through the tunnel in {rtt}; {what}", proof.probe))
        .detail(
            "proof",
            json!({
                "handshake_age_secs": proof.handshake_age.as_secs(),
                "probe": proof.probe.to_string(),
                "rtt_us": u64::try_from(proof.rtt.as_micros()).unwrap_or(u64::MAX),
                "waited_ms": u64::try_from(proof.waited.as_millis()).unwrap_or(u64::MAX),
            }),
        )
}

async fn unproven(client: &Client, site: &Site, evidence: &Evidence, facts: &Session) -> anyhow::Result<Outcome> {
    let causes = diagnose(client, site, evidence, facts.now).await?;
    let mut outcome = Outcome::new(Verdict::Unproven)
        .say("unproven the rows are in place, but the tunnel does not carry traffic yet; likely causes:");
    for cause in &causes {
        outcome = outcome.say(format!("  {}: {}", cause.code, cause.message)).say(format!("  hint: {}", cause.hint));
    }
    let told: Vec<_> =
        causes.iter().map(|cause| json!({"code": cause.code, "message": cause.message, "hint": cause.hint})).collect();
    Ok(outcome.detail("causes", told))
}
