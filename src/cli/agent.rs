//! `sitepeer agent`: keeps one router as it is wanted, until it is told to stop.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::args::{Agent, HubSource, Source, Supervision};
use super::failure::Failure;
use super::report::{Event, Outcome, Reporter, Step, Verdict};
use super::uplink;
use super::uplink::credential::random_hex;
use super::{process, service};
use crate::agent::web::Web;
use crate::agent::{self, Follow, Gates, Kept, KeptError, Member, Settings, Supervisor};

/// Bytes of an epoch.
const EPOCH_BYTES: usize = 8;

/// Carries out `agent`.
///
/// # Errors
/// Anything that has an exit code of its own, before it serves; everything else is an internal error.
pub async fn run(command: Agent, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Agent { access, source, state_dir, mut supervision } = command;
    let source = match source {
        Source::File(site) => {
            supervision.freezes = state_dir;
            agent::Source::File(site)
        }
        Source::Hub(source) => {
            let folder = state_dir.unwrap_or_else(|| source.file.path.parent().unwrap_or(Path::new("")).to_owned());
            supervision.freezes = Some(folder.clone());
            agent::Source::Hub(Box::new(follow(*source, &folder, reporter).await?))
        }
    };
    let name = access.url.host.to_string();
    let member = Member { name, access, passwords: None, source };
    // One router: nobody else is held up, nobody stampedes.
    let (_nobody, fleets) = mpsc::channel(1);
    keep(vec![member], supervision, Gates::new(1, 1), Duration::ZERO, fleets, reporter).await
}

/// Makes a site at a hub one that is followed; enrols first if need be. A hub that is away is no reason to stop once enrolled.
async fn follow(source: HubSource, folder: &Path, reporter: &Reporter) -> anyhow::Result<Follow> {
    let enrolled = uplink::enrolled(&source, reporter).await?;
    let kept = Kept::open(folder, &source.file.hub, &enrolled.peer).map_err(|error| unusable(&error))?;
    Ok(Follow { hub: source.hub.with_credential(enrolled.credential), peer: enrolled.peer, kept: Some(kept) })
}

pub(super) fn unusable(error: &KeptError) -> Failure {
    Failure::of(Verdict::Invalid, "state-file", error, Some(error.hint()))
}

/// Keeps routers until a signal says to stop; `fleets` brings others to take their place.
///
/// # Errors
/// If the address for metrics cannot be listened on.
pub(super) async fn keep(
    members: Vec<Member>,
    supervision: Supervision,
    gates: Gates,
    start_within: Duration,
    fleets: mpsc::Receiver<Vec<Member>>,
    reporter: &Reporter,
) -> anyhow::Result<Outcome> {
    let signal = process::stop_signal();
    let count = members.len();
    let settings = Settings {
        period: supervision.period,
        max_removals: supervision.max_removals,
        start_within,
        gates,
        epoch: random_hex::<EPOCH_BYTES>()?,
    };
    let supervisor = Supervisor::new(members, settings).freezes_in(supervision.freezes);
    let roll = supervisor.roll();
    if let Some(address) = supervision.metrics {
        let taken = |error| Failure::usage("metrics-address", format!("--metrics {address}: {error}"));
        let web = Web::bind(address).await.map_err(taken)?;
        let detail = format!("/healthz and /metrics are answered on http://{}", web.local_addr());
        reporter.event(&Event::Step { step: Step::Serve, detail });
        tokio::spawn(web.serve(roll.clone()));
    }
    let detail = format!(
        "{count} {} kept as wanted; SIGTERM or Ctrl-C stops this",
        if count == 1 { "router is" } else { "routers are" }
    );
    service::ready(&detail);
    reporter.event(&Event::Step { step: Step::Serve, detail });
    let stop = async {
        signal.await;
        service::stopping();
    };
    tokio::select! {
        () = supervisor.run(stop, fleets) => {}
        () = service::watchdog() => {}
    }
    let figures: Vec<_> = roll.all().iter().map(agent::standing::Standing::figures).collect();
    let (rounds, writes) =
        figures.iter().fold((0, 0), |(rounds, writes), one| (rounds + one.rounds, writes + one.writes));
    Ok(Outcome::new(Verdict::Done)
        .say("stopped; the routers stay as they are")
        .detail("rounds", rounds)
        .detail("writes", writes))
}
