//! One look at a router, and what was done about it.

use super::gates::Gates;
use super::source::Wanted;
use crate::domain::{Marker, PublicKey, Role};
use crate::reconcile::apply::{BusyHere, LocalLock};
use crate::reconcile::converge::{ConvergeError, Progress, Task, converge};
use crate::reconcile::decide::{Decision, Refused, decide, decide_settled};
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::{Interest, Observed, ReadError, observe};
use crate::reconcile::plan::{Op, Plan};
use crate::reconcile::preflight::Session;
use crate::routeros::client::Client;
use crate::routeros::menu::{self, Menu};

/// What a round came to.
#[derive(Debug)]
pub(super) struct Round {
    /// The router as it is now.
    pub(super) observed: Observed,
    /// Rows changed.
    pub(super) changes: u64,
    /// Writes, the lock's included.
    pub(super) writes: u64,
    /// What had to be changed, in words.
    pub(super) done: Vec<String>,
}

/// Why a round did not bring the router to what is wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundError {
    /// It could not be read.
    #[error("the router cannot be read")]
    Read(#[from] ReadError),
    /// A rule speaks against writing to it.
    #[error("{}", in_words(.0))]
    Refused(Refused),
    /// Writing did not end well.
    #[error("the router is not as it is wanted")]
    Converge(#[from] ConvergeError),
    /// Another process of this machine is at work on it.
    #[error(transparent)]
    BusyHere(#[from] BusyHere),
}

impl RoundError {
    /// Tells whether the session is over, rather than the router unwilling.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(call) = error.downcast_ref::<crate::routeros::error::CallError>() {
                return call.refusal().is_none();
            }
            source = error.source();
        }
        matches!(self, Self::Read(ReadError::Deadline))
    }
}

/// A refusal with the first thing that speaks for it.
fn in_words(refused: &Refused) -> String {
    let first = match refused {
        Refused::Preflight(findings) => {
            findings.first().map(|finding| format!("{}: {}", finding.code, finding.message))
        }
        Refused::Ambiguous(doubts) => doubts.first().map(ToString::to_string),
        Refused::Removals { .. } => None,
    };
    first.map_or_else(|| refused.to_string(), |first| format!("{refused}: {first}"))
}

/// Reads the router, and writes to it if it is not as wanted.
///
/// # Errors
/// [`RoundError`]; what was written before stays, and the next round goes on from there.
///
/// # Cancel safety
/// As [`converge`].
pub(super) async fn round(
    client: &Client,
    user: &str,
    wanted: &Wanted,
    max_removals: usize,
    gates: &Gates,
) -> Result<Round, RoundError> {
    let site = &wanted.site;
    let interest = Interest::of(site);
    let (observed, session) =
        futures_util::join!(observe(client, &interest), Session::of(client, user, Some(site), super::now(), true));
    let observed = observed?;
    let deciding = |observed: &Observed| decide(site, observed, &session, max_removals);
    let Decision { plan, warnings } = deciding(&observed).map_err(RoundError::Refused)?;
    for warning in &warnings {
        tracing::debug!(code = warning.code, message = warning.message, "speaks against it, but not enough");
    }
    if plan.is_empty() {
        return Ok(Round { observed, changes: 0, writes: 0, done: Vec::new() });
    }
    // Held until everything is written and read again.
    let _place = gates.applying().await;
    let local = LocalLock::claim(&client.peer_addr().to_string())?;
    let settled = |observed: &Observed| -> Result<Plan, Refused> { decide_settled(site, observed, &session) };
    let task = Task { site: &site.id, interest, decide: deciding, settled, agreed: None };
    let (mut progress, mut done) = (Progress::default(), Vec::new());
    let written = |op: &Op| done.push(format!("{op}: {}", op.reason));
    let observed = converge(client, task, local, &observed, &mut progress, written).await?;
    Ok(Round { observed, changes: progress.changes, writes: progress.writes, done })
}

impl Round {
    /// The key of the router's end, if it tells.
    pub(super) fn public_key(&self, wanted: &Wanted) -> Option<PublicKey> {
        self.own(wanted, &menu::WIREGUARD, &Role::Interface)?.parse("public-key")
    }

    /// The row of the site that has a role.
    fn own(&self, wanted: &Wanted, menu: &Menu, role: &Role) -> Option<&Entry> {
        let is_it = |marker: Marker| marker.site == wanted.site.id && marker.role == *role;
        self.observed.rows(menu).iter().find(|row| row.marker().is_some_and(is_it))
    }
}
