//! `sitepeer sim` on the simulator.

use crate::cli::args::Sim;
use crate::cli::failure::Failure;
use crate::cli::report::{Event, Outcome, Reporter, Verdict};
use crate::sim::{Fault, LoginMethod, SimOptions, SimRouter, SimUser};

/// Serves a simulated device until it is told to stop.
///
/// # Errors
/// [`Failure`] for an unknown fault, or if it cannot start.
pub async fn run(command: Sim, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let options = options(command)?;
    let version = options.version.clone();
    let router = SimRouter::start(options).await.map_err(|error| cannot_start(&error))?;
    reporter.event(&Event::Listening {
        version: version.to_string(),
        api: router.api_addr().to_string(),
        api_ssl: router.api_ssl_addr().map(|address| address.to_string()),
        pin: router.fingerprint().map(|bytes| pin(&bytes)),
    });
    stop().await;
    Ok(Outcome::new(Verdict::Done).say("stopped"))
}

fn options(command: Sim) -> Result<SimOptions, Failure> {
    let faults = command.faults.iter().map(|text| text.parse::<Fault>()).collect::<Result<Vec<_>, _>>();
    let faults = faults.map_err(|error| Failure::usage("usage", format!("--fault: {error}")))?;
    let device = command.device;
    let admin = SimUser { name: "admin".to_owned(), password: command.password, group: "full".to_owned() };
    let mut options = SimOptions {
        version: command.ros_version,
        users: vec![admin],
        api: command.listen,
        api_ssl: command.listen_tls,
        tls_cert_file: command.tls_cert_file,
        faults,
        lan_hosts: device.lan_hosts,
        names: device.names,
        firewall: !device.no_firewall,
        wireguard: !device.no_wireguard,
        foreign: !device.no_foreign,
        login: if device.old_login { LoginMethod::Challenge } else { LoginMethod::Plain },
        ..SimOptions::default()
    };
    options.identity = device.identity.unwrap_or(options.identity);
    options.lan = device.lan.unwrap_or(options.lan);
    Ok(options)
}

fn cannot_start(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        message.push_str(": ");
        message.push_str(&source.to_string());
        cause = source.source();
    }
    Failure::usage("sim", message).hint("--listen and --listen-tls choose where it answers")
}

fn pin(fingerprint: &[u8; 32]) -> String {
    fingerprint.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Ctrl-C or SIGTERM is how it ends: no failure.
#[cfg(unix)]
async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn stop() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
