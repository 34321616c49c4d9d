//! `sitepeer remove`: takes out all rows of a site, and proves it.

use super::args::{Remove, Subject, Write};
use super::provision::pending;
use super::report::{Confirm, Event, Outcome, Reporter, Step, Verdict};
use super::{guarded, session, show};
use crate::domain::SiteId;
use crate::reconcile::apply::sweep;
use crate::reconcile::converge::{Deciding, Progress, Task};
use crate::reconcile::decide::decide_removal_guarded;
use crate::reconcile::guard::{GONE_WITHIN, classify, guard_of, guards, until_clear};
use crate::reconcile::observe::{Interest, Observed};
use crate::routeros::client::Client;
use crate::routeros::error::CallError;

/// Carries out `remove`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Remove, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Remove { access, subject, write, guard } = command;
    let mut client = session::open(&access, reporter).await?;
    let interest = Interest::default();
    let mut observed = session::read(&client, &interest, reporter).await?;
    if matches!(write, Write::Apply(_)) {
        let clear = until_clear(&client, &interest, observed, GONE_WITHIN).await;
        observed = clear.map_err(|error| show::guard_failed(error, reporter))?;
    }
    let site = match subject {
        Subject::Site(site) => site.id,
        #[cfg(feature = "proxy")]
        Subject::Id(site) => site,
        Subject::Instance(name) => session::site_on(&observed, Some(&name))?,
        Subject::Only if observed.sites().is_empty() => match guards(&observed).pop() {
            Some(left) => left.site,
            None => return Ok(removed(&Progress::default())),
        },
        Subject::Only => session::site_on(&observed, None)?,
    };
    let facts = session::facts(&client, &access, None, true).await;
    let deciding = |observed: &Observed| decide_removal_guarded(&site, observed);
    let settled = |observed: &Observed| deciding(observed).map(|decision| decision.plan);
    let decision = deciding(&observed).map_err(|why| show::refused(why, reporter))?;
    show::decision(&decision, reporter);
    show::touches(&classify(&decision.plan, &observed, &facts), guard, reporter);
    let mut progress = Progress::default();
    let Write::Apply(confirm) = write else {
        let is_done = decision.plan.is_empty();
        return Ok(if is_done { removed(&progress) } else { pending(&decision.plan) });
    };
    if decision.plan.is_empty() {
        take_left(&client, &observed, &site, &mut progress).await?;
        return Ok(removed(&progress));
    }
    #[cfg(feature = "proxy")]
    super::safe_mode::prepare(guard, &client, (&decision.plan, &observed), reporter).await?;
    confirm.obtain(reporter, &format!("Take {} rows of site {site} out?", decision.plan.ops.len())).await?;

    let agreed = (confirm == Confirm::Ask).then_some(&decision.plan);
    let task = Task { site: &site, interest, decide: &deciding as Deciding<'_>, settled: &settled as _, agreed };
    let place = guarded::Place { access: &access, client: &client, session: &facts, when: guard, site: None };
    (observed, client) = guarded::carry_out(place, task, &observed, &mut progress, reporter).await?;
    take_left(&client, &observed, &site, &mut progress).await?;
    let detail = "the router read again has no row of this site".to_owned();
    reporter.event(&Event::Step { step: Step::Verify, detail });
    client.close().await;
    Ok(removed(&progress))
}

/// Takes out a guard that was left over: it is a row of this site, too.
async fn take_left(
    client: &Client,
    observed: &Observed,
    site: &SiteId,
    progress: &mut Progress,
) -> Result<(), CallError> {
    match guard_of(observed, site).filter(|found| !found.armed) {
        Some(left) => sweep(client, &left, &mut progress.writes).await,
        None => Ok(()),
    }
}

fn removed(progress: &Progress) -> Outcome {
    let said = match progress.changes {
        0 => "removed  there was nothing of ours on this router".to_owned(),
        rows => format!("removed  {rows} rows; nothing of this site is left on the router"),
    };
    Outcome::new(Verdict::Removed).say(said).detail("changes", progress.changes)
}
