//! `sitepeer agent`: keeps one router as it is wanted, until it is told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::args::{Agent, HubSource, Source, Supervision};
use super::failure::Failure;
use super::report::{Event, Outcome, Reporter, Step, Verdict};
use super::uplink;
use super::uplink::credential::random_hex;
use super::{process, service};
use crate::agent::web::Web;
use crate::agent::{self, Follow, Gates, Kept, KeptError, Member, Settings, Shelf, Supervisor};
use crate::config;
use crate::routeros::target::Access;

/// Bytes of an epoch.
const EPOCH_BYTES: usize = 8;

/// Carries out `agent`.
///
/// # Errors
/// Anything that has an exit code of its own, before it serves; everything else is an internal error.
pub async fn run(command: Agent, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Agent { access, source, site_file, state_dir, mut supervision } = command;
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
    let (sender, fleets) = mpsc::channel(1);
    // Heard from here on: before it says that it is ready.
    let reloading = tokio::spawn(reload(process::hangups(), site_file, access.clone(), sender));
    // One router: nobody else is held up, nobody stampedes.
    let members = vec![member(access, source)];
    let ended = keep(members, supervision, Gates::new(1, 1), Duration::ZERO, fleets, (reporter, None)).await;
    reloading.abort();
    ended
}

fn member(access: Access, source: agent::Source) -> Member {
    Member { name: access.url.host.to_string(), access, passwords: None, source }
}

/// Reads the site config again at each SIGHUP. One that is wrong changes nothing, and neither does the signal where a hub is followed.
async fn reload(
    hangups: std::io::Result<process::Hangups>,
    site_file: Option<PathBuf>,
    access: Access,
    members: mpsc::Sender<Vec<Member>>,
) {
    let mut hangups = match hangups {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!(%error, "SIGHUP is not heard: the site config is not read again"),
    };
    while hangups.recv().await.is_some() {
        let Some(path) = &site_file else {
            tracing::info!("SIGHUP: nothing to read again, the hub is followed anyway");
            continue;
        };
        match config::load(path) {
            Ok(site) => {
                tracing::info!(site = %path.display(), "the site config was read again");
                let source = agent::Source::File(Box::new(site));
                if members.send(vec![member(access.clone(), source)]).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let Failure { code, message, hint, .. } = Failure::from(error);
                tracing::error!(code, message, hint, "the site config is wrong: the router is kept as it was");
            }
        }
    }
}

/// Makes a site at a hub one that is followed; enrols first if need be. A hub that is away is no reason to stop once enrolled.
async fn follow(source: HubSource, folder: &Path, reporter: &Reporter) -> anyhow::Result<Follow> {
    let enrolled = uplink::enrolled(&source, reporter).await?;
    let kept = Kept::open(folder, &source.file.hub, &enrolled.peer).map_err(|error| unusable(&error))?;
    Ok(Follow {
        hub: source.hub.with_credential(enrolled.credential),
        peer: enrolled.peer,
        kept: Some(kept),
        lease: None,
    })
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
    (reporter, shelf): (&Reporter, Option<Arc<dyn Shelf>>),
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
    let supervisor = match shelf {
        Some(shelf) => supervisor.with_shelf(shelf),
        None => supervisor,
    };
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
