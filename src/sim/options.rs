//! What kind of device is simulated, and where it answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use super::faults::Fault;
use super::plane::LanTun;
use crate::domain::{RouterOsVersion, Secret};

/// A user of the simulated device.
#[derive(Clone, Debug)]
pub struct SimUser {
    /// Login name.
    pub name: String,
    /// Password; may be empty.
    pub password: Secret,
    /// `full`, `read`, `write` or a group of [`SimOptions::groups`].
    pub group: String,
}

/// How a session has to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginMethod {
    /// Name and password in one sentence, RouterOS 6.43 and later.
    #[default]
    Plain,
    /// An MD5 challenge, RouterOS before 6.43.
    Challenge,
}

/// Where sessions come from as the device sees it: over loopback, all would come from one place that nothing cuts off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPath {
    /// The other end's address.
    pub source: IpAddr,
    /// The device's address that they go to.
    pub address: IpAddr,
    /// How their packets come in.
    pub through: Through,
}

/// How packets come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Through {
    /// By an interface of this name.
    Interface(String),
    /// By the interface of a WireGuard peer, as long as that peer is the one it was.
    Peer {
        /// Base64.
        public_key: String,
        /// `host:port`
        endpoint: String,
    },
    /// By the interface of the first of several WireGuard peers that is the one it was, each a public key in base64 with `host:port`.
    /// They are one host far away, as a gateway with several devices is: it takes answers that come back by any of them.
    Peers(Vec<(String, String)>),
}

/// Everything that can be chosen about a simulated device.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is chosen on its own")]
pub struct SimOptions {
    /// RouterOS version; decides menus, arguments and printed fields.
    pub version: RouterOsVersion,
    /// `/system/identity`.
    pub identity: String,
    /// The LAN bridge's address with its prefix length.
    pub lan: Ipv4Net,
    /// The address that DHCP gives to `ether1`.
    pub wan: Ipv4Net,
    /// The default gateway that DHCP gives.
    pub wan_gateway: Ipv4Addr,
    /// Hosts on the LAN that answer pings.
    pub lan_hosts: Vec<IpAddr>,
    /// A TUN device that is the rest of the LAN: real programs in its namespace are hosts there. Needs root.
    pub lan_tun: Option<LanTun>,
    /// Where WireGuard's UDP is bound. On loopback, the device reaches no endpoint elsewhere.
    pub bind: IpAddr,
    /// MikroTik's default firewall and NAT, or none.
    pub firewall: bool,
    /// Whether the device has WireGuard.
    pub wireguard: bool,
    /// Someone else's WireGuard interface, peer, routes and list entries.
    pub foreign: bool,
    /// A foreign comment whose bytes are windows-1252.
    pub non_utf8_comment: bool,
    /// So many foreign address-list entries.
    pub foreign_rows: usize,
    /// Users beside those of the factory; `admin` without a password is always there unless named here.
    pub users: Vec<SimUser>,
    /// Groups beside `full`, `write` and `read`: name and policies.
    pub groups: Vec<(String, String)>,
    /// How sessions log in.
    pub login: LoginMethod,
    /// Whether rows that name an interface follow its renaming, as a device's seem to.
    pub rename_follows: bool,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where api-ssl listens, if it does.
    pub api_ssl: Option<SocketAddr>,
    /// A PEM file with certificate chain and key for api-ssl; without it one is made at every start.
    pub tls_cert_file: Option<PathBuf>,
    /// Faults from the start on.
    pub faults: Vec<Fault>,
    /// Names that the device can resolve, with their address.
    pub names: Vec<(String, IpAddr)>,
    /// Whether packets really travel: WireGuard over UDP, pings, firewall. Without, no tunnel comes up.
    pub plane: bool,
}

impl Default for SimOptions {
    fn default() -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            version: RouterOsVersion::new(7, 24, 0),
            identity: "MikroTik".to_owned(),
            lan: Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 88, 1), 24),
            wan: Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 10), 24),
            wan_gateway: Ipv4Addr::new(203, 0, 113, 1),
            lan_hosts: Vec::new(),
            lan_tun: None,
            bind: Ipv4Addr::LOCALHOST.into(),
            firewall: true,
            wireguard: true,
            foreign: true,
            non_utf8_comment: false,
            foreign_rows: 0,
            users: Vec::new(),
            groups: Vec::new(),
            login: LoginMethod::default(),
            rename_follows: true,
            api: loopback,
            api_ssl: Some(loopback),
            tls_cert_file: None,
            faults: Vec::new(),
            names: Vec::new(),
            plane: true,
        }
    }
}
