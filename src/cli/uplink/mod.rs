//! A site's dealings with its hub: enrol once, wait for the site config, tell what was done and how it is.
//!
//! | module | holds |
//! |---|---|
//! | [`credential`] | the file that says who this site is |
//! | `patience` | asking again where that helps |

pub mod credential;
mod patience;

use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use self::credential::{Enrolled, Kept, random_hex};
use self::patience::patiently;
use super::args::{HubSource, Source};
use super::failure::Failure;
use super::report::{Event, Outcome, Reporter, Step, Verdict};
use super::session;
use crate::agent;
use crate::api::{
    AgentApplied, AgentDesired, AgentReport, AgentReports, DeviceFacts, EnrollReply, EnrollRequest, EnrollmentKind,
    PeerId, ReportsTaken, TunnelHealth, code,
};
use crate::domain::{PublicKey, Secret, Site, SiteId};
use crate::reconcile::observe::Observed;
use crate::uplink::{self, Hub, UplinkError};

/// Where a hub says what is to be on a router.
const DESIRED: &str = "/v1/agent/desired";
/// Where a site asks for a new key of its router.
const ROTATE: &str = "/v1/agent/rotate";
/// Longest single wait at the hub: short enough to say from time to time that it still waits.
const WAIT: Duration = Duration::from_secs(20);
/// Shortest time between two questions for the config: a proxy with little patience, or a hub gone wrong, answers at once what was
/// to wait.
const ASK_LEAST: Duration = Duration::from_millis(200);
/// How long a hub is told again what it did not hear.
const TELL_PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an epoch.
const EPOCH_BYTES: usize = 8;

/// Whether a command may enrol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolling {
    /// It may.
    Allowed,
    /// It only looks.
    Forbidden,
}

/// A hub that knows this site, and what it wants.
pub struct Uplink {
    hub: Hub,
    peer: PeerId,
    revision: i64,
    is_enabled: bool,
    /// The key the hub has for this router.
    known_key: Option<PublicKey>,
}

/// Returns the site of a file or of a hub; for the latter, enrols first if need be and waits until the config is whole.
///
/// # Errors
/// [`UplinkError`] or [`uplink::UnfitSite`], which have exit codes of their own, or a [`Failure`].
pub async fn site_of(
    source: Source,
    enrolling: Enrolling,
    reporter: &Reporter,
) -> anyhow::Result<(Site, Option<Uplink>)> {
    match source {
        Source::File(site) => Ok((*site, None)),
        Source::Hub(source) => {
            let end = Instant::now() + source.timeout;
            let who = who(&source, enrolling, end, reporter).await?;
            let hub = source.hub.with_credential(who.credential.clone());
            let (site, uplink) = config(hub, &who, &source, end, reporter).await?;
            Ok((site, Some(uplink)))
        }
    }
}

/// Returns who this site is at its hub; enrols first if need be. Once it is enrolled the hub is not asked.
///
/// # Errors
/// As [`site_of`].
pub async fn enrolled(source: &HubSource, reporter: &Reporter) -> anyhow::Result<Enrolled> {
    who(source, Enrolling::Allowed, Instant::now() + source.timeout, reporter).await
}

/// Asks how this site stands at its hub, without enrolling or waiting for anything.
///
/// # Errors
/// As [`site_of`].
pub async fn standing(source: &HubSource, reporter: &Reporter) -> anyhow::Result<Uplink> {
    let end = Instant::now() + source.timeout;
    let who = who(source, Enrolling::Forbidden, end, reporter).await?;
    let hub = source.hub.with_credential(who.credential.clone());
    let desired = patiently(end, reporter, async || hub.get::<AgentDesired>(DESIRED).await).await;
    let desired = desired.map_err(|error| known_here(error, source))?;
    let uplink = Uplink::new(hub, &who, &desired);
    uplink::site(desired, &who.peer)?;
    Ok(uplink)
}

/// Who this site is: from its credential file, or by enrolling.
async fn who(source: &HubSource, enrolling: Enrolling, end: Instant, reporter: &Reporter) -> anyhow::Result<Enrolled> {
    if let Kept::Enrolled(enrolled) = source.file.read()? {
        return Ok(enrolled);
    }
    let path = source.file.path.display();
    if enrolling == Enrolling::Forbidden {
        let failure =
            Failure::usage("not-enrolled", format!("this site is not enrolled: there is no credential in {path}"));
        return Err(failure.hint("sitepeer provision enrols; plan, status and --dry-run only look").into());
    }
    let Some(token) = &source.token else {
        let failure =
            Failure::usage("not-enrolled", format!("there is no credential in {path}, and no token to enrol with"));
        return Err(failure
            .hint("make a token at the hub (sitepeer hub enrollment create) and give --token-file")
            .into());
    };
    let nonce = source.file.nonce()?;
    let reply = enroll(&source.hub, token.clone(), nonce.clone(), None, end, reporter).await?;
    if reply.kind != EnrollmentKind::Site {
        let failure = Failure::usage("other-token", "this token is for a client, not for a site's router");
        return Err(failure.hint("a client is enrolled with: sitepeer client-key").into());
    }
    let Some(credential) = reply.credential else {
        let failure =
            Failure::new(Verdict::HubFailed, "hub-garbage", "the hub enrolled this site without a credential");
        return Err(failure.into());
    };
    let enrolled = Enrolled { peer: reply.peer, credential };
    source.file.keep(&nonce, &enrolled)?;
    let detail = format!("enrolled as peer {} of {}; its credential is in {path}", enrolled.peer, reply.instance_name);
    reporter.event(&Event::Step { step: Step::Hub, detail });
    Ok(enrolled)
}

/// Uses an enrolment token. The nonce makes it safe to ask again.
///
/// # Errors
/// [`UplinkError`], of which a refusal names the problem with the token.
pub async fn enroll(
    hub: &Hub,
    token: Secret,
    device_nonce: String,
    public_key: Option<PublicKey>,
    end: Instant,
    reporter: &Reporter,
) -> Result<EnrollReply, UplinkError> {
    let request = EnrollRequest { token, device_nonce, device: DeviceFacts::default(), public_key };
    patiently(end, reporter, async || hub.post("/v1/enroll", &request).await).await
}

/// Waits until the hub has the whole site config.
async fn config(
    hub: Hub,
    who: &Enrolled,
    source: &HubSource,
    end: Instant,
    reporter: &Reporter,
) -> anyhow::Result<(Site, Uplink)> {
    let (mut path, mut said) = (DESIRED.to_owned(), None);
    loop {
        let asked = Instant::now();
        let desired: Option<AgentDesired> = patiently(end, reporter, async || hub.poll(&path).await)
            .await
            .map_err(|error| known_here(error, source))?;
        if let Some(desired) = desired {
            let uplink = Uplink::new(hub.clone(), who, &desired);
            let waiting_for = desired.waiting_for.clone();
            if let Some(site) = uplink::site(desired, &who.peer)? {
                uplink.say_config(&site, reporter);
                return Ok((site, uplink));
            }
            let waiting_for = waiting_for.unwrap_or_else(|| "the site config".to_owned());
            if said.as_ref() != Some(&waiting_for) {
                let left = end.saturating_duration_since(Instant::now()).as_secs();
                let detail = format!("waiting up to {left} s for {waiting_for}");
                reporter.event(&Event::Step { step: Step::Hub, detail });
                said = Some(waiting_for);
            }
            let wait = WAIT.min(end.saturating_duration_since(Instant::now())).as_secs().max(1);
            path = format!("{DESIRED}?revision={}&wait={wait}", uplink.revision);
        }
        if Instant::now() >= end {
            let what = said.unwrap_or_else(|| "the site config".to_owned());
            let message = format!("the hub still waits for {what}, after {} s", source.timeout.as_secs());
            let failure = Failure::new(Verdict::HubFailed, "hub-not-ready", super::report::clean(&message));
            return Err(failure.hint("look at the instance at the hub; a longer --hub-timeout may help").into());
        }
        tokio::time::sleep(ASK_LEAST.saturating_sub(asked.elapsed())).await;
    }
}

/// A refusal that is about this site's own credential comes with the way out for it.
fn known_here(error: UplinkError, source: &HubSource) -> anyhow::Error {
    let path = source.file.path.display();
    let hint = if error.is_refused_with(code::REMOVED) {
        format!("the peer was deleted at the hub: take its rows out with sitepeer remove, then delete {path}")
    } else if error.is_refused_with(code::UNAUTHENTICATED) || error.is_refused_with(code::TOKEN_REVOKED) {
        format!(
            "its credential was revoked or replaced: make a new token at the hub, delete {path}, and provision again"
        )
    } else {
        return error.into();
    };
    Failure::new(Verdict::HubFailed, "hub-refused", error.to_string()).hint(hint).into()
}

impl Uplink {
    fn new(hub: Hub, who: &Enrolled, desired: &AgentDesired) -> Self {
        Self {
            hub,
            peer: who.peer.clone(),
            revision: desired.revision,
            is_enabled: desired.enabled,
            known_key: desired.public_key,
        }
    }

    /// Returns the same site for a supervisor to follow; nothing of it is kept on this machine's disk.
    #[must_use]
    pub fn follow(&self) -> agent::Follow {
        agent::Follow { hub: self.hub.clone(), peer: self.peer.clone(), kept: None, lease: None }
    }

    /// Asks the hub for a new key of this site's router; a hub that is at it already says the same.
    ///
    /// # Errors
    /// [`UplinkError`], or a [`Failure`] if the hub knows nothing of new keys.
    pub async fn rotate(&self, reporter: &Reporter) -> anyhow::Result<()> {
        let end = Instant::now() + TELL_PATIENCE;
        let asked = patiently(end, reporter, async || self.hub.post::<_, IgnoredAny>(ROTATE, &json!({})).await).await;
        match asked {
            Ok(_) => {
                let detail = format!("asked for a new key of peer {}", self.peer);
                reporter.event(&Event::Step { step: Step::Hub, detail });
                Ok(())
            }
            Err(error) if error.is_refused_with(code::NOT_FOUND) => {
                let failure = Failure::new(Verdict::HubFailed, "hub-refused", "this hub gives routers no new keys");
                Err(failure.hint("it is older than this sitepeer: upgrade the hub").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The id that marks the rows.
    ///
    /// # Errors
    /// If the peer's id is longer than a marker takes.
    pub fn site(&self) -> Result<SiteId, Failure> {
        let long = |error| Failure::new(Verdict::HubFailed, "hub-config", format!("peer {}: {error}", self.peer));
        self.peer.as_str().parse().map_err(long)
    }

    /// How the site stands at the hub, in words; `key` is the one its router has.
    #[must_use]
    pub fn words(&self, key: Option<PublicKey>) -> String {
        let state = if self.is_enabled { "enabled" } else { "switched off" };
        let key = match (self.known_key, key) {
            (None, _) => "it has no key of this router yet",
            (known, key) if known == key => "it has this router's key",
            _ => "it has another key than this router: run provision",
        };
        format!("{state}, revision {}; {key}", self.revision)
    }

    fn say_config(&self, site: &Site, reporter: &Reporter) {
        let detail = format!("site config of peer {} of {}, revision {}", self.peer, site.instance, self.revision);
        reporter.event(&Event::Step { step: Step::Hub, detail });
        if !self.is_enabled {
            let message = "this peer is switched off at the hub: no gateway answers it".to_owned();
            let hint = Some(format!("sitepeer hub peer enable {}", self.peer));
            reporter.event(&Event::Warning { code: "peer-disabled", message, hint });
        }
    }

    /// Whether the peer may connect.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// The key that the hub has for this router.
    #[must_use]
    pub fn known_key(&self) -> Option<PublicKey> {
        self.known_key
    }

    /// What a result says of the hub.
    #[must_use]
    pub fn figures(&self) -> Value {
        json!({"url": self.hub.place(), "peer": self.peer, "revision": self.revision, "enabled": self.is_enabled})
    }

    /// Tells the hub which key the router has, and what it is: only then the gateway can answer.
    ///
    /// # Errors
    /// [`UplinkError`], or a [`Failure`] if the router does not say its key; the rows are on the router then.
    pub async fn applied(&self, site: &Site, observed: &Observed, reporter: &Reporter) -> anyhow::Result<()> {
        let failure = || Failure::new(Verdict::Rejected, "no-public-key", "the router does not say its public key");
        let applied: AgentApplied = agent::device::applied(site, self.revision, observed).ok_or_else(failure)?;
        let end = Instant::now() + TELL_PATIENCE;
        let told = patiently(end, reporter, async || self.hub.post::<_, ()>("/v1/agent/applied", &applied).await).await;
        told.map_err(|error| {
            anyhow::Error::from(error)
                .context("the rows are on the router, but the hub does not know its key; run the same command again")
        })?;
        let detail =
            if self.known_key == Some(applied.public_key) { "knows the router's key" } else { "told the router's key" };
        reporter.event(&Event::Step { step: Step::Hub, detail: detail.to_owned() });
        Ok(())
    }

    /// Reports how the tunnel is. That it could not be told changes nothing about the tunnel.
    pub async fn report(&self, outcome: &Outcome, reporter: &Reporter) {
        if let Err(failure) = self.try_report(outcome, reporter).await {
            let Failure { message, hint, .. } = failure;
            reporter.event(&Event::Warning { code: "hub-not-told", message, hint });
        }
    }

    async fn try_report(&self, outcome: &Outcome, reporter: &Reporter) -> Result<(), Failure> {
        let report = AgentReport::new(1, session::now(), health(outcome));
        let epoch = random_hex::<EPOCH_BYTES>()?;
        let reports = AgentReports { epoch, reports: vec![report], dropped: 0, sent_at: Some(session::now()) };
        let end = Instant::now() + TELL_PATIENCE;
        let told =
            patiently(end, reporter, async || self.hub.post::<_, ReportsTaken>("/v1/agent/reports", &reports).await);
        match told.await {
            Ok(_) => Ok(()),
            Err(error) => Err(anyhow::Error::from(error).into()),
        }
    }
}

/// The outcome of a proof in the hub's words.
fn health(outcome: &Outcome) -> TunnelHealth {
    let details = &outcome.details;
    let proof = details.get("proof");
    let number = |name: &str| proof.and_then(|proof| proof.get(name)).and_then(Value::as_u64);
    let cause = details.get("causes").and_then(|causes| causes.get(0)?.get("code")?.as_str());
    let verdict = match (outcome.verdict, cause) {
        (Verdict::Converged, _) => "proven".to_owned(),
        (Verdict::Unproven, Some(cause)) => format!("unproven:{cause}"),
        (Verdict::Unproven, None) => "unproven".to_owned(),
        _ => "unknown".to_owned(),
    };
    TunnelHealth { verdict, handshake_age_secs: number("handshake_age_secs"), rtt_us: number("rtt_us") }
}
