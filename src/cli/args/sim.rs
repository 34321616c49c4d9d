//! Arguments of `sim`.

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
    /// Where to serve api-ssl; not served without this
    #[arg(long, value_name = "ADDR:PORT")]
    listen_tls: Option<SocketAddr>,
    /// A PEM file with certificate and key for api-ssl; without it one is made at every start
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    tls_file: Option<PathBuf>,
    /// The RouterOS version to be
    #[arg(long, value_name = "VERSION", default_value = "7.24")]
    ros_version: String,
    /// A file that holds the password of its user admin; an empty password without it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The address of its LAN bridge, with the length of the LAN
    #[arg(long, value_name = "ADDR/LENGTH", default_value = "192.168.88.1/24")]
    lan: Ipv4Net,
    /// A host on its LAN that answers pings; may be repeated
    #[arg(long = "lan-host", value_name = "ADDR")]
    lan_hosts: Vec<IpAddr>,
    /// A name that it resolves: NAME=ADDR; may be repeated
    #[arg(long = "resolve", value_name = "NAME=ADDR")]
    names: Vec<String>,
    /// Be a device without firewall rules and without somebody else's tunnel
    #[arg(long)]
    bare: bool,
    /// Misbehave: NAME or NAME=NUMBER; may be repeated; a wrong name lists them all
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What `sim` is to do.
#[derive(Debug)]
pub struct Sim {
    /// Where to serve the API.
    pub listen: SocketAddr,
    /// Where to serve api-ssl.
    pub listen_tls: Option<SocketAddr>,
    /// Certificate and key for api-ssl.
    pub tls_file: Option<PathBuf>,
    /// The version to be.
    pub ros_version: RouterOsVersion,
    /// The password of `admin`.
    pub password: Secret,
    /// The LAN bridge's address.
    pub lan: Ipv4Net,
    /// Hosts on the LAN.
    pub lan_hosts: Vec<IpAddr>,
    /// Names it resolves.
    pub names: Vec<(String, IpAddr)>,
    /// What a router has before us.
    pub furniture: Furniture,
    /// Faults as they were written; the simulator knows their names.
    pub faults: Vec<String>,
}

/// What a simulated router has before us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Furniture {
    /// `MikroTik`'s default firewall, and somebody else's tunnel.
    Usual,
    /// Neither.
    Bare,
}

impl SimArgs {
    pub(super) fn settle(self) -> Result<Sim, Failure> {
        let ros_version = self
            .ros_version
            .parse()
            .map_err(|error| Failure::usage("usage", format!("--ros-version: {error}")).hint("such as 7.24"))?;
        let password = match &self.password_file {
            Some(file) => config::read_secret(file)?,
            None => Secret::new(String::new()),
        };
        let names = self.names.iter().map(|pair| name(pair)).collect::<Result<_, _>>()?;
        Ok(Sim {
            listen: self.listen,
            listen_tls: self.listen_tls,
            tls_file: self.tls_file,
            ros_version,
            password,
            lan: self.lan,
            lan_hosts: self.lan_hosts,
            names,
            furniture: if self.bare { Furniture::Bare } else { Furniture::Usual },
            faults: self.faults,
        })
    }
}

fn name(pair: &str) -> Result<(String, IpAddr), Failure> {
    let wrong = || Failure::usage("usage", format!("--resolve {pair}: write NAME=ADDR"));
    let (name, address) = pair.split_once('=').ok_or_else(wrong)?;
    Ok((name.to_owned(), address.parse().map_err(|_| wrong())?))
}
