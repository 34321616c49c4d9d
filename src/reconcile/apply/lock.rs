//! One run at a time on a router.
//!
//! The lock is an address-list entry with a timeout: the router refuses a second one, keeps it in memory only, and takes
//! it out by itself if we cannot. It matches no rule. A run that was cut off leaves it behind; the next run on the same
//! host proves by [`LocalLock`] that its owner is dead and takes over at once, any other host waits for the timeout.
//!
//! A run with a [`super::Warrant`] writes its number into the lock. Whoever has a larger one takes the lock over at once, for the
//! smaller one has ended; whoever has a smaller one stops. The right is looked at before each batch. What remains: a process that is
//! stopped after that look and before its batch is sent, writes that one batch when it goes on. A right that has no end of its own
//! ([`super::Warrant::yields`]) has a lock without a number, as a run without any.

use std::time::{Duration, Instant};

use super::local::LocalLock;
use super::warrant::may_write;
use crate::domain::{Marker, Role, SiteId};
use crate::reconcile::observe::Observed;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu;

/// How long the router keeps a lock nobody renews: longer than any stage on a slow link, short enough to wait for.
const LOCK_SECS: u64 = 60;
/// A lock older than this is renewed before the next batch of writes.
const RENEW_AFTER: Duration = Duration::from_secs(LOCK_SECS / 2);
/// How long a lock that cannot be renewed is relied on: its time, less what a batch may take.
const GOOD_FOR: Duration = Duration::from_secs(LOCK_SECS - 15);
/// One list for all sites: two runs at once would plan on each other's half-made rows.
const LOCK_LIST: &str = "sitepeer-lock";
/// What the entry says; an address of the documentation's network, which no rule of anybody matches. RFC 5737.
const LOCK_ADDRESS: &str = "192.0.2.1";

/// A run's lock on a router.
#[derive(Debug)]
pub struct RouterLock {
    site: SiteId,
    id: Option<Vec<u8>>,
    taken: Instant,
    // Held as long as the lock: its file's lock proves that we live.
    local: LocalLock,
}

/// Why a lock was not taken, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("another run of sitepeer is at work on this router{}", holding(.0.as_ref()))]
    Busy(Option<Holder>),
    /// It ran out before the work was done, and whatever happened since is not known.
    #[error("the lock on the router ran out before the work was done")]
    Lost,
    /// The right to write to this router has ended: it is somebody else's.
    #[error("this process has no right any more to write to this router")]
    Unwarranted,
    /// The router did not answer, or refused for another reason.
    #[error("taking the lock on the router")]
    Call(#[from] CallError),
}

fn holding(holder: Option<&Holder>) -> String {
    let Some(holder) = holder else { return String::new() };
    let expires = holder.expires.as_ref().map(|expires| format!("; its lock ends by itself in {expires}"));
    format!(" for site {}{}", holder.site, expires.unwrap_or_default())
}

/// A lock found on a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    id: Vec<u8>,
    token: String,
    /// Of its warrant.
    number: Option<i64>,
    site: SiteId,
    /// When the router lets go of it, as it prints it.
    expires: Option<String>,
}

/// Returns the lock that a reading shows, whichever site's run has it.
#[must_use]
pub fn holder(observed: &Observed) -> Option<Holder> {
    // A lock is a dynamic row, the one kind of those that can be ours: a static one would never end.
    observed.rows(&menu::ADDRESS_LIST).iter().filter(|row| row.is_true("dynamic")).find_map(|row| {
        let marker = Marker::of_comment(row.get("comment")?)?;
        let key = marker.key.unwrap_or_default();
        let (token, number) = key.split_once(':').unwrap_or((&key, ""));
        (marker.role == Role::Lock).then(|| Holder {
            id: row.id().to_vec(),
            token: token.to_owned(),
            number: number.parse().ok(),
            site: marker.site,
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
        let mut lock = Self { site: site.clone(), id: None, taken: Instant::now(), local };
        lock.check()?;
        let number = lock.local.warrant().as_ref().map(|warrant| warrant.number());
        let yields = lock.local.warrant().as_ref().is_some_and(|warrant| warrant.yields());
        let left = match seen {
            Some(holder) if lock.local.proves_dead(&holder.token) => Some(holder),
            // No number is smaller than any: such a run has nothing that could have ended.
            Some(holder) if holder.number.is_some() && number > holder.number && yields => Some(holder),
            Some(holder) if number.is_some() && holder.number > number => return Err(LockError::Unwarranted),
            Some(holder) => return Err(LockError::Busy(Some(holder))),
            None => None,
        };
        match left {
            Some(holder) if remove(client, &holder.id, written).await? == Removed::Stays => {
                // If its token is ours too, it protects us as long as it lasts.
                if !lock.local.proves_dead(&holder.token) {
                    return Err(LockError::Busy(Some(holder)));
                }
                lock.id = Some(holder.id);
            }
            _ => lock.add(client, written).await?,
        }
        Ok(lock)
    }

    /// Tells whether the lock was taken and not let go.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.id.is_some()
    }

    /// Tells whether a reading shows the lock as ours, by the token that nobody else has, and takes its id from there.
    pub fn is_shown_by(&mut self, observed: &Observed) -> bool {
        let ours = holder(observed).filter(|holder| holder.token == self.local.token());
        let is_ours = ours.is_some();
        self.id = ours.map(|holder| holder.id).or(self.id.take());
        is_ours
    }

    /// Looks whether the run may still write.
    ///
    /// # Errors
    /// [`LockError::Unwarranted`].
    pub fn check(&self) -> Result<(), LockError> {
        if may_write(self.local.warrant()) { Ok(()) } else { Err(LockError::Unwarranted) }
    }

    async fn add(&mut self, client: &Client, written: &mut u64) -> Result<(), LockError> {
        let token = self.local.token();
        let marker = match self.local.warrant() {
            Some(warrant) if warrant.yields() => {
                Marker::keyed(&self.site, Role::Lock, format_args!("{token}:{}", warrant.number()))
            }
            _ => Marker::keyed(&self.site, Role::Lock, token),
        };
        let add = Command::new("/ip/firewall/address-list/add")
            .attr("list", LOCK_LIST)
            .attr("address", LOCK_ADDRESS)
            .attr("timeout", format!("{LOCK_SECS}s"))
            .attr("comment", marker.to_string());
        match client.call(&add).await {
            Ok(reply) => self.id = reply.done.ret.map(|ret| ret.to_vec()),
            Err(error) if is_duplicate(&error) => return Err(LockError::Busy(None)),
            Err(error) => return Err(error.into()),
        }
        *written += 1;
        self.taken = Instant::now();
        Ok(())
    }

    /// Renews the lock if it is getting old.
    ///
    /// # Errors
    /// [`LockError::Lost`] if it ended meanwhile, [`LockError::Busy`] if somebody took it, [`LockError::Unwarranted`].
    pub(super) async fn keep(&mut self, client: &Client, written: &mut u64) -> Result<(), LockError> {
        self.check()?;
        if self.taken.elapsed() < RENEW_AFTER {
            return Ok(());
        }
        let Some(id) = self.id.take() else { return Err(LockError::Lost) };
        match remove(client, &id, written).await? {
            Removed::Done => self.add(client, written).await,
            Removed::Stays if self.taken.elapsed() < GOOD_FOR => {
                self.id = Some(id);
                Ok(())
            }
            Removed::Stays | Removed::Gone => Err(LockError::Lost),
        }
    }

    /// Lets go of the lock; one that ended by itself is fine, and so is one that the router keeps until it does.
    ///
    /// # Errors
    /// Any [`CallError`] but a refusal.
    pub async fn release(&mut self, client: &Client, written: &mut u64) -> Result<(), CallError> {
        // Whoever may not write any more leaves even the lock: it ends by itself, or is taken over.
        match self.id.take().filter(|_| may_write(self.local.warrant())) {
            Some(id) if remove(client, &id, written).await? != Removed::Stays => self.local.forget(),
            _ => {}
        }
        Ok(())
    }
}

/// What became of a lock that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removed {
    /// It is out.
    Done,
    /// It was not there any more.
    Gone,
    /// The router does not let go of a dynamic row before its time: whether every version does is only inferred.
    Stays,
}

/// Takes a lock out.
async fn remove(client: &Client, id: &[u8], written: &mut u64) -> Result<Removed, CallError> {
    match client.call(&Command::new("/ip/firewall/address-list/remove").attr(".id", id)).await {
        Ok(_) => {
            *written += 1;
            Ok(Removed::Done)
        }
        Err(error) => match error.refusal() {
            Some(refusal) if refusal.mentions("no such item") => Ok(Removed::Gone),
            Some(_) => Ok(Removed::Stays),
            None => Err(error),
        },
    }
}

/// *Source:* "failure: already have such entry", observed by jmrplens/cs-routeros-bouncer.
fn is_duplicate(error: &CallError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.mentions("already have"))
}
