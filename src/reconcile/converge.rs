//! Carries a decision out: lock, read again, decide again, apply, read again until nothing is left to do.

use std::time::{Duration, Instant};

use super::apply::{ApplyError, ArmError, LocalLock, LockError, RouterLock, WRITES_IN_FLIGHT, apply, holder};
use super::decide::{Decision, Refused};
use super::entry::Entry;
use super::generation::row_in_use;
use super::guard::{Found, armed};
use super::observe::{Interest, Observed, ReadError, observe};
use super::plan::{Op, Plan};
use super::prove::{Demand, Handshake};
use crate::domain::{Role, Site, SiteId};
use crate::routeros::client::Client;
use crate::routeros::error::CallError;
use crate::routeros::menu::parse_duration;

/// Most times a plan is made and applied. The second is for what RouterOS is not known to do by itself, such as following
/// a renamed interface; what is left after it will not go away by trying again.
const MAX_PASSES: usize = 2;
/// Longest wait for letting go of the lock on the way out of an error: it ends by itself anyway.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

/// What a run is to do: two decisions, one before writing and one after.
pub struct Task<'a, D, S> {
    /// Whose rows.
    pub site: &'a SiteId,
    /// What to look for.
    pub interest: Interest,
    /// What must be done, or why nothing may be.
    pub decide: D,
    /// What is left to do after writing.
    pub settled: S,
    /// The plan that a person agreed to; another one is then not carried out. `None` takes any.
    pub agreed: Option<&'a Plan>,
}

/// What decides, behind a reference: all who carry out a task share one copy of the code then, which is large.
pub type Deciding<'a> = &'a (dyn Fn(&Observed) -> Result<Decision, Refused> + Sync);
/// The same of what tells what is left to do.
pub type Settling<'a> = &'a (dyn Fn(&Observed) -> Result<Plan, Refused> + Sync);

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
    /// Whether the hub's endpoint was written.
    pub endpoint_written: bool,
    /// The reading that the writes were decided on, and when it was through.
    pub before: Option<(Observed, Instant)>,
    /// Round trips of reading under the lock.
    pub reading: u64,
    /// Round trips of writing.
    pub writing: u64,
    /// Round trips of reading again.
    pub verifying: u64,
}

impl Progress {
    /// Returns what a proof must show after what was written. A session that was there before a key was goes on without it for minutes,
    /// and proves nothing of it.
    #[must_use]
    pub fn demand(&self, site: &Site) -> Demand {
        let age = |peer: &Entry| parse_duration(peer.get("last-handshake")?);
        let handshake = match self.before.as_ref().filter(|_| self.peer_keyed) {
            _ if self.peer_added => Handshake::Any,
            Some((observed, read)) => match row_in_use(site, observed, &Role::Peer).and_then(age) {
                Some(age) => Handshake::Another(read.checked_sub(age).unwrap_or(*read)),
                None => Handshake::Any,
            },
            None => Handshake::Recent,
        };
        Demand { handshake, endpoint: self.endpoint_written }
    }
}

/// Why a run did not converge.
#[derive(Debug, thiserror::Error)]
pub enum ConvergeError {
    /// The lock was not to be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Reading failed.
    #[error("reading the router again")]
    Read(#[source] ReadError),
    /// Letting go of the lock failed, after everything was done.
    #[error("letting go of the lock")]
    Release(#[source] CallError),
    /// Under the lock the router looked different, and may not be written to.
    #[error(transparent)]
    Refused(Refused),
    /// Somebody changed the router between the plan that was agreed to and the lock.
    #[error("the router was changed by somebody else since the plan was shown")]
    Changed,
    /// A guard is armed: the router may put itself back at any moment.
    #[error("{}", .0.explain())]
    Guarded(Found),
    /// The plan must be guarded, and cannot be.
    #[error(transparent)]
    Unarmed(#[from] ArmError),
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

/// What stands by while a plan is carried out.
pub(super) trait Standby {
    /// Sees a plan before it is carried out, and returns what of it may be done now.
    fn before(
        &mut self,
        client: &Client,
        plan: Plan,
        observed: &Observed,
        written: &mut u64,
    ) -> impl Future<Output = Result<Plan, ArmError>> + Send;

    /// Most changes sent before the first of them is answered.
    fn in_flight(&self) -> usize;

    /// Whether what is left to do may be left for now.
    fn leaves(&self, rest: &Plan) -> bool;

    /// Whether the lock is kept until it has seen how it went.
    fn keeps_lock(&self) -> bool {
        false
    }

    /// Sees how it went, before the lock is let go.
    fn through(
        &mut self,
        _client: &Client,
        _outcome: &Result<Observed, ConvergeError>,
        _progress: &Progress,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Nobody stands by.
struct Alone;

impl Standby for Alone {
    async fn before(&mut self, _: &Client, plan: Plan, _: &Observed, _: &mut u64) -> Result<Plan, ArmError> {
        Ok(plan)
    }

    fn in_flight(&self) -> usize {
        WRITES_IN_FLIGHT
    }

    fn leaves(&self, rest: &Plan) -> bool {
        rest.is_empty()
    }
}

/// Carries a task out and returns the last reading, which leaves nothing to do.
///
/// # Errors
/// [`ConvergeError`]; `progress` then says how far it came, and the next run goes on from there.
///
/// # Cancel safety
/// Dropping the future may leave changes half made and the lock behind: the next run completes the first and takes over or
/// waits for the second.
pub async fn converge<D, S>(
    client: &Client,
    task: Task<'_, D, S>,
    local: LocalLock,
    before: &Observed,
    progress: &mut Progress,
    mut done: impl FnMut(&Op),
) -> Result<Observed, ConvergeError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
    S: Fn(&Observed) -> Result<Plan, Refused>,
{
    converge_with(client, &task, local, before, progress, &mut done, &mut Alone).await
}

/// The same, with somebody who stands by.
pub(super) async fn converge_with<D, S>(
    client: &Client,
    task: &Task<'_, D, S>,
    local: LocalLock,
    before: &Observed,
    progress: &mut Progress,
    done: &mut impl FnMut(&Op),
    standby: &mut impl Standby,
) -> Result<Observed, ConvergeError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
    S: Fn(&Observed) -> Result<Plan, Refused>,
{
    let begun = client.round_trips();
    // The lock and the reading go out together: a router that works in the order of arrival reads under the lock.
    let (lock, read) = futures_util::join!(
        RouterLock::take(client, task.site, local, holder(before), &mut progress.writes),
        observe(client, &task.interest)
    );
    let mut lock = lock?;
    let outcome = match under_lock(&mut lock, client, task, read).await {
        Ok((observed, decision)) => {
            progress.before = Some((observed.clone(), Instant::now()));
            progress.reading = client.round_trips() - begun;
            write(client, task, &mut lock, (decision.plan, observed), progress, done, standby).await
        }
        Err(error) => Err(error),
    };
    standby.through(client, &outcome, progress).await;
    // On the way out of an error; after a lost connection this fails too, and the lock ends by itself.
    let released = tokio::time::timeout(RELEASE_DEADLINE, lock.release(client, &mut progress.writes)).await;
    match (outcome, released) {
        (Ok(_), Ok(Err(error))) => Err(ConvergeError::Release(error)),
        (outcome, _) => outcome,
    }
}

/// Decides anew on a reading that was surely made while the lock was held.
async fn under_lock<D, S>(
    lock: &mut RouterLock,
    client: &Client,
    task: &Task<'_, D, S>,
    read: Result<Observed, ReadError>,
) -> Result<(Observed, Decision), ConvergeError>
where
    D: Fn(&Observed) -> Result<Decision, Refused>,
{
    let mut observed = read.map_err(ConvergeError::Read)?;
    if !lock.is_shown_by(&observed) {
        observed = observe(client, &task.interest).await.map_err(ConvergeError::Read)?;
        if !lock.is_shown_by(&observed) {
            return Err(LockError::Lost.into());
        }
    }
    lock.check()?;
    if let Some(armed) = armed(&observed) {
        return Err(ConvergeError::Guarded(armed));
    }
    let decision = (task.decide)(&observed).map_err(ConvergeError::Refused)?;
    match task.agreed {
        Some(agreed) if !agreed.same_as(&decision.plan) => Err(ConvergeError::Changed),
        _ => Ok((observed, decision)),
    }
}

async fn write<D, S>(
    client: &Client,
    task: &Task<'_, D, S>,
    lock: &mut RouterLock,
    (mut plan, mut observed): (Plan, Observed),
    progress: &mut Progress,
    done: &mut impl FnMut(&Op),
    standby: &mut impl Standby,
) -> Result<Observed, ConvergeError>
where
    S: Fn(&Observed) -> Result<Plan, Refused>,
{
    for pass in 1.. {
        lock.check()?;
        let begun = client.round_trips();
        let mut writes = progress.writes;
        let armed = standby.before(client, plan, &observed, &mut writes).await;
        progress.writes = writes;
        plan = armed?;
        let applied = apply(client, &plan, lock, standby.in_flight(), &mut writes, |op| {
            progress.note(op);
            done(op);
        })
        .await;
        progress.writes = writes;
        progress.writing += client.round_trips() - begun;
        applied.map_err(ConvergeError::Apply)?;
        // What is expected to be the last reading takes the lock's release along: one round trip for both.
        let begun = client.round_trips();
        let (read, released) = futures_util::join!(observe(client, &task.interest), async {
            if standby.keeps_lock() || (pass < MAX_PASSES && plan.may_need_another_pass()) {
                Ok(())
            } else {
                lock.release(client, &mut writes).await
            }
        });
        progress.writes = writes;
        progress.verifying += client.round_trips() - begun;
        released.map_err(ConvergeError::Release)?;
        observed = read.map_err(ConvergeError::Read)?;
        plan = (task.settled)(&observed).map_err(ConvergeError::Refused)?;
        if standby.leaves(&plan) {
            return Ok(observed);
        }
        if pass >= MAX_PASSES || !lock.is_held() {
            break;
        }
    }
    Err(ConvergeError::Unsettled(plan))
}

impl Progress {
    fn note(&mut self, op: &Op) {
        self.changes += 1;
        if op.marker.role == Role::Peer {
            self.peer_added |= op.is_addition();
            self.peer_keyed |= op.sets(&["public-key", "preshared-key"]);
            self.endpoint_written |= op.is_addition() || op.sets(&["endpoint-address", "endpoint-port"]);
        }
    }
}
