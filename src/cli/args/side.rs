//! Arguments of the commands that talk to no real router: `sim`, `demo`, `completions`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use ipnet::Ipv4Net;

use super::common::OutputArgs;
use crate::cli::failure::Failure;
use crate::config;
use crate::domain::{RouterOsVersion, Secret};

#[derive(Debug, Args)]
pub(super) struct SimArgs {
    /// Where to serve the API
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8728")]
    listen: SocketAddr,
    /// Where to serve api-ssl, with a certificate of its own; not served without this
    #[arg(long, value_name = "ADDR:PORT")]
    listen_tls: Option<SocketAddr>,
    /// The RouterOS version to be
    #[arg(long, value_name = "VERSION", default_value = "7.21.5")]
    ros_version: String,
    /// A file that holds the password of its user admin; empty password without it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A PEM file with certificate chain and key for api-ssl, instead of one made at every start
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    tls_cert_file: Option<PathBuf>,
    /// Misbehave: NAME or NAME=VALUE, such as close-after=7; may be repeated; `list` names all
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
    #[command(flatten)]
    device: SimDevice,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What kind of device `sim` is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct SimDevice {
    /// The name it gives itself
    #[arg(long, value_name = "NAME")]
    pub identity: Option<String>,
    /// Its LAN address with prefix length
    #[arg(long, value_name = "ADDR/LEN")]
    pub lan: Option<Ipv4Net>,
    /// A host on its LAN that answers pings; may be repeated
    #[arg(long = "lan-host", value_name = "ADDR")]
    pub lan_hosts: Vec<IpAddr>,
    /// Make a TUN device its LAN, in the namespace if one is given: programs there are hosts; needs root
    #[arg(long, value_name = "NAME[@NETNS]")]
    pub lan_tun: Option<String>,
    /// Where its WireGuard is bound; on loopback it reaches no endpoint elsewhere [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<IpAddr>,
    /// A name it can resolve; may be repeated
    #[arg(long = "name", value_name = "NAME=ADDR", value_parser = name_and_address)]
    pub names: Vec<(String, IpAddr)>,
    /// Be a router without firewall and NAT
    #[arg(long)]
    pub no_firewall: bool,
    /// Be a router without WireGuard
    #[arg(long)]
    pub no_wireguard: bool,
    /// Have no rows of others: no foreign tunnel, no foreign routes
    #[arg(long)]
    pub no_foreign: bool,
    /// Log in by challenge, as before RouterOS 6.43
    #[arg(long)]
    pub old_login: bool,
}

fn name_and_address(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text.split_once('=').ok_or("not NAME=ADDR")?;
    let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    Ok((name.to_owned(), address))
}

/// What `sim` is to do.
#[derive(Debug)]
pub struct Sim {
    /// Where to serve the API.
    pub listen: SocketAddr,
    /// Where to serve api-ssl.
    pub listen_tls: Option<SocketAddr>,
    /// The version to be.
    pub ros_version: RouterOsVersion,
    /// The password of `admin`.
    pub password: Secret,
    /// Certificate and key of api-ssl.
    pub tls_cert_file: Option<PathBuf>,
    /// Faults as they were written; the simulator knows their names.
    pub faults: Vec<String>,
    /// What kind of device.
    pub device: SimDevice,
}

impl SimArgs {
    pub(super) fn settle(self) -> Result<Sim, Failure> {
        let ros_version = self
            .ros_version
            .parse()
            .map_err(|error| Failure::usage("usage", format!("--ros-version: {error}")).hint("such as 7.21.5"))?;
        let password = match &self.password_file {
            Some(file) => config::read_secret(file)?,
            None => Secret::new(String::new()),
        };
        Ok(Sim {
            listen: self.listen,
            listen_tls: self.listen_tls,
            ros_version,
            password,
            tls_cert_file: self.tls_cert_file,
            faults: self.faults,
            device: self.device,
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End by itself; without it everything stays up to be looked at
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `demo` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// Whether to end by itself.
    pub end: DemoEnd,
}

/// When the demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoEnd {
    /// Once it has shown everything.
    ByItself,
    /// On Ctrl-C.
    OnInterrupt,
}

impl DemoArgs {
    pub(super) fn settle(&self) -> Demo {
        Demo { end: if self.once { DemoEnd::ByItself } else { DemoEnd::OnInterrupt } }
    }
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// The shells there are completions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
    /// elvish
    Elvish,
    /// `PowerShell`
    Powershell,
}

/// What `completions` is to do.
#[derive(Debug, Clone, Copy)]
pub struct Completions {
    /// Which shell.
    pub shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn settle(&self) -> Completions {
        Completions { shell: self.shell }
    }
}
