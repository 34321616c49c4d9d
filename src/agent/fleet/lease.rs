//! The sites that this proxy has a lease of, from a hub that several proxies share.
//!
//! One task renews all leases by one request every [`RENEW_EVERY`], and hands the supervisor the routers that are this proxy's by
//! now. A lease counts from when the request was *sent*, less [`MARGIN`], by a clock that goes on while the process or the machine
//! is stopped: whoever slept finds its leases ended, and writes nothing by them.
//!
//! # A hub that is away for longer than a lease
//!
//! Routers are kept right then as well: this process goes on with what it has, for as long as the hub is not heard. That the hub
//! may be away for this process only, and may have given its leases to others, is why each run then asks the router itself, under its
//! lock, whose it is: [`crate::reconcile::fence`]. A longer lease for whoever is alone was the other way: a proxy that died for good
//! would then leave its routers to nobody until that ended, and two proxies would both stand still without their hub. The first
//! word of the hub ends it, a refusal too. A process that was started while the hub was away has nothing to go on with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Credentials;
use crate::agent::{Follow, Member, Source};
use crate::api::{LEASE_MS, LeaseReply, LeaseRequest, LeasedSite, MAX_LEASES, SiteId};
use crate::reconcile::apply::Warrant;
use crate::uplink::{Hub, Retry, UplinkError};

/// Between two renewals: a lease survives three that fail.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Before a renewal that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Between two requests of a proxy that takes more.
const TAKE_EVERY: Duration = Duration::from_millis(200);
/// How long the hub may take for one.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// A lease is not relied on for its last seconds: what was sent to a router before them is through by its end.
const MARGIN: Duration = Duration::from_secs(5);
/// Where leases are asked for.
const LEASES: &str = "/v1/proxy/leases";

/// Time since this machine was started, in which it slept included.
#[must_use]
pub fn boot_time() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = nix::time::ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    // The kernel has had this clock for longer than anything else we need. Without it every lease would seem to have ended.
    clock.now().map_or(Duration::MAX, Duration::from)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A lease of one site.
#[derive(Debug)]
pub struct Lease {
    number: i64,
    /// When it is not relied on any more, by [`boot_time`] in milliseconds.
    until: AtomicU64,
    /// Whether the hub is away for longer than leases last.
    away: Arc<AtomicBool>,
}

/// A lease of a hub that is away, for one run: the router's own lock and note stand in for the hub's word.
#[derive(Debug)]
struct Away(i64);

impl Lease {
    /// A lease that is relied on until then.
    #[must_use]
    pub fn new(number: i64, until: Duration) -> Self {
        Self::of_hub(number, until, &Arc::default())
    }

    fn of_hub(number: i64, until: Duration, away: &Arc<AtomicBool>) -> Self {
        Self { number, until: AtomicU64::new(millis(until)), away: Arc::clone(away) }
    }

    /// It was renewed.
    pub fn extend(&self, until: Duration) {
        self.until.fetch_max(millis(until), Ordering::Relaxed);
    }
}

impl Warrant for Lease {
    fn number(&self) -> i64 {
        self.number
    }

    fn holds(&self) -> bool {
        millis(boot_time()) < self.until.load(Ordering::Relaxed)
    }

    fn of_run(self: Arc<Self>) -> Arc<dyn Warrant> {
        if !self.holds() && self.away.load(Ordering::Relaxed) { Arc::new(Away(self.number)) } else { self }
    }
}

impl Warrant for Away {
    fn number(&self) -> i64 {
        self.0
    }

    /// The run is under a lock that everybody waits for, and ends when that is lost.
    fn holds(&self) -> bool {
        true
    }

    fn of_run(self: Arc<Self>) -> Arc<dyn Warrant> {
        self
    }

    fn yields(&self) -> bool {
        false
    }

    fn refuses(&self, noted: Option<i64>) -> Option<String> {
        let is_ours = noted == Some(self.0);
        let whose = noted.map_or_else(|| "without a lease".to_owned(), |noted| format!("under lease {noted}"));
        (!is_ours)
            .then(|| format!("the hub is away, and the router is driven {whose} by now: this is lease {}", self.0))
    }
}

/// All leases of this process.
#[derive(Debug)]
pub struct Leases {
    hub: Hub,
    request: LeaseRequest,
    rules: watch::Receiver<Arc<Credentials>>,
    fleets: mpsc::Sender<Vec<Member>>,
    sites: Vec<LeasedSite>,
    held: BTreeMap<SiteId, Arc<Lease>>,
    /// What is let go of, and not renewed.
    leaving: BTreeSet<SiteId>,
    /// Sites whose routers cannot be logged in to, which were told already.
    told: BTreeSet<SiteId>,
    /// Until when all of them are relied on.
    until: Duration,
    /// Whether the hub is away for longer than that.
    away: Arc<AtomicBool>,
    failures: u32,
}

impl Leases {
    /// Of the process that calls itself `process`, at a hub; routers go to `fleets`, logged in to by the newest `rules`.
    #[must_use]
    pub fn new(
        hub: Hub,
        process: String,
        room: u32,
        rules: watch::Receiver<Arc<Credentials>>,
        fleets: mpsc::Sender<Vec<Member>>,
    ) -> Self {
        let request = LeaseRequest { proxy: process, room: room.min(MAX_LEASES), ..LeaseRequest::default() };
        Self {
            hub,
            request,
            rules,
            fleets,
            sites: Vec::new(),
            held: BTreeMap::new(),
            leaving: BTreeSet::new(),
            told: BTreeSet::new(),
            until: Duration::ZERO,
            away: Arc::default(),
            failures: 0,
        }
    }

    /// Renews and takes until nobody drives routers any more.
    ///
    /// # Cancel safety
    /// What was taken ends by itself.
    pub async fn run(mut self) {
        let mut has_rules = true;
        while !self.fleets.is_closed() {
            let pause = self.round().await;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.rules.changed(), if has_rules => {
                    has_rules = changed.is_ok();
                    self.told.clear();
                    self.hand_over().await;
                }
            }
        }
    }

    /// Tells the hub that this process drives nothing any more: others take over at once.
    ///
    /// # Errors
    /// [`UplinkError`]; the leases end by themselves then.
    pub async fn end(hub: &Hub, process: String) -> Result<(), UplinkError> {
        let request = LeaseRequest { proxy: process, ends: true, ..LeaseRequest::default() };
        hub.post::<_, LeaseReply>(LEASES, &request).await.map(drop)
    }

    /// One request, and what comes of it; returns when the next is due.
    async fn round(&mut self) -> Duration {
        let sent = boot_time();
        self.request.leave = self.leaving.iter().cloned().collect();
        let asked = self.hub.post::<_, LeaseReply>(LEASES, &self.request);
        let (why, is_away) = match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(reply)) => return self.take(reply, sent).await,
            // A hub that says no is there.
            Ok(Err(error)) => (error.to_string(), error.retry() != Retry::Never),
            Err(_) => (format!("no answer within {} s", ANSWER_WITHIN.as_secs()), true),
        };
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::warn!(why, "the hub renews no leases: what this proxy has is driven until they end");
        }
        if boot_time() >= self.until && !self.sites.is_empty() {
            if !is_away {
                tracing::warn!(
                    sites = self.sites.len(),
                    why,
                    "all leases have ended, and the hub gives none: hands off"
                );
                self.away.store(false, Ordering::Relaxed);
                self.forget();
                self.hand_over().await;
            } else if !self.away.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    sites = self.sites.len(),
                    why,
                    "the hub is away for longer than a lease: its routers are kept up as long as they say themselves that nobody else drives them"
                );
            }
        }
        TRY_AGAIN
    }

    fn forget(&mut self) {
        self.sites.clear();
        self.held.clear();
        self.leaving.clear();
        self.request.known = None;
    }

    async fn take(&mut self, reply: LeaseReply, sent: Duration) -> Duration {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "the hub renews leases again");
            self.failures = 0;
        }
        let lasts = Duration::from_millis(reply.lease_ms.min(LEASE_MS)).saturating_sub(MARGIN);
        let until = sent.saturating_add(lasts);
        if boot_time() >= until {
            // The answer took so long, or this process was stopped meanwhile: nothing of it is to be relied on.
            return Duration::ZERO;
        }
        self.until = until;
        // Before anything is handed over: from now on only what the hub renews is written by.
        self.away.store(false, Ordering::Relaxed);
        let is_news = reply.sites.is_some() || reply.give_up.iter().any(|site| !self.leaving.contains(site));
        if let Some(sites) = reply.sites {
            (self.sites, self.request.known) = (sites, Some(reply.digest));
        }
        self.leaving.extend(reply.give_up);
        let now: BTreeSet<&SiteId> = self.sites.iter().map(|site| &site.site).collect();
        self.leaving.retain(|site| now.contains(site));
        self.held.retain(|site, _| now.contains(site));
        for site in self.sites.iter().filter(|site| !self.leaving.contains(&site.site)) {
            match self.held.get(&site.site).filter(|lease| lease.number == site.number) {
                Some(lease) => lease.extend(until),
                None => {
                    drop(self.held.insert(site.site.clone(), Arc::new(Lease::of_hub(site.number, until, &self.away))));
                }
            }
        }
        if is_news {
            tracing::info!(sites = self.sites.len(), leaving = self.leaving.len(), "leases");
            self.hand_over().await;
        }
        if reply.more { TAKE_EVERY } else { RENEW_EVERY }
    }

    /// Gives the supervisor the routers that are this proxy's now.
    async fn hand_over(&mut self) {
        let rules = Arc::clone(&self.rules.borrow_and_update());
        let mut members = Vec::new();
        for site in self.sites.iter().filter(|site| !self.leaving.contains(&site.site)) {
            let Some(lease) = self.held.get(&site.site) else { continue };
            for peer in &site.peers {
                let name = if site.peers.len() == 1 { site.name.clone() } else { format!("{}/{peer}", site.name) };
                let lease: Arc<dyn Warrant> = Arc::<Lease>::clone(lease);
                let (hub, peer) = (self.hub.clone(), peer.clone());
                let follow = Follow { hub, peer, kept: None, lease: Some(lease) };
                match rules.login(site) {
                    Ok((access, password)) => {
                        let source = Source::Hub(Box::new(follow));
                        members.push(Member { name, access, passwords: Some(Arc::new(password)), source });
                    }
                    Err(error) if self.told.insert(site.site.clone()) => {
                        tracing::error!(%error, "a router of this proxy is not driven");
                    }
                    Err(_) => {}
                }
            }
        }
        // Nobody there: the process ends.
        let _taken = self.fleets.send(members).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_until_its_time_and_is_only_ever_extended() {
        let now = boot_time();
        assert!(now > Duration::ZERO && now < Duration::MAX);
        let lease = Lease::new(7, now);
        assert!(!lease.holds());
        lease.extend(now + Duration::from_mins(1));
        assert!(lease.holds());
        lease.extend(now);
        assert!(lease.holds(), "an older answer that came late");
    }

    #[test]
    fn a_renewal_may_fail_three_times_and_still_come_in_time() {
        let lasts = Duration::from_millis(LEASE_MS).saturating_sub(MARGIN);
        assert!(RENEW_EVERY + 2 * TRY_AGAIN + ANSWER_WITHIN < lasts);
        assert!(MARGIN >= ANSWER_WITHIN, "a batch of writes is answered within the margin");
    }
}
