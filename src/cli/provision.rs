//! `sitepeer provision`: plan, confirm, apply, prove.

use std::time::Duration;

use serde_json::json;

use super::args::{Provision, Write};
use super::report::{Confirm, Event, Outcome, Reporter, Step, Verdict};
use super::uplink::{self, Enrolling, Uplink};
use super::{guarded, session, show};
use crate::domain::{Role, Site};
use crate::reconcile::converge::{Deciding, Progress, Task};
use crate::reconcile::decide::{decide_guarded, decide_settled};
use crate::reconcile::generation::{as_on, row_in_use};
use crate::reconcile::guard::{GONE_WITHIN, classify, until_clear};
use crate::reconcile::observe::{Interest, Observed};
use crate::reconcile::plan::Plan;
use crate::reconcile::preflight::Session;
use crate::reconcile::prove::{Cause, Demand, Proof, diagnose, prove};
use crate::routeros::client::Client;
use crate::routeros::menu;

/// Carries out `provision`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Provision, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Provision { access, source, write, guard, proof_timeout, max_removals } = command;
    let writes = matches!(write, Write::Apply(_));
    let enrolling = if writes { Enrolling::Allowed } else { Enrolling::Forbidden };
    let (site, uplink) = uplink::site_of(source, enrolling, reporter).await?;
    let mut client = session::open(&access, reporter).await?;
    let interest = Interest::of(&site);
    let (observed, facts) = futures_util::join!(
        session::read(&client, &interest, reporter),
        session::facts(&client, &access, Some(&site), writes)
    );
    let mut observed = observed?;
    if writes {
        let clear = until_clear(&client, &interest, observed, GONE_WITHIN).await;
        observed = clear.map_err(|error| show::guard_failed(error, reporter))?;
    }
    let site = as_on(site, &observed);
    let deciding = |observed: &Observed| decide_guarded(&site, observed, &facts, max_removals);
    let decision = deciding(&observed).map_err(|why| show::refused(why, reporter))?;
    show::decision(&decision, reporter);
    show::touches(&classify(&decision.plan, &observed, &facts), guard, reporter);

    let mut progress = Progress::default();
    if !decision.plan.is_empty() {
        let Write::Apply(confirm) = write else { return Ok(pending(&decision.plan)) };
        #[cfg(feature = "proxy")]
        super::safe_mode::prepare(guard, &client, (&decision.plan, &observed), reporter).await?;
        confirm.obtain(reporter, &format!("Change this router ({})?", show::in_short(&decision.plan))).await?;
        let agreed = (confirm == Confirm::Ask).then_some(&decision.plan);
        let settled = |observed: &Observed| decide_settled(&site, observed, &facts);
        let task = Task { site: &site.id, interest, decide: &deciding as Deciding<'_>, settled: &settled as _, agreed };
        let place =
            guarded::Place { access: &access, client: &client, session: &facts, when: guard, site: Some(&site) };
        (observed, client) = guarded::carry_out(place, task, &observed, &mut progress, reporter).await?;
        let detail = format!("{} rows changed; the router read again is as it should be", progress.changes);
        reporter.event(&Event::Step { step: Step::Verify, detail });
    }
    let public_key = tell_public_key(&site, &observed, reporter);
    if let (Some(uplink), true) = (&uplink, writes) {
        uplink.applied(&site, &observed, reporter).await?;
    }
    let outcome = if uplink.as_ref().is_none_or(Uplink::is_enabled) {
        let demand = progress.demand(&site);
        proof(&client, &site, &observed, demand, proof_timeout, &facts, reporter).await
    } else {
        Ok(unproven(&[switched_off()]))
    };
    client.close().await;
    let outcome = reported(outcome?, uplink.as_ref().filter(|_| writes), reporter).await;
    Ok(outcome.detail("public_key", public_key).detail("changes", progress.changes))
}

/// Tells whether a tunnel carries traffic within a time, after what was written.
pub(super) async fn carries(
    client: &Client,
    site: &Site,
    observed: &Observed,
    progress: &Progress,
    within: Duration,
) -> bool {
    let peer = row_in_use(site, observed, &Role::Peer).map(|row| row.id().to_vec()).unwrap_or_default();
    matches!(prove(client, site, &peer, progress.demand(site), within).await, Ok(Ok(_)))
}

/// Reports how it went, if there is a hub.
async fn reported(outcome: Outcome, uplink: Option<&Uplink>, reporter: &Reporter) -> Outcome {
    let Some(uplink) = uplink else { return outcome };
    uplink.report(&outcome, reporter).await;
    outcome.detail("hub", uplink.figures())
}

/// Why there is nothing to wait for.
fn switched_off() -> Cause {
    Cause {
        code: "peer-disabled",
        message: "this peer is switched off at the hub: no gateway answers it".to_owned(),
        hint: "sitepeer hub peer enable".to_owned(),
    }
}

/// Says which key the router has: someone may have to enter it at a hub that is not ours.
pub(super) fn tell_public_key(site: &Site, observed: &Observed, reporter: &Reporter) -> Option<String> {
    let row = row_in_use(site, observed, &Role::Interface)?;
    let public_key = row.text("public-key")?.into_owned();
    let interface = row.text("name").unwrap_or_default().into_owned();
    reporter.event(&Event::PublicKey { interface, public_key: public_key.clone() });
    Some(public_key)
}

/// Waits for the proof and judges what came.
async fn proof(
    client: &Client,
    site: &Site,
    observed: &Observed,
    demand: Demand,
    timeout: Duration,
    facts: &Session,
    reporter: &Reporter,
) -> anyhow::Result<Outcome> {
    let detail = format!("waiting up to {} s for a handshake and an answer through the tunnel", timeout.as_secs());
    reporter.event(&Event::Step { step: Step::Prove, detail });
    let peer = row_in_use(site, observed, &Role::Peer).map(|row| row.id().to_vec()).unwrap_or_default();
    let before = client.round_trips();
    let proven = prove(client, site, &peer, demand, timeout).await;
    reporter.tally(|tally| tally.round_trips.prove = client.round_trips() - before);
    match proven? {
        Ok(proof) => Ok(proven_by(&proof)),
        Err(evidence) => Ok(unproven(&diagnose(client, site, &evidence, facts.now).await?)),
    }
}

/// Changes are needed and were not to be made.
#[must_use]
pub fn pending(plan: &Plan) -> Outcome {
    Outcome::new(Verdict::Pending)
        .say(format!("pending  {}; nothing was written", show::in_short(plan)))
        .detail("changes", plan.ops.len())
}

fn proven_by(proof: &Proof) -> Outcome {
    let rtt = show::millis(proof.rtt);
    let age = menu::format_duration(proof.handshake_age);
    let whole = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    Outcome::new(Verdict::Converged)
        .say(format!("proven   handshake {age} ago, {} answers through the tunnel in {rtt}", proof.probe))
        .detail(
            "proof",
            json!({
                "handshake_age_secs": proof.handshake_age.as_secs(),
                "probe": proof.probe.to_string(),
                "rtt_us": whole(proof.rtt.as_micros()),
                "waited_ms": whole(proof.waited.as_millis()),
            }),
        )
}

fn unproven(causes: &[Cause]) -> Outcome {
    let mut outcome = Outcome::new(Verdict::Unproven)
        .say("unproven the rows are in place, but the tunnel is not proven to carry traffic; likely causes:");
    for cause in causes {
        outcome = outcome.say(format!("  {}: {}", cause.code, cause.message)).say(format!("  hint: {}", cause.hint));
    }
    let told = causes.iter().map(|cause| json!({"code": cause.code, "message": cause.message, "hint": cause.hint}));
    outcome.detail("causes", told.collect::<Vec<_>>())
}
