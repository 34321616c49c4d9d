//! A site config as a person writes it, part by part.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use sitepeer::config;
use sitepeer::domain::Site;
use sitepeer::sim::plane::{HubEnd, HubPeer};
use sitepeer::wireguard::keys::SecretKey;

/// The parts of a site config that tests change.
#[derive(Clone, Debug)]
pub struct SiteText {
    pub id: String,
    pub instance: String,
    pub addresses: Vec<String>,
    pub mtu: Option<u16>,
    pub listen_port: Option<u16>,
    pub probe: Vec<String>,
    pub hub_key: String,
    pub endpoints: Vec<String>,
    pub preshared_key: Option<[u8; 32]>,
    pub keepalive_secs: u16,
    pub advertise: Vec<String>,
    pub reach: Vec<String>,
    pub table: Option<String>,
}

impl SiteText {
    /// Site A: behind the router with LAN 192.168.88.0/24.
    pub fn a(hub: &HubEnd) -> Self {
        Self {
            id: "k3f9q2".into(),
            instance: "acme".into(),
            addresses: texts(&["10.99.0.2/24"]),
            mtu: None,
            listen_port: None,
            probe: texts(&["10.99.0.1"]),
            hub_key: STANDARD.encode(hub.public_key()),
            endpoints: vec![hub.endpoint().to_string()],
            preshared_key: None,
            keepalive_secs: 25,
            advertise: texts(&["192.168.88.0/24"]),
            reach: texts(&["10.99.0.0/24", "192.168.89.0/24"]),
            table: None,
        }
    }

    /// Site B: behind the router with LAN 192.168.89.0/24.
    pub fn b(hub: &HubEnd) -> Self {
        Self {
            id: "b7w2mm".into(),
            addresses: texts(&["10.99.0.3/24"]),
            advertise: texts(&["192.168.89.0/24"]),
            reach: texts(&["10.99.0.0/24", "192.168.88.0/24"]),
            ..Self::a(hub)
        }
    }

    /// The same with IPv6 in the tunnel and behind both sites.
    pub fn with_ipv6(mut self) -> Self {
        self.addresses.push("fd99::2/64".into());
        self.probe.push("fd99::1".into());
        self.advertise.push("fd88::/64".into());
        self.reach.extend(texts(&["fd99::/64", "fd89::/64"]));
        self
    }

    fn toml(&self) -> String {
        let mut text = format!("version = 1\nid = {:?}\ninstance = {:?}\n[tunnel]\n", self.id, self.instance);
        text += &format!("protocol = \"wireguard\"\naddresses = {:?}\nprobe = {:?}\n", self.addresses, self.probe);
        text += &self.mtu.map(|mtu| format!("mtu = {mtu}\n")).unwrap_or_default();
        text += &self.listen_port.map(|port| format!("listen_port = {port}\n")).unwrap_or_default();
        text += &format!("[hub]\npublic_key = {:?}\nendpoints = {:?}\n", self.hub_key, self.endpoints);
        text += &format!("keepalive_secs = {}\n", self.keepalive_secs);
        let key = self.preshared_key.map(|key| format!("preshared_key = {:?}\n", STANDARD.encode(key)));
        text += &key.unwrap_or_default();
        text += &format!("[subnets]\nadvertise = {:?}\nreach = {:?}\n", self.advertise, self.reach);
        text += &self.table.as_ref().map(|table| format!("[routing]\ntable = {table:?}\n")).unwrap_or_default();
        text
    }

    /// Writes it to a file of its own and loads it as the commands do.
    pub fn load(&self) -> Site {
        let folder = tempfile::tempdir().unwrap();
        config::load(&self.write(folder.path())).unwrap_or_else(|error| panic!("{error}\n{}", self.toml()))
    }

    /// Writes it into a folder and returns where.
    pub fn write(&self, folder: &std::path::Path) -> std::path::PathBuf {
        let path = folder.join(format!("{}.toml", self.id));
        fs::write(&path, self.toml()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// What the hub has to know of this site once its key is known.
    pub fn hub_peer(&self, public_key: &str) -> HubPeer {
        let hosts = self.addresses.iter().map(|address| IpNet::from(address.parse::<IpNet>().unwrap().addr()));
        HubPeer {
            public_key: STANDARD.decode(public_key).unwrap().try_into().unwrap(),
            preshared_key: self.preshared_key.map(SecretKey::from),
            allowed: hosts.chain(self.advertise.iter().map(|net| net.parse().unwrap())).collect(),
        }
    }
}

pub fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
