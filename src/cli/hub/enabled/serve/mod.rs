//! `sitepeer hub` as a server, and what looks after its settings and its store.

mod beside;
mod check;
mod store;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::args::hub::Serve;
use crate::cli::failure::Failure;
use crate::cli::process;
use crate::cli::report::{Event, Outcome, Reporter, ServingGateway, Verdict};
use crate::hub::config::HubConfig;
use crate::hub::server::Server;

pub(super) use check::check;
pub(super) use store::{admin_token, backup, restore};

/// How long the store may take to close: its log has some thousand pages at most.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
/// The first administrator's token, in the data folder.
const ADMIN_TOKEN: &str = "admin.token";

/// Serves the hub, and the gateway beside it, until somebody stops it.
///
/// # Errors
/// [`Failure`] if it cannot start, or if the gateway beside it ends by itself.
pub(super) async fn run(serve: Serve, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Serve { config, gateway } = serve;
    store::make_folder(&config.data_dir)?;
    let store = store::open(&config).await?;
    let admin = config.data_dir.join(ADMIN_TOKEN);
    let is_new = store::first_admin(store.as_ref(), &admin).await?;
    let server = Server::bind(config.clone(), Arc::clone(&store)).await.map_err(|error| check::not_served(&error))?;
    let beside = match gateway {
        Some(wanted) => Some(beside::prepare(wanted, &config, store.as_ref(), &server).await?),
        None => None,
    };
    let told = beside.as_ref().map(beside::told);
    // Before it says that it serves: whoever reads that may stop it at once.
    let stop = stopped();
    announce(&config, &server, &admin, is_new, told, reporter);
    match beside {
        None => server.run(stop).await,
        Some(beside) => together(server, beside, stop, reporter).await?,
    }
    // What is under way in the store ends before the process does, and SQLite's log goes into its file.
    if tokio::time::timeout(CLOSE_DEADLINE, store.close()).await.is_err() {
        tracing::warn!("the store did not close in time: its log stays beside it, and is read at the next start");
    }
    Ok(Outcome::new(Verdict::Done).say("stopped"))
}

fn stopped() -> impl Future<Output = ()> {
    let signal = process::stop_signal();
    async {
        signal.await;
    }
}

/// The gateway is stopped first: its last words go to the hub.
async fn together(
    server: Server,
    beside: beside::Beside,
    stop: impl Future<Output = ()>,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let end = CancellationToken::new();
    let gateway = async {
        let ended = beside.serve(stop, reporter).await;
        end.cancel();
        ended
    };
    let (ended, ()) = tokio::join!(gateway, server.run(end.cancelled()));
    ended
}

/// Says where it listens, where the first token is, and what to do next.
fn announce(
    config: &HubConfig,
    server: &Server,
    admin: &Path,
    is_new: bool,
    gateway: Option<ServingGateway>,
    reporter: &Reporter,
) {
    let url = url(server.local_addr(), server.is_tls());
    let certificate = config.tls.as_ref().map(|files| files.cert.display().to_string());
    let admin = admin.exists().then(|| admin.display().to_string());
    reporter.event(&Event::Serving {
        url: url.clone(),
        store: check::store(config),
        admin_token: admin.clone(),
        certificate: certificate.clone(),
        gateway,
    });
    let Some(admin) = admin.filter(|_| is_new) else { return };
    let trust = certificate.map(|file| format!(" SITEPEER_HUB_CA={}", quoted(&file))).unwrap_or_default();
    let admin = quoted(&admin);
    for line in [
        "next, in another terminal:".to_owned(),
        format!("  export SITEPEER_HUB={url} SITEPEER_HUB_TOKEN_FILE={admin}{trust}"),
        "  sitepeer hub account create ops".to_owned(),
        "  sitepeer hub instance create acme --wait".to_owned(),
        "  sitepeer hub site create branch-12".to_owned(),
        "  sitepeer hub peer add site acme branch-12 --subnets 192.168.88.0/24".to_owned(),
        "  sitepeer hub enrollment create branch-12 --out branch-12.token".to_owned(),
    ] {
        reporter.note_for_people(&line);
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// How this machine reaches it.
fn url(address: SocketAddr, is_tls: bool) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    let address = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port())),
        specific => specific,
    };
    format!("{scheme}://{address}")
}
