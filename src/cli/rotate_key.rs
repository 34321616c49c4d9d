//! `sitepeer rotate-key`: a new key for a router's end of its tunnel, by a second tunnel beside the one in use.
//!
//! The hub is asked for it; then the same supervisor as in `agent` carries the move to its end. If an agent keeps this router
//! already, both do the same and neither harms the other: what they do is read from the router.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::args::{RotateKey, Source};
use super::failure::Failure;
use super::report::{Event, Outcome, Reporter, Step, Verdict};
use super::uplink::credential::random_hex;
use super::uplink::{self, Enrolling, Uplink};
use super::{provision, session};
use crate::agent::standing::{Figures, Phase, Roll, Standing};
use crate::agent::{self, Gates, Member, Settings, Supervisor};
use crate::domain::Site;
use crate::reconcile::observe::Interest;
use crate::routeros::target::Access;

/// Bytes of an epoch.
const EPOCH_BYTES: usize = 8;
/// Between two looks at how the move stands, which is for a person to read.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The router is read this often, whatever it tells of: a move takes some minutes.
const PERIOD: Duration = Duration::from_mins(1);

/// Carries out `rotate-key`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: RotateKey, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let RotateKey { access, source, confirm, timeout, max_removals } = command;
    if matches!(source, Source::File(_)) {
        return Err(without_hub().into());
    }
    let (site, uplink) = uplink::site_of(source, Enrolling::Forbidden, reporter).await?;
    let Some(uplink) = uplink else { return Err(without_hub().into()) };
    // A router that is not there is known before anything is asked of the hub.
    let client = session::open(&access, reporter).await?;
    session::read(&client, &Interest::of(&site), reporter).await?;
    client.close().await;
    let target = site.beside.as_ref().map_or(site.generation.saturating_add(1), |next| next.generation);
    if site.beside.is_none() {
        let question = "Have the hub move this router to a new key, by a second tunnel beside the one in use?";
        confirm.obtain(reporter, question).await?;
        uplink.rotate(reporter).await?;
    }
    let told = carry(&access, &uplink, (target, timeout, max_removals), reporter).await?;
    let outcome = if is_through(&told, target) {
        let site = Site { generation: target, ..site.alone() };
        through(&access, &site, reporter).await?
    } else {
        pending(&told, target, timeout)
    };
    Ok(outcome.detail("generation", told.generation).detail("hub", uplink.figures()))
}

/// Why it is refused without a hub.
fn without_hub() -> Failure {
    let message =
        "the far end of the tunnel has to know the new key before it is used, and without a hub nobody tells it";
    Failure::new(Verdict::Refused, "no-hub", message).hint(
        "by hand: make a second WireGuard interface on the router (/interface/wireguard/add), enter its public key at the far end \
         beside the old one, and lead address and routes over once it has a handshake",
    )
}

/// Keeps the router as the hub wants it until the move is through, or its time is over; returns how it stands then.
async fn carry(
    access: &Access,
    uplink: &Uplink,
    (target, timeout, max_removals): (u32, Duration, usize),
    reporter: &Reporter,
) -> anyhow::Result<Figures> {
    let source = agent::Source::Hub(Box::new(uplink.follow()));
    let member = Member { name: access.url.host.to_string(), access: access.clone(), passwords: None, source };
    let settings = Settings {
        period: PERIOD,
        max_removals,
        start_within: Duration::ZERO,
        gates: Gates::new(1, 1),
        epoch: random_hex::<EPOCH_BYTES>()?,
    };
    let supervisor = Supervisor::new(vec![member], settings);
    let (roll, end) = (supervisor.roll(), Instant::now() + timeout);
    let ((stop, stopped), (_nobody, fleets)) = (oneshot::channel::<()>(), mpsc::channel(1));
    let watching = async {
        let told = watch(&roll, target, end, reporter).await;
        // Dropped, it stops the supervisor, which tells the hub all it has to say first.
        drop(stop);
        told
    };
    let ((), told) = tokio::join!(Box::pin(supervisor.run(async { drop(stopped.await) }, fleets)), watching);
    Ok(told)
}

/// Says how the move comes on until it is through, or its time is over.
async fn watch(roll: &Roll, target: u32, end: Instant, reporter: &Reporter) -> Figures {
    let (mut said, mut trouble) = (None, None);
    loop {
        let told = roll.all().first().map(Standing::figures).unwrap_or_default();
        let stage = stage(&told, target);
        if said != Some(stage) {
            reporter.event(&Event::Step { step: stage.step(), detail: stage.words().to_owned() });
            said = Some(stage);
        }
        if told.trouble.is_some() && told.trouble != trouble {
            let message = super::report::clean(told.trouble.as_deref().unwrap_or_default());
            reporter.event(&Event::Warning { code: "router-refuses", message, hint: None });
            trouble.clone_from(&told.trouble);
        }
        if stage == Stage::Through || Instant::now() >= end {
            return told;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    Beside,
    InUse,
    Through,
}

fn is_through(told: &Figures, target: u32) -> bool {
    stage(told, target) == Stage::Through
}

fn stage(told: &Figures, target: u32) -> Stage {
    match (told.generation >= target, told.beside) {
        (false, None) => Stage::Asked,
        (false, Some(_)) => Stage::Beside,
        (true, None) if told.phase == Phase::Watching => Stage::Through,
        (true, _) => Stage::InUse,
    }
}

impl Stage {
    fn step(self) -> Step {
        match self {
            Self::Asked => Step::Hub,
            Self::Beside => Step::Prove,
            Self::InUse => Step::Write,
            Self::Through => Step::Verify,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Asked => "waiting for the other end of a new tunnel",
            Self::Beside => "the new tunnel is beside the one in use; waiting for its handshake",
            Self::InUse => "the new tunnel is in use; the old one goes once the hub lets go of it",
            Self::Through => "the old tunnel is out; the router is as it should be",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Beside => "beside",
            Self::InUse => "in-use",
            Self::Through => "through",
        }
    }
}

/// Reads the router once more, and says which key it has now.
async fn through(access: &Access, site: &Site, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let client = session::open(access, reporter).await?;
    let observed = session::read(&client, &Interest::of(site), reporter).await?;
    client.close().await;
    let key = provision::tell_public_key(site, &observed, reporter);
    Ok(Outcome::new(Verdict::Converged)
        .say("moved    the router has a new key, the hub knows it, and the old tunnel is gone")
        .detail("public_key", key)
        .detail("stage", Stage::Through.word()))
}

/// What is said of a move that takes longer.
fn pending(told: &Figures, target: u32, timeout: Duration) -> Outcome {
    let stage = stage(told, target);
    Outcome::new(Verdict::Pending)
        .say(format!("pending  not through after {} s: {}", timeout.as_secs(), stage.words()))
        .say("hint: nothing is lost by waiting: the same command goes on from here, and so does an agent; the hub can call it off")
        .detail("stage", stage.word())
}
