//! What is wanted of a router: a site config from a file, or from the hub, which may want something else at any time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::kept::Kept;
use super::pace::Pace;
use super::standing::Standing;
use crate::api::{AgentDesired, DEFAULT_WAIT_SECS, MAX_FREEZE_SECS, PeerId, code};
use crate::domain::{PublicKey, Site};
use crate::reconcile::apply::Warranted;
use crate::uplink::{self, Hub, UplinkError};

/// Shortest time between two questions: a hub gone wrong, or a proxy without patience, answers at once what was to wait.
const ASK_LEAST: Duration = Duration::from_secs(1);
/// Before a hub that failed is asked again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time until a hub that was away is asked again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long hands are held off by one word of the hub that the credential was taken back: longer than until it is asked again.
const HANDS_OFF: Duration = Duration::from_mins(10);
const _: () = assert!(HANDS_OFF.as_secs() > 2 * LONGEST_PAUSE.as_secs(), "it would write between two words");

/// What is to be on a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The site config.
    pub site: Site,
    /// The hub's number for it; 0 from a file.
    pub revision: i64,
    /// Whether the hub lets the peer in.
    pub enabled: bool,
    /// Hands off until then, in seconds since 1970: somebody works on the router.
    pub frozen_until: Option<i64>,
    /// The same by a clock of this host that nobody can set; goes before the other, where the hub said for how long.
    pub frozen_to: Option<Instant>,
    /// The key that the hub has for this router.
    pub known_key: Option<PublicKey>,
}

impl Wanted {
    /// Returns for how much longer hands are off; `unix` is in seconds since 1970.
    #[must_use]
    pub fn frozen_for(&self, unix: i64) -> Option<Duration> {
        // Whatever became of this host's clock since the hub said for how long.
        let by_clock = || u64::try_from(self.frozen_until?.checked_sub(unix)?).ok().map(Duration::from_secs);
        self.frozen_to.map(|to| to.saturating_duration_since(Instant::now())).or_else(by_clock)
    }
}

/// Where it comes from.
#[derive(Debug)]
pub enum Source {
    /// A file, read once.
    File(Box<Site>),
    /// A hub.
    Hub(Box<Follow>),
}

/// A site at its hub.
#[derive(Debug)]
pub struct Follow {
    /// With the site's own credential.
    pub hub: Hub,
    /// Who it is there.
    pub peer: PeerId,
    /// What the hub wanted last, if that is kept.
    pub kept: Option<Kept>,
    /// The lease of a proxy that speaks for the site; `None` for the site's own agent.
    pub lease: Warranted,
}

impl Follow {
    /// Where the hub hears of, or tells, something of this peer.
    pub(super) fn path(&self, what: &str) -> Path {
        let (start, number) = match &self.lease {
            None => ("/v1/agent".to_owned(), None),
            Some(lease) => (format!("/v1/proxy/peers/{}", self.peer), Some(lease.number())),
        };
        Path { text: format!("{start}/{what}"), number }
    }
}

/// A path at the hub, with the number of a lease if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
    number: Option<i64>,
}

impl Path {
    /// The path with a query of these pairs.
    pub(super) fn with(&self, pairs: &[(&str, String)]) -> String {
        let number = self.number.map(|number| ("number", number.to_string()));
        let pairs: Vec<String> = number.iter().chain(pairs).map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { self.text.clone() } else { format!("{}?{}", self.text, pairs.join("&")) }
    }
}

/// The newest wish, `None` until there is one.
pub(super) type Wish = Option<Arc<Wanted>>;

impl Source {
    /// Returns where the newest wish is read, and who follows the hub for it.
    pub(super) fn begin(self, standing: &Standing) -> (watch::Receiver<Wish>, Option<Follower>) {
        match self {
            Self::File(site) => {
                let wanted = Wanted {
                    site: *site,
                    revision: 0,
                    enabled: true,
                    frozen_until: None,
                    frozen_to: None,
                    known_key: None,
                };
                let (sender, wish) = watch::channel(Some(Arc::new(wanted)));
                // Nobody will say anything else; a receiver does not mind.
                drop(sender);
                (wish, None)
            }
            Self::Hub(follow) => {
                let (sender, wish) = watch::channel(None);
                let follower = Follower { follow: *follow, wish: sender, revision: None, standing: standing.clone() };
                (wish, Some(follower))
            }
        }
    }
}

/// Follows what a hub wants of one site.
pub(super) struct Follower {
    follow: Follow,
    wish: watch::Sender<Wish>,
    revision: Option<i64>,
    standing: Standing,
}

impl Follower {
    /// Never ends: a hub that is away comes back.
    ///
    /// # Cancel safety
    /// What was taken from the hub is on the disk before it is passed on.
    pub(super) async fn run(mut self) {
        if let Some(desired) = self.follow.kept.as_ref().and_then(Kept::desired).cloned() {
            tracing::info!(router = self.standing.name(), revision = desired.revision, "begins with what was kept");
            self.pass_on(desired);
        }
        let mut pace = Pace::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let asked = Instant::now();
            match self.follow.hub.poll::<AgentDesired>(&self.path()).await {
                Ok(news) => {
                    if pace.failures() > 0 {
                        tracing::info!(router = self.standing.name(), "the hub is back");
                    }
                    pace.succeeded();
                    if let Some(desired) = news {
                        self.take(desired);
                    }
                    tokio::time::sleep(ASK_LEAST.saturating_sub(asked.elapsed())).await;
                }
                Err(error) => {
                    self.complain(&error, pace.failures());
                    if error.is_refused_with(code::TOKEN_REVOKED) {
                        self.hold_off();
                    }
                    let pause = pace.failed().max(error.retry_after().unwrap_or_default());
                    tokio::time::sleep(pause.min(LONGEST_PAUSE * 2)).await;
                }
            }
        }
    }

    /// Whose credential was taken back drives no more: somebody else does, or will. It is not gone for good: a hub that was put back
    /// from a backup may know it again.
    fn hold_off(&self) {
        self.wish.send_if_modified(|wish| {
            let Some(wanted) = wish else { return false };
            // A freeze that lasts longer is not cut short by it.
            let left = wanted.frozen_for(super::now()).unwrap_or_default().max(HANDS_OFF);
            let held = Wanted { frozen_to: Some(Instant::now() + left), ..Wanted::clone(wanted) };
            *wish = Some(Arc::new(held));
            true
        });
    }

    fn path(&self) -> String {
        let desired = self.follow.path("desired");
        match self.revision {
            Some(revision) => {
                desired.with(&[("revision", revision.to_string()), ("wait", DEFAULT_WAIT_SECS.to_string())])
            }
            None => desired.with(&[]),
        }
    }

    /// Once: a hub that is away is no news a second time.
    fn complain(&self, error: &UplinkError, failures: u32) {
        let router = self.standing.name();
        if failures > 0 {
            tracing::debug!(router, %error, "the hub still does not say what it wants");
        } else {
            tracing::warn!(router, %error, hint = error.hint(), "the hub does not say what it wants: what it wanted last is kept up");
        }
    }

    /// Keeps what the hub wants, and passes it on.
    fn take(&mut self, desired: AgentDesired) {
        if desired.config.is_some()
            && let Some(kept) = &mut self.follow.kept
        {
            match kept.keep(&desired) {
                Ok(()) => self.standing.note(|figures| figures.disk_writes = kept.writes()),
                Err(error) => {
                    let hint = error.hint();
                    tracing::error!(router = self.standing.name(), error = %Chain(&error), hint, "what the hub wants is not kept");
                }
            }
        }
        self.pass_on(desired);
    }

    fn pass_on(&mut self, desired: AgentDesired) {
        let router = self.standing.name().to_owned();
        let AgentDesired { revision, enabled, public_key, frozen_until, gateway_online, .. } = desired;
        // No longer than any freeze may last: what a hub says is not added up unseen.
        let frozen_for = desired.frozen_for_secs.map(|secs| Duration::from_secs(secs.min(MAX_FREEZE_SECS)));
        let frozen_to = frozen_for.map(|left| Instant::now() + left);
        self.standing.note(|figures| figures.gateway_online = gateway_online);
        let waiting_for = desired.waiting_for.clone();
        self.revision = Some(revision);
        match uplink::site(desired, &self.follow.peer) {
            Ok(Some(mut site)) => {
                site.fence = self.follow.lease.as_ref().map(|lease| lease.number());
                let wanted = Wanted { site, revision, enabled, frozen_until, frozen_to, known_key: public_key };
                self.wish.send_replace(Some(Arc::new(wanted)));
            }
            Ok(None) => tracing::info!(router, waiting_for, "the hub has no whole site config yet"),
            // What was wanted before goes on: it was safe.
            Err(error) => tracing::error!(router, %error, revision, "the hub's site config is refused"),
        }
    }
}

/// An error with its causes, for a log.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
