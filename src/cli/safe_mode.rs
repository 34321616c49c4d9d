//! Carries a change out in the router's own safe mode, for who asks for it, and says how it went.

use super::failure::Failure;
use super::guarded::Place;
use super::report::{Event, Reporter, Step, Verdict};
use super::show;
use crate::reconcile::apply::LocalLock;
use crate::reconcile::converge::{Deciding, Progress, Settling, Task};
use crate::reconcile::guard::{
    DEAD_PEER, GuardError, Guarding, NotSafe, Patience, SafeError, Timing, Unconfirmed, When, apply_in_safe_mode,
    check_safe_mode,
};
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::Plan;
use crate::routeros::client::Client;

/// Says what safe mode does beyond what is asked for, and looks whether it can be had, before anybody is asked.
///
/// # Errors
/// A [`Failure`] with exit 5 if it cannot be had, 4 if the router does not answer.
pub async fn prepare(
    when: When,
    client: &Client,
    (plan, observed): (&Plan, &Observed),
    reporter: &Reporter,
) -> anyhow::Result<()> {
    if when != When::SafeMode {
        return Ok(());
    }
    check_safe_mode(client, plan, observed).await.map_err(not_safe)?;
    let message = "until a new connection confirms this change, whatever anybody changes on the router is in safe mode too: \
                   undone with it, if it is undone";
    let hint = Some("see that nobody else works there now; --guard undoes our own changes only".to_owned());
    reporter.event(&Event::Warning { code: "safe-mode", message: message.to_owned(), hint });
    Ok(())
}

/// Carries a task out; returns the last reading, and the connection to go on with.
///
/// # Errors
/// Anything that has an exit code of its own.
pub async fn carry_out(
    place: Place<'_>,
    task: Task<'_, Deciding<'_>, Settling<'_>>,
    observed: &Observed,
    progress: &mut Progress,
    reporter: &Reporter,
) -> anyhow::Result<(Observed, Client)> {
    let client = place.client;
    let local = LocalLock::claim(&client.peer_addr().to_string()).map_err(show::busy_here)?;
    let done = |op: &_| reporter.event(&Event::Written(show::change(op)));
    let lost = || {
        let detail = format!(
            "the session in safe mode has ended: the router undoes the changes as soon as it notices, which may take {} \
             minutes; looking for it until then, and stopping this command changes nothing about it",
            DEAD_PEER.as_secs() / 60
        );
        reporter.event(&Event::Step { step: Step::Write, detail });
    };
    let guarding = Guarding { when: place.when, session: place.session, timing: Timing::default(), reach: &place };
    let carried =
        apply_in_safe_mode(client, task, local, observed, progress, done, (guarding, Patience::new(&lost))).await;
    show::tally(reporter, progress);
    let carried = carried.map_err(|error| failed(error, reporter))?;
    if carried.client.is_some() {
        let detail = "confirmed over a new connection; the router is out of safe mode".to_owned();
        reporter.event(&Event::Step { step: Step::Write, detail });
    }
    Ok((carried.observed, carried.client.unwrap_or_else(|| client.clone())))
}

/// What a run in safe mode that did not get through means for the exit code.
fn failed(error: SafeError, reporter: &Reporter) -> anyhow::Error {
    let message = error.to_string();
    let failure = match error {
        SafeError::Guard(error) => {
            if let GuardError::PutBack { .. } = &error {
                let message = "what others changed on the router meanwhile was undone with it";
                reporter.event(&Event::Warning { code: "safe-mode", message: message.to_owned(), hint: None });
            }
            return show::guard_failed(error, reporter);
        }
        SafeError::NotSafe(why) => return not_safe(why),
        SafeError::OutOfSight { .. } => Failure::new(Verdict::Unreachable, "out-of-sight", message)
            .hint("look at it with sitepeer status in a while; it needs nobody for coming back"),
        SafeError::NotUndone { why: Unconfirmed::Incomplete(why) } => {
            let why = Failure::from(show::unconverged(why, reporter)).message;
            let message = format!("the changes were not confirmed, and the router did not undo all of them: {why}");
            Failure::new(Verdict::Rejected, "not-undone", message).hint(NOT_UNDONE)
        }
        SafeError::NotUndone { .. } => Failure::new(Verdict::Rejected, "not-undone", message).hint(NOT_UNDONE),
    };
    failure.into()
}

/// The way out of half a change.
const NOT_UNDONE: &str = "safe mode ended early: too many changes at once, a restart, or somebody took it over; \
                          sitepeer plan shows what is left to do, and the same command with --guard completes it";

fn not_safe(why: NotSafe) -> anyhow::Error {
    let message = format!("no change is made without safe mode: {why}");
    let refused = |code| Failure::new(Verdict::Refused, code, message);
    let failure = match why {
        NotSafe::TooOld(_) => refused("safe-mode-missing")
            .hint("--guard does the same with every version, by a script that the router runs"),
        NotSafe::Held(_) => refused("safe-mode-held").hint(
            "wait until it is let go of, or ask who holds it; --guard does not need it, but would be undone with it",
        ),
        NotSafe::TooLong(_) => refused("safe-mode-too-long").hint("--guard undoes a plan of any length"),
        NotSafe::Denied(_) | NotSafe::NotInForce => refused("safe-mode-refused")
            .hint("the user needs the policies read, write, test and api; --guard does the same by a script"),
        NotSafe::Call(source) => return anyhow::Error::new(source).context("taking safe mode"),
    };
    failure.into()
}
