//! A fleet: hub and gateway on the internet, sites and clients around them, each in namespaces of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use sitepeer::uplink::Trust;
use tempfile::TempDir;

use crate::admin::{Admin, text};
use crate::netns::{Net, Wireguard, World, until};
use crate::program::{Place, Program, run};

/// The host of the internet that everybody may reach who reaches the internet.
pub const OUTSIDE: &str = "198.51.100.80";
/// Hub and gateway, as the internet sees them.
pub const HOST: &str = "203.0.113.1";
const URL: &str = "https://203.0.113.1:8443";
/// Bytes of a transfer: many windows of TCP.
pub const TRANSFER: usize = 2 << 20;

/// Whether hub and gateway are one process or two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Together,
    Apart,
}

pub struct Fleet {
    pub hub: Program,
    /// The gateway, where it is a process of its own.
    pub gateway: Option<Program>,
    pub admin: Admin,
    pub internet: Net,
    pub host: Net,
    /// Last but for the files: namespaces go when nothing runs in them.
    world: World,
    folder: TempDir,
    next: u8,
}

/// A site: a simulated router, and a namespace with a real host behind it.
pub struct Site {
    pub lan: Net,
    pub router: Net,
    pub peer: String,
    /// The host's address.
    pub host: String,
    token: PathBuf,
    _sim: Program,
}

/// A person's machine.
pub struct Client {
    pub net: Net,
    pub peer: String,
    /// Its address on the internet.
    pub address: String,
    pub wireguard: Wireguard,
}

/// Makes a fleet without sites, or says why there can be none.
pub fn fleet(shape: Shape) -> Option<Fleet> {
    match World::new("sys") {
        Ok(world) => Some(Fleet::new(world, shape)),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

impl Fleet {
    fn new(mut world: World, shape: Shape) -> Self {
        let folder = TempDir::new().unwrap();
        let internet = world.host("net");
        world.switch(&internet, "br0", &["203.0.113.254/24"]);
        internet.ip(&format!("addr add {OUTSIDE}/32 dev lo"));
        internet.forward();
        let host = world.host("host");
        world.plug(&host, "eth0", &[&format!("{HOST}/24")], (&internet, "br0"));
        host.ip("route add default via 203.0.113.254");
        let (cert, key) = certificate(folder.path());
        let place = Place::Net(host.clone());
        let (data, backend) = (folder.path().join("hub"), backend());
        let mut arguments =
            vec!["hub", "--listen", "203.0.113.1:8443", "--report-secs", "1", "--data-dir", name(&data)];
        arguments.extend(["--tls-cert", name(&cert), "--tls-key", name(&key)]);
        if shape == Shape::Together {
            arguments.extend(["--gateway", "--public-host", HOST]);
            arguments.extend(backend.iter().flat_map(|backend| ["--backend", backend]));
        }
        let hub = Program::start(&place, &folder.path().join("hub.log"), &arguments);
        let admin = Admin::arrive(Some(&internet), URL, &Trust::CaFile(cert), &data);
        let mut fleet = Self { hub, gateway: None, admin, internet, host, world, folder, next: 10 };
        if shape == Shape::Apart {
            fleet.gateway = Some(fleet.start_gateway());
        }
        fleet
    }

    fn start_gateway(&self) -> Program {
        let token = self.admin.post("/v1/tokens", json!({ "name": "gw", "role": "gateway", "region": "default" }));
        let token = secret(self.folder.path(), "gateway.token", &text(&token, "secret"));
        let (state, ca) = (self.file("gateway"), self.ca());
        let mut arguments = vec!["gateway", "--hub", URL, "--hub-ca", name(&ca), "--token-file", name(&token)];
        arguments.extend(["--region", "default", "--name", "gw", "--public-host", HOST, "--state-dir", name(&state)]);
        let backend = backend();
        arguments.extend(backend.iter().flat_map(|backend| ["--backend", backend]));
        Program::start(&Place::Net(self.host.clone()), &self.file("gateway.log"), &arguments)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.file("hub.pem")
    }

    /// Puts a machine on the internet; returns it with its address.
    fn machine(&mut self, label: &str) -> (Net, String) {
        self.next += 1;
        let (net, address) = (self.world.host(label), format!("203.0.113.{}", self.next));
        self.world.plug(&net, "eth0", &[&format!("{address}/24")], (&self.internet, "br0"));
        net.ip("route add default via 203.0.113.254");
        (net, address)
    }

    /// Makes a site with the LAN `192.168.<lan>.0/24`, and has its router provisioned from the hub.
    pub fn site(&mut self, instance: &str, label: &str, lan: u8) -> Site {
        let (router, address) = self.machine(label);
        let behind = self.world.host(&format!("{label}-lan"));
        let gateway = format!("192.168.{lan}.1");
        let (tun, network) = (format!("lan0@{}", behind.name()), format!("{gateway}/24"));
        let place = Place::Net(router.clone());
        let sim = ["sim", "--listen", "127.0.0.1:8728", "--lan", &network, "--lan-tun", &tun, "--bind", &address];
        let sim = Program::start(&place, &self.file(&format!("{label}.log")), &sim);
        let api = "127.0.0.1:8728".parse().unwrap();
        let connects = || std::net::TcpStream::connect_timeout(&api, std::time::Duration::from_secs(1)).is_ok();
        until("the router answers", || router.enter(connects));
        behind.ip(&format!("addr add 192.168.{lan}.10/24 dev lan0"));
        behind.ip(&format!("route add default via {gateway}"));

        let site = self.admin.post("/v1/sites", json!({ "name": label, "account": self.admin.account() }));
        let subnets = json!([format!("192.168.{lan}.0/24")]);
        let new = json!({ "kind": "site", "site": text(&site, "id"), "subnets": subnets });
        let peer = self.admin.peer(instance, new);
        let enrollment = self.admin.post("/v1/enrollments", json!({ "peer": peer }));
        let token = secret(self.folder.path(), &format!("{label}.token"), &text(&enrollment, "token"));
        let site = Site { lan: behind, router, peer, host: format!("192.168.{lan}.10"), token, _sim: sim };
        self.provision(&site);
        site
    }

    /// Brings what the hub wants to the site's router, and has it proven; enrols the first time.
    pub fn provision(&self, site: &Site) {
        let ca = self.ca();
        let words = ["provision", "--router", "api://admin@127.0.0.1", "--yes", "--hub", URL];
        let hub = ["--hub-ca", name(&ca), "--token-file", name(&site.token)];
        run(&Place::Net(site.router.clone()), &words.into_iter().chain(hub).collect::<Vec<_>>());
    }

    /// Waits until the hub tells all sites of an instance that they reach a network.
    pub fn is_told(&self, instance: &str, network: &str) {
        let path = format!("/v1/instances/{instance}");
        let covers = |reach: &serde_json::Value| {
            let network: ipnet::IpNet = network.parse().unwrap();
            let prefixes = reach.as_array().into_iter().flatten().filter_map(|prefix| prefix.as_str());
            prefixes.filter_map(|prefix| prefix.parse::<ipnet::IpNet>().ok()).any(|prefix| prefix.contains(&network))
        };
        until("sites are told of a network", || covers(&self.admin.get(&path)["reach"]));
    }

    /// Makes a client with its own key, set up by the profile that the hub writes for it.
    pub fn client(&mut self, instance: &str, label: &str, route_all: bool) -> Client {
        let (net, address) = self.machine(label);
        let wireguard = Wireguard::new(&net, &[]);
        let key = wireguard.public_key();
        let peer = json!({ "kind": "client", "user": label, "route_all": route_all, "public_key": key });
        let peer = self.admin.peer(instance, peer);
        let profile = self.admin.text(&format!("/v1/peers/{peer}/profile"));
        follow(&net, &wireguard, &profile);
        Client { net, peer, address, wireguard }
    }

    /// Makes a network that we do not manage, as a remote peer: a machine with an address of the network on itself.
    pub fn remote(&mut self, instance: &str, label: &str, lan: u8) -> Client {
        let (net, address) = self.machine(label);
        let wireguard = Wireguard::new(&net, &[]);
        net.ip(&format!("addr add 192.168.{lan}.1/32 dev lo"));
        let subnets = json!([format!("192.168.{lan}.0/24")]);
        let new =
            json!({ "kind": "remote", "name": label, "public_key": wireguard.public_key(), "allowed_ips": subnets });
        let peer = self.admin.peer(instance, new);
        let tunnel = self.admin.get(&format!("/v1/peers/{peer}"))["addresses"][0].as_str().unwrap().to_owned();
        net.ip(&format!("addr add {tunnel}/32 dev {}", wireguard.interface()));
        let served = self.admin.get(&format!("/v1/instances/{instance}"));
        let (key, endpoint) = (text(&served, "public_key"), text(&served, "endpoint"));
        wireguard.connect(&key, &endpoint, &["10.99.0.0/24", "192.168.0.0/16"], 5);
        Client { net, peer, address, wireguard }
    }
}

impl Drop for Fleet {
    /// A gateway that is killed leaves its instances' namespaces, so that tunnels could come back: here nobody will.
    fn drop(&mut self) {
        let instances = std::mem::take(&mut *self.admin.instances.lock().unwrap());
        if let Some(gateway) = self.gateway.as_mut() {
            gateway.kill();
        }
        self.hub.kill();
        for instance in instances {
            let _gone =
                std::process::Command::new("ip").args(["netns", "del", &format!("sitepeer-{instance}")]).output();
        }
    }
}

/// Does with a profile what wg-quick does.
fn follow(net: &Net, wireguard: &Wireguard, profile: &str) {
    assert!(profile.contains("[YOUR_PRIVATE_KEY]"), "the key is the client's own: {profile}");
    let value = |key: &str| {
        let line = profile.lines().find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
        line.map(|value| value.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>()).unwrap_or_default()
    };
    for address in value("Address") {
        net.ip(&format!("addr add {address} dev {}", wireguard.interface()));
    }
    let allowed = value("AllowedIPs");
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    wireguard.connect(&value("PublicKey")[0], &value("Endpoint")[0], &allowed, 5);
}

/// The backend that is tested, if one was chosen.
fn backend() -> Option<String> {
    std::env::var("SITEPEER_PLANE_BACKEND").ok()
}

/// A certificate for [`HOST`] and its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    let (cert, key) = (folder.join("hub.pem"), folder.join("hub.key"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (cert, key)
}

/// Writes a file that only its owner reads.
pub fn secret(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file
}

/// A path as an argument.
pub fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}
