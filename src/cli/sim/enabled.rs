//! `sitepeer sim` on the simulator.

use crate::cli::args::Sim;
use crate::cli::failure::Failure;
use crate::cli::process;
use crate::cli::report::{Event, Outcome, Reporter, Verdict};
use crate::routeros::tls::CertificatePin;
use crate::sim::plane::{LanTun, PlaneError};
use crate::sim::{Fault, LoginMethod, SimError, SimOptions, SimRouter, SimUser};

/// Serves a simulated device until it is told to stop.
///
/// # Errors
/// [`Failure`] for an unknown fault, or if it cannot start.
pub async fn run(command: Sim, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let options = options(command)?;
    let version = options.version.clone();
    let router = SimRouter::start(options)
        .await
        .map_err(|error| Failure::of(Verdict::Invalid, "sim", &error, Some(hint(&error).to_owned())))?;
    let stop = process::stop_signal();
    reporter.event(&Event::Listening {
        version: version.to_string(),
        api: router.api_addr().to_string(),
        api_ssl: router.api_ssl_addr().map(|address| address.to_string()),
        pin: router.fingerprint().map(|digest| CertificatePin::from_bytes(digest).to_string()),
    });
    // To be stopped is how it ends: no failure.
    stop.await;
    Ok(Outcome::new(Verdict::Done).say("stopped"))
}

fn hint(error: &SimError) -> &'static str {
    match error {
        SimError::Plane(PlaneError::Tun { .. }) => "a TUN device needs root, and NETNS one that `ip netns add` made",
        SimError::Plane(_) => "--bind chooses an address of this machine (or namespace) for WireGuard",
        _ => "--listen and --listen-tls choose where it answers",
    }
}

fn options(command: Sim) -> Result<SimOptions, Failure> {
    let faults = command.faults.iter().map(|text| text.parse::<Fault>()).collect::<Result<Vec<_>, _>>();
    let faults = faults.map_err(|error| Failure::usage("usage", format!("--fault: {error}")))?;
    let device = command.device;
    let lan_tun = device.lan_tun.map(|text| text.parse::<LanTun>()).transpose();
    let lan_tun = lan_tun.map_err(|error| Failure::usage("usage", format!("--lan-tun: {error}")))?;
    let admin = SimUser { name: "admin".to_owned(), password: command.password, group: "full".to_owned() };
    let mut options = SimOptions {
        version: command.ros_version,
        users: vec![admin],
        api: command.listen,
        api_ssl: command.listen_tls,
        tls_cert_file: command.tls_cert_file,
        faults,
        lan_hosts: device.lan_hosts,
        lan_tun,
        names: device.names,
        firewall: !device.no_firewall,
        wireguard: !device.no_wireguard,
        foreign: !device.no_foreign,
        login: if device.old_login { LoginMethod::Challenge } else { LoginMethod::Plain },
        ..SimOptions::default()
    };
    options.identity = device.identity.unwrap_or(options.identity);
    options.lan = device.lan.unwrap_or(options.lan);
    options.bind = device.bind.unwrap_or(options.bind);
    Ok(options)
}
