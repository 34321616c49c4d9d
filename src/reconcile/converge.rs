//! Carries a decision out: lock, read again, decide again, apply, read again until nothing is left to do.

use super::apply::{ApplyError, LocalLock, LockError, RouterLock, apply, holder};
use super::decide::{Decision, Refused};
use super::observe::{Interest, Observed, observe};
use super::plan::{Op, Plan};
use crate::domain::{Role, SiteId};
use crate::routeros::client::Client;
use crate::routeros::error::CallError;

/// Most times a plan is made and applied. The second is for what RouterOS is not known to do by itself, such as following
/// a renamed interface; what is left after it will not go away by trying again.
const MAX_PASSES: usize = 2;

/// What a run is to do.
pub struct Task<'a, D> {
    /// Whose rows.
    pub site: &'a SiteId,
    /// What to look for.
    pub interest: Interest,
    /// From a reading to a decision.
    pub decide: D,
    /// The plan that a person agreed to; another one is then not carried out. `None` takes any.
    pub agreed: Option<&'a Plan>,
}

/// How far a run came, true even on error.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Writes that the router said were done, the lock's included.
    pub writes: u64,
    /// Rows changed, the lock's excluded.
    pub changes: u64,
    /// Whether the peer was made.
    pub peer_added: bool,
    /// Whether keys of the peer were written.
    pub peer_keyed: bool,
    /// The count of round trips after reading under the lock, after writing, and after verifying.
    pub trips: [u64; 3],
}

/// Why a run did not converge.
#[derive(Debug, thiserror::Error)]
pub enum ConvergeError {
    /// The lock was not to be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Reading failed.
    #[error("reading the router again")]
    Read(#[source] CallError),
    /// Under the lock the router looked different, and may not be written to.
    #[error(transparent)]
    Refused(Refused),
    /// Somebody changed the router between the plan that was agreed to and the lock.
    #[error("the router was changed by somebody else since the plan was shown")]
    Changed,
    /// A write was refused or lost.
    #[error("the router did not take a change")]
    Apply(#[source] ApplyError),
    /// Everything was written, and still something differs.
    #[error("{} changes are still to be made after everything was written; the first: {}", .0.ops.len(), first(.0))]
    Unsettled(Plan),
}

fn first(plan: &Plan) -> String {
    plan.ops.first().map(ToString::to_string).unwrap_or_default()
}

/// Carries a task out and returns the last reading, which leaves nothing to do.
///
/// # Errors
/// [`ConvergeError`]; `progress` then says how far it came, and the next run goes on from there.
///
/// # Cancel safety
/// Dropping the future may leave changes half made and the lock behind: the next run completes the first and takes over or
/// waits for the second.
pub async fn converge<D>(
    client: &Client,
    task: Task<'_, D>,
    local: LocalLock,
    before: &Observed,
    progress: &mut Progress,
    mut done: impl FnMut(&Op),
) -> Result<Observed, ConvergeError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
{
    let seen = holder(before, task.site);
    // The lock and the reading go out together: the router works in the order of arrival.
    let (lock, read) = futures_util::join!(
        RouterLock::take(client, task.site, local, seen, &mut progress.writes),
        observe(client, &task.interest)
    );
    let mut lock = lock?;
    let outcome = under_lock(client, &task, &mut lock, read, progress, &mut done).await;
    // After a lost connection this fails too, and the lock ends by itself; the outcome says what went wrong.
    let released = lock.release(client, &mut progress.writes).await;
    match (outcome, released) {
        (Ok(observed), Ok(())) => Ok(observed),
        (Ok(_), Err(error)) => Err(ConvergeError::Read(error)),
        (Err(error), _) => Err(error),
    }
}

async fn under_lock<D>(
    client: &Client,
    task: &Task<'_, D>,
    lock: &mut RouterLock,
    read: Result<Observed, CallError>,
    progress: &mut Progress,
    done: &mut impl FnMut(&Op),
) -> Result<Observed, ConvergeError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
{
    let mut observed = read.map_err(ConvergeError::Read)?;
    progress.trips[0] = client.round_trips();
    let mut plan = (task.decide)(&observed).map_err(ConvergeError::Refused)?.plan;
    if task.agreed.is_some_and(|agreed| !agreed.same_as(&plan)) {
        return Err(ConvergeError::Changed);
    }
    for _ in 0..MAX_PASSES {
        if plan.is_empty() {
            break;
        }
        let (changes, added, keyed) = (&mut progress.changes, &mut progress.peer_added, &mut progress.peer_keyed);
        apply(client, &plan, lock, &mut progress.writes, |op| {
            *changes += 1;
            *added |= op.marker.role == Role::Peer && op.verb() == "add";
            *keyed |= writes_keys(op);
            done(op);
        })
        .await
        .map_err(ConvergeError::Apply)?;
        progress.trips[1] = client.round_trips();
        // Letting go goes out with the reading; a second pass takes the lock anew.
        let (released, again) =
            futures_util::join!(lock.release(client, &mut progress.writes), observe(client, &task.interest));
        released.map_err(ConvergeError::Read)?;
        observed = again.map_err(ConvergeError::Read)?;
        plan = (task.decide)(&observed).map_err(ConvergeError::Refused)?.plan;
    }
    progress.trips[2] = client.round_trips();
    if plan.is_empty() { Ok(observed) } else { Err(ConvergeError::Unsettled(plan)) }
}

/// Whether a change makes the session with the hub a new one.
fn writes_keys(op: &Op) -> bool {
    match &op.change {
        super::plan::Change::Set { fields, .. } if op.marker.role == Role::Peer => {
            fields.iter().any(|field| matches!(field.name, "public-key" | "preshared-key"))
        }
        _ => false,
    }
}
