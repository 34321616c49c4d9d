//! One run at a time on a router.
//!
//! The lock is an address-list entry with a timeout: the router refuses a second one, keeps it in memory only, and takes
//! it out by itself if we cannot. It matches no rule. A run that was cut off leaves it behind; the next run on the same
//! host proves by [`LocalLock`] that its owner is dead and takes over at once, any other host waits for the timeout.

use std::time::{Duration, Instant};

use super::local::LocalLock;
use crate::domain::{Marker, Role, SiteId};
use crate::reconcile::names::NAME_PREFIX;
use crate::reconcile::observe::Observed;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu;

/// How long the router keeps a lock nobody renews: longer than any stage on a slow link, short enough to wait for.
const LOCK_SECS: u64 = 60;
/// A lock older than this is renewed before the next stage.
const RENEW_AFTER: Duration = Duration::from_secs(LOCK_SECS / 2);
/// What the entry says; an address of the documentation's network, which no rule of anybody matches. RFC 5737.
const LOCK_ADDRESS: &str = "192.0.2.1";

/// A run's lock on a router.
#[derive(Debug)]
pub struct RouterLock {
    add: Command,
    id: Option<Vec<u8>>,
    taken: Instant,
    // Held as long as the lock: its file's lock proves that we live.
    _local: LocalLock,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("another run of sitepeer is at work on this router for site {site}{}", expiry(.expires))]
    Busy {
        /// The site.
        site: SiteId,
        /// When the router lets go of it, as it prints it.
        expires: Option<String>,
    },
    /// The router did not answer, or refused for another reason.
    #[error("taking the lock on the router")]
    Call(#[from] CallError),
}

fn expiry(expires: &Option<String>) -> String {
    expires.as_ref().map(|expires| format!(" (its lock ends by itself in {expires})")).unwrap_or_default()
}

/// A lock found on a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    id: Vec<u8>,
    token: String,
    /// When the router lets go of it, as it prints it.
    pub expires: Option<String>,
}

/// Returns the lock that a reading shows for a site.
#[must_use]
pub fn holder(observed: &Observed, site: &SiteId) -> Option<Holder> {
    observed.rows(&menu::ADDRESS_LIST).iter().find_map(|row| {
        // A lock is a dynamic row: the one kind of those that can be ours.
        let marker = Marker::of_comment(row.get("comment")?)?;
        (marker.role == Role::Lock && marker.site == *site).then(|| Holder {
            id: row.id().to_vec(),
            token: marker.key.unwrap_or_default(),
            expires: row.text("timeout").map(std::borrow::Cow::into_owned),
        })
    })
}

impl RouterLock {
    /// Takes the lock, or tells who has it. `seen` is the lock that the reading before showed.
    ///
    /// # Errors
    /// [`LockError`].
    ///
    /// # Cancel safety
    /// A dropped future may leave the lock behind, which ends by itself.
    pub async fn take(
        client: &Client,
        site: &SiteId,
        local: LocalLock,
        seen: Option<Holder>,
        written: &mut u64,
    ) -> Result<Self, LockError> {
        let busy = |expires| LockError::Busy { site: site.clone(), expires };
        match seen {
            Some(holder) if local.proves_dead(&holder.token) => remove(client, &holder.id, written).await?,
            Some(holder) => return Err(busy(holder.expires)),
            None => {}
        }
        let marker = Marker::keyed(site, Role::Lock, local.token());
        let add = Command::new("/ip/firewall/address-list/add")
            .attr("list", format!("{NAME_PREFIX}{site}-lock"))
            .attr("address", LOCK_ADDRESS)
            .attr("timeout", format!("{LOCK_SECS}s"))
            .attr("comment", marker.to_string());
        let id = match client.call(&add).await {
            Ok(reply) => reply.done.ret.map(|ret| ret.to_vec()),
            Err(error) if is_duplicate(&error) => return Err(busy(None)),
            Err(error) => return Err(error.into()),
        };
        *written += 1;
        Ok(Self { add, id, taken: Instant::now(), _local: local })
    }

    /// Takes the lock again if it was let go, and renews it if it is getting old.
    ///
    /// # Errors
    /// [`LockError::Busy`] if somebody took it meanwhile.
    pub(super) async fn keep(&mut self, client: &Client, written: &mut u64) -> Result<(), LockError> {
        if self.id.is_some() && self.taken.elapsed() < RENEW_AFTER {
            return Ok(());
        }
        self.release(client, written).await?;
        let reply = client.call(&self.add).await?;
        *written += 1;
        self.id = reply.done.ret.map(|ret| ret.to_vec());
        self.taken = Instant::now();
        Ok(())
    }

    /// Lets go of the lock; one that ended by itself is fine.
    ///
    /// # Errors
    /// Any [`CallError`] but that there is no such row.
    pub async fn release(&mut self, client: &Client, written: &mut u64) -> Result<(), CallError> {
        match self.id.take() {
            Some(id) => remove(client, &id, written).await,
            None => Ok(()),
        }
    }
}

async fn remove(client: &Client, id: &[u8], written: &mut u64) -> Result<(), CallError> {
    match client.call(&Command::new("/ip/firewall/address-list/remove").attr(".id", id)).await {
        Ok(_) => {
            *written += 1;
            Ok(())
        }
        Err(error) if error.refusal().is_some_and(|refusal| refusal.to_string().contains("no such item")) => Ok(()),
        Err(error) => Err(error),
    }
}

/// *Source:* "failure: already have such entry", observed by jmrplens/cs-routeros-bouncer.
fn is_duplicate(error: &CallError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.to_string().contains("already have"))
}
