//! `sitepeer remove`: takes out all rows of a site, and proves it.

use super::args::{Remove, Subject, Write};
use super::provision::pending;
use super::report::{Confirm, Event, Outcome, Reporter, Step, Verdict};
use super::{session, show};
use crate::reconcile::apply::LocalLock;
use crate::reconcile::converge::{Progress, Task, converge};
use crate::reconcile::decide::decide_removal;
use crate::reconcile::observe::{Interest, Observed};

/// Carries out `remove`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Remove, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Remove { access, subject, write } = command;
    let client = session::open(&access, reporter).await?;
    let interest = Interest::default();
    let observed = session::read(&client, &interest, reporter).await?;
    let site = match subject {
        Subject::Site(site) => site.id,
        Subject::Instance(name) => session::site_on(&observed, Some(&name))?,
        Subject::Only if observed.sites().is_empty() => return Ok(removed(&Progress::default())),
        Subject::Only => session::site_on(&observed, None)?,
    };
    let facts = session::facts(&client, &access, None, true).await;
    let deciding = |observed: &Observed| decide_removal(&site, observed, &facts);
    let settled = |observed: &Observed| deciding(observed).map(|decision| decision.plan);
    let decision = deciding(&observed).map_err(|why| show::refused(why, reporter))?;
    show::decision(&decision, reporter);
    if decision.plan.is_empty() {
        return Ok(removed(&Progress::default()));
    }
    let Write::Apply(confirm) = write else { return Ok(pending(&decision.plan)) };
    confirm.obtain(reporter, &format!("Take {} rows of site {site} out?", decision.plan.ops.len())).await?;

    let agreed = (confirm == Confirm::Ask).then_some(&decision.plan);
    let task = Task { site: &site, interest, decide: deciding, settled, agreed };
    let local = LocalLock::claim(&client.peer_addr().to_string()).map_err(show::busy_here)?;
    let mut progress = Progress::default();
    let done = |op: &_| reporter.event(&Event::Written(show::change(op)));
    let converged = converge(&client, task, local, &observed, &mut progress, done).await;
    show::tally(reporter, &progress);
    converged.map_err(|error| show::unconverged(error, reporter))?;
    let detail = "the router read again has no row of this site".to_owned();
    reporter.event(&Event::Step { step: Step::Verify, detail });
    client.close().await;
    Ok(removed(&progress))
}

fn removed(progress: &Progress) -> Outcome {
    let said = match progress.changes {
        0 => "removed  there was nothing of ours on this router".to_owned(),
        rows => format!("removed  {rows} rows; nothing of this site is left on the router"),
    };
    Outcome::new(Verdict::Removed).say(said).detail("changes", progress.changes)
}
