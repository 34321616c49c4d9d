//! `sitepeer sim` on the simulator.

use crate::cli::args::{Furniture, Sim};
use crate::cli::failure::Failure;
use crate::cli::process;
use crate::cli::report::{Event, Outcome, Reporter, Verdict};
use crate::domain::Secret;
use crate::sim::{Fault, SimOptions, SimRouter, SimUser};

/// Serves a simulated router until it is stopped.
///
/// # Errors
/// A [`Failure`] (exit 2) for a fault that does not exist or an address that cannot be listened on.
///
/// # Cancel safety
/// Dropping it ends the router and everything in it.
pub async fn run(command: Sim, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let version = command.ros_version.to_string();
    let router = SimRouter::start(options(command)?)
        .await
        .map_err(|error| Failure::usage("sim-start", format!("{:#}", anyhow::Error::from(error))))?;
    reporter.event(&Event::Serving {
        version,
        api: router.api_addr().to_string(),
        api_ssl: router.api_ssl_addr().map(|address| address.to_string()),
        pin: router.fingerprint().map(|fingerprint| pin(&fingerprint)),
    });
    // To be stopped is how it ends, and no failure.
    process::stop_signal().await;
    Ok(Outcome::new(Verdict::Done).say("stopped"))
}

fn options(command: Sim) -> Result<SimOptions, Failure> {
    let faults: Result<Vec<Fault>, Failure> = command
        .faults
        .iter()
        .map(|fault| fault.parse().map_err(|error| Failure::usage("usage", format!("--fault {fault}: {error}"))))
        .collect();
    let furnished = command.furniture == Furniture::Usual;
    Ok(SimOptions {
        version: command.ros_version,
        lan: command.lan,
        lan_hosts: command.lan_hosts,
        names: command.names,
        firewall: furnished,
        foreign: furnished,
        users: vec![admin(command.password)],
        api: command.listen,
        api_ssl: command.listen_tls,
        tls_cert_file: command.tls_file,
        faults: faults?,
        ..SimOptions::default()
    })
}

fn admin(password: Secret) -> SimUser {
    SimUser { name: "admin".to_owned(), password, group: "full".to_owned() }
}

/// A fingerprint as `--pin` takes it.
fn pin(fingerprint: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    fingerprint.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
