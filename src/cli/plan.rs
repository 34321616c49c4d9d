//! `sitepeer plan`: the difference, with the reason of each change.

use super::args::Plan;
use super::provision::pending;
use super::report::{Outcome, Reporter, Verdict};
use super::uplink::{self, Enrolling};
use super::{session, show};
use crate::reconcile::decide::decide_guarded;
use crate::reconcile::generation::as_on;
use crate::reconcile::guard::{When, classify};
use crate::reconcile::observe::Interest;

/// A plan is only shown: whatever it removes.
const NO_LIMIT: usize = usize::MAX;

/// Carries out `plan`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Plan, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Plan { access, source } = command;
    let (site, _uplink) = uplink::site_of(source, Enrolling::Forbidden, reporter).await?;
    let client = session::open(&access, reporter).await?;
    let interest = Interest::of(&site);
    let (observed, facts) = futures_util::join!(
        session::read(&client, &interest, reporter),
        session::facts(&client, &access, Some(&site), false)
    );
    client.close().await;
    let observed = observed?;
    let site = as_on(site, &observed);
    let decision = decide_guarded(&site, &observed, &facts, NO_LIMIT).map_err(|why| show::refused(why, reporter))?;
    show::decision(&decision, reporter);
    show::touches(&classify(&decision.plan, &observed, &facts), When::default(), reporter);
    if decision.plan.is_empty() {
        return Ok(Outcome::new(Verdict::Converged).detail("changes", 0));
    }
    Ok(pending(&decision.plan))
}
