//! What agents say of themselves, written many at once.
//!
//! A report or an acknowledgement has to be on the disk before it is answered, and a fleet sends thousands of them in the same
//! second, before operators' changes at SQLite's one writer. One task takes all that came meanwhile, up to [`AT_ONCE`], and writes
//! them in one transaction; it waits for nobody, so one that comes alone is written at once.

use std::future::Future;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::agent;
use super::db::{Db, Tx};
use super::lease::{self, Claim};
use crate::api::{AgentApplied, AgentReports, PeerId, code};
use crate::hub::store::{StoreError, Stored};

/// Written in one transaction: a few milliseconds' work, so that a change that comes next does not wait long.
const AT_ONCE: usize = 256;
/// What may wait; whoever comes then waits at the door.
const QUEUE: usize = 2048;
/// Longest wait at the door, as for a connection to the database.
const DOOR_WAIT: Duration = Duration::from_secs(5);
/// Longest time for one transaction, and longest wait for an answer: a database that takes packets and answers nothing must hold up
/// neither the task nor, by it, a whole fleet.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// What an agent says.
#[derive(Debug)]
pub(super) enum Said {
    /// Reports.
    Reports(AgentReports),
    /// What is on its router, with the key that the hub knows already.
    Applied(AgentApplied),
}

/// Something said, by whom, and who waits for it to be written.
#[derive(Debug)]
struct Item {
    peer: PeerId,
    /// Of a proxy.
    claim: Option<Claim>,
    said: Said,
    answer: oneshot::Sender<Stored<i64>>,
}

/// The way to the task, which ends with it.
#[derive(Debug)]
pub(super) struct Telemetry {
    queue: mpsc::Sender<Item>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Telemetry {
    /// Starts the task.
    pub fn start(db: Arc<Db>) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        Self { queue, task: tokio::spawn(run(db, items)) }
    }

    /// Returns once it is written: for reports, up to which number the hub has them.
    ///
    /// # Cancel safety
    /// What was dropped while it waited may be written all the same: it can be said again.
    pub async fn write(&self, peer: PeerId, claim: Option<Claim>, said: Said) -> Stored<i64> {
        let (answer, written) = oneshot::channel();
        let item = Item { peer, claim, said, answer };
        self.queue.send_timeout(item, DOOR_WAIT).await.map_err(|_| away())?;
        tokio::time::timeout(WRITE_WAIT, written).await.map_err(|_| away())?.map_err(|_| away())?
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("what agents say is not written just now".into())
}

/// Why nothing of what was to be written together was.
#[derive(Debug)]
enum Failed {
    /// The database gives no transaction, or does not answer: the next one would wait as long for nothing.
    Away(StoreError),
    /// One of them spoils it for all.
    Spoilt(StoreError),
}

async fn run(db: Arc<Db>, mut items: mpsc::Receiver<Item>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    while items.recv_many(&mut batch, AT_ONCE).await > 0 {
        // Whoever gave up waiting says it again.
        batch.retain(|item: &Item| !item.answer.is_closed());
        if batch.is_empty() {
            continue;
        }
        // In one order everywhere, so that two replicas do not wait for each other.
        batch.sort_by(|a, b| a.peer.cmp(&b.peer));
        match within(together(&db, &batch)).await {
            Ok(answers) => batch.drain(..).zip(answers).for_each(|(item, answer)| tell(item.answer, answer)),
            Err(Failed::Spoilt(_)) if batch.len() > 1 => one_by_one(&db, &mut batch).await,
            Err(Failed::Spoilt(error) | Failed::Away(error)) => refuse(batch.drain(..), error),
        }
    }
}

/// Each gets its own answer, as long as the database gives any.
async fn one_by_one(db: &Db, batch: &mut Vec<Item>) {
    let mut items = batch.drain(..);
    while let Some(item) = items.next() {
        let error = match within(together(db, slice::from_ref(&item))).await {
            Ok(mut answers) => {
                tell(item.answer, answers.pop().unwrap_or_else(|| Err(away())));
                continue;
            }
            Err(Failed::Spoilt(error)) => {
                tell(item.answer, Err(error));
                continue;
            }
            Err(Failed::Away(error)) => error,
        };
        return refuse(std::iter::once(item).chain(items), error);
    }
}

/// The first is told why, the others that it is so.
fn refuse(items: impl Iterator<Item = Item>, error: StoreError) {
    let mut why = Some(error);
    items.for_each(|item| tell(item.answer, Err(why.take().unwrap_or_else(away))));
}

async fn within<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    tokio::time::timeout(WRITE_WAIT, work).await.unwrap_or_else(|_| Err(Failed::Away(away())))
}

fn tell(to: oneshot::Sender<Stored<i64>>, answer: Stored<i64>) {
    // Whoever does not wait any more says it again.
    let _gone = to.send(answer);
}

/// Writes all, or nothing. That a peer is not there any more, or a lease has ended, concerns nobody else.
async fn together(db: &Db, batch: &[Item]) -> Result<Vec<Stored<i64>>, Failed> {
    let mut tx = db.begin().await.map_err(Failed::Away)?;
    let mut answers = Vec::with_capacity(batch.len());
    let claimed: Vec<&PeerId> = batch.iter().filter(|item| item.claim.is_some()).map(|item| &item.peer).collect();
    lease::hold(db, &mut tx, &claimed).await.map_err(Failed::Spoilt)?;
    for item in batch {
        match take(db, &mut tx, item).await {
            Err(error) if !is_own_matter(&error) => return Err(Failed::Spoilt(error)),
            answer => answers.push(answer),
        }
    }
    tx.commit().await.map_err(Failed::Spoilt)?;
    Ok(answers)
}

/// Whether nothing was written when it was found out.
fn is_own_matter(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. } | StoreError::Conflict { code: code::LEASE_ENDED, .. })
}

async fn take(db: &Db, tx: &mut Tx, item: &Item) -> Stored<i64> {
    if let Some(claim) = &item.claim {
        claim.check(db, tx, &item.peer).await?;
    }
    match &item.said {
        Said::Reports(reports) => agent::take_reports(tx, &item.peer, reports).await,
        Said::Applied(applied) => agent::take_applied(tx, &item.peer, applied).await,
    }
}
