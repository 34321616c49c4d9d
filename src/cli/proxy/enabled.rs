//! `sitepeer proxy` with its fleet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use crate::agent::fleet::{self, Credentials, Fleet, FleetRouter, FleetSite, Leases, Password};
use crate::agent::{Follow, Gates, Journals, Kept, Member, Shelf, Source};
use crate::cli::agent::{keep, unusable};
use crate::cli::args::{Proxy, ProxyFleet, ProxyServe, Supervision};
use crate::cli::failure::Failure;
use crate::cli::process;
use crate::cli::report::{Event, Outcome, Reporter, Step, Verdict};
use crate::cli::uplink::credential::{CredentialFile, Kept as KeptCredential, random_hex};
use crate::domain::Secret;
use crate::routeros::target::{Access, Deadlines};
use crate::uplink::{Hub, Trust};

/// Bytes of what a process calls itself at a hub.
const PROCESS_BYTES: usize = 16;
/// How long the hub may take to hear that this process drives nothing any more.
const END_WITHIN: Duration = Duration::from_secs(3);

/// Keeps the fleet until it is told to stop, or looks whether it could.
///
/// # Errors
/// What is wrong with the fleet file, or with a file it names.
pub async fn run(command: Proxy, reporter: &Reporter) -> anyhow::Result<Outcome> {
    match command {
        Proxy::Serve(serve) => serve_until_stopped(*serve, reporter).await,
        Proxy::Check { fleet, asks } => check(&fleet, asks, reporter).await,
    }
}

async fn serve_until_stopped(command: ProxyServe, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let ProxyServe { fleet, state_dir, connecting, applying, start_within, supervision } = command;
    let gates = Gates::new(connecting, applying);
    let fleet = match fleet {
        ProxyFleet::File(fleet) => fleet,
        ProxyFleet::Hub { hub, credentials, room } => {
            let shelf = Arc::new(Journals::in_folder(state_dir));
            return leased(hub, (credentials, room), (supervision, gates), shelf, reporter).await;
        }
    };
    let shelf: Arc<dyn Shelf> = Arc::new(Journals::in_folder(state_dir.clone()));
    let members = members(&fleet, &state_dir)?;
    let (sender, fleets) = mpsc::channel(1);
    // Heard from here on: before it says that it is ready.
    let reloading = tokio::spawn(reload(process::hangups(), fleet, state_dir, sender));
    let ended = keep(members, supervision, gates, start_within, fleets, (reporter, Some(shelf))).await;
    reloading.abort();
    ended
}

/// Keeps the sites of a hub that this process has leases of.
async fn leased(
    hub: Hub,
    (file, room): (PathBuf, u32),
    (supervision, gates): (Supervision, Gates),
    shelf: Arc<dyn Shelf>,
    reporter: &Reporter,
) -> anyhow::Result<Outcome> {
    let rules = Credentials::load(&file)?;
    let process = random_hex::<PROCESS_BYTES>()?;
    let detail = format!("leases are asked for at {} as process {process}", hub.place());
    reporter.event(&Event::Step { step: Step::Hub, detail });
    let (news, rules) = watch::channel(Arc::new(rules));
    let (sender, fleets) = mpsc::channel(1);
    let leases = tokio::spawn(Leases::new(hub.clone(), process.clone(), room, rules, sender).run());
    let reloading = tokio::spawn(reload_rules(process::hangups(), file, news));
    let ended = keep(Vec::new(), supervision, gates, Duration::ZERO, fleets, (reporter, Some(shelf))).await;
    reloading.abort();
    leases.abort();
    // Only now: every driver has ended, so that others may begin at once.
    match tokio::time::timeout(END_WITHIN, Leases::end(&hub, process)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%error, "the leases end by themselves"),
        Err(_) => tracing::info!("the hub does not answer: the leases end by themselves"),
    }
    ended
}

/// Reads the rules for logging in again at each SIGHUP. Those that are wrong change nothing.
async fn reload_rules(
    hangups: std::io::Result<process::Hangups>,
    file: PathBuf,
    news: watch::Sender<Arc<Credentials>>,
) {
    let mut hangups = match hangups {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!(%error, "SIGHUP is not heard: credentials are not read again"),
    };
    while hangups.recv().await.is_some() {
        match Credentials::load(&file) {
            Ok(rules) => {
                tracing::info!("the rules for logging in were read again");
                news.send_replace(Arc::new(rules));
            }
            Err(error) => {
                let Failure { code, message, hint, .. } = Failure::from(error);
                tracing::error!(code, message, hint, "the rules for logging in are wrong: those that were read hold");
            }
        }
    }
}

fn members(fleet: &Path, state_dir: &Path) -> anyhow::Result<Vec<Member>> {
    load(fleet)?.routers.into_iter().map(|router| member(router, state_dir)).collect()
}

/// Reads the fleet again at each SIGHUP. One that is wrong changes nothing.
async fn reload(
    hangups: std::io::Result<process::Hangups>,
    fleet: PathBuf,
    state_dir: PathBuf,
    fleets: mpsc::Sender<Vec<Member>>,
) {
    let mut hangups = match hangups {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!(%error, "SIGHUP is not heard: the fleet is not read again"),
    };
    while hangups.recv().await.is_some() {
        match members(&fleet, &state_dir) {
            Ok(members) => {
                tracing::info!(routers = members.len(), "the fleet was read again");
                if fleets.send(members).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let Failure { code, message, hint, .. } = Failure::from(error);
                tracing::error!(code, message, hint, "the fleet is wrong: what was kept is kept");
            }
        }
    }
}

fn load(path: &Path) -> Result<Fleet, Failure> {
    Ok(fleet::load(path)?)
}

/// A router of the file, ready to be kept.
fn member(router: FleetRouter, state_dir: &Path) -> anyhow::Result<Member> {
    let FleetRouter { name, url, trust, plaintext, password, site, tags: _ } = router;
    let source = source(site, state_dir).with_context(|| format!("router {name}"))?;
    // Asked for at each connection.
    let access =
        Access { url, password: Secret::new(String::new()), trust, plaintext, deadlines: Deadlines::default() };
    Ok(Member { name, access, passwords: Some(Arc::new(password)), source })
}

fn source(site: FleetSite, state_dir: &Path) -> anyhow::Result<Source> {
    let (url, ca_file, path) = match site {
        FleetSite::File(site) => return Ok(Source::File(site)),
        FleetSite::Hub { url, ca_file, credential } => (url, ca_file, credential),
    };
    let file = CredentialFile { path, hub: url.to_string() };
    let KeptCredential::Enrolled(enrolled) = file.read()? else {
        let message = format!("there is no credential in {}", file.path.display());
        let hint = "enrol it first: sitepeer provision --router … --hub … --token-file … --credential-file …";
        return Err(Failure::usage("not-enrolled", message).hint(hint).into());
    };
    let trust = ca_file.map_or(Trust::Public, Trust::CaFile);
    let hub = Hub::new(url, &trust, Some(enrolled.credential))?;
    let kept = Kept::open(state_dir, &file.hub, &enrolled.peer).map_err(|error| unusable(&error))?;
    Ok(Source::Hub(Box::new(Follow { hub, peer: enrolled.peer, kept: Some(kept), lease: None })))
}

/// Looks at all that the file names; every router that has a fault is told, not only the first.
async fn check(path: &Path, asks: bool, reporter: &Reporter) -> anyhow::Result<Outcome> {
    // What a running proxy keeps is its own affair: this is a folder that does not exist.
    let state = &path.with_extension("no-state");
    let fleet = load(path)?;
    let count = fleet.routers.len();
    let mut faults = 0_usize;
    for router in fleet.routers {
        let (name, password) = (router.name.clone(), router.password.clone());
        let mut found = Vec::new();
        if let Err(error) = member(router, state) {
            found.push(Failure::from(error));
        }
        // A command may ask a person for a touch: it is run only if that is wanted.
        if asks || !matches!(password, Password::Command(_)) {
            found.extend(
                password.obtain().await.err().map(|error| Failure::of(Verdict::Invalid, "no-password", &error, None)),
            );
        }
        for Failure { code, message, hint, .. } in found {
            faults += 1;
            reporter.event(&Event::Warning { code, message: format!("{name}: {message}"), hint });
        }
    }
    if faults > 0 {
        let message = format!("{faults} of the fleet's routers cannot be kept as {} says", path.display());
        return Err(Failure::usage("fleet", message).hint("the warnings above name them").into());
    }
    reporter.event(&Event::Step { step: Step::Check, detail: format!("{count} routers in {}", path.display()) });
    Ok(Outcome::new(Verdict::Done).say(format!("ok       {count} routers")).detail("routers", count))
}
