//! The stage: a gateway's host, the internet it is on, and sites and clients around it.

use std::path::Path;
use std::sync::Arc;

use sitepeer::api::{Backend, GatewayInstance, GatewayPeer, InstanceId, PeerKind, Policy};
use sitepeer::domain::{PublicKey, SubnetSet};
use sitepeer::gateway::plane::{Plane, Planes, Rooted};
use sitepeer::wireguard::keys::{SecretKey, generate_private};
use tokio::runtime::Runtime;

use crate::netns::{Net, Wireguard, World, kernel_wireguard, unique, until};

/// The host of the internet that everybody may reach who reaches the internet.
pub const OUTSIDE: &str = "198.51.100.80";
pub const OUTSIDE6: &str = "2001:db8:100::80";
/// The gateway's host, as the internet sees it.
pub const HOST: &str = "203.0.113.1";

/// A world with a gateway in it.
pub struct Stage {
    pub world: World,
    /// The internet: a switch, and [`OUTSIDE`].
    pub internet: Net,
    /// The gateway's host.
    pub host: Net,
    pub planes: Arc<Rooted>,
    runtime: Option<Runtime>,
    instances: Vec<InstanceId>,
    next: u8,
}

/// An instance that is raised.
pub struct Raised {
    pub instance: GatewayInstance,
    pub plane: Arc<dyn Plane>,
    pub public_key: String,
    pub key: SecretKey,
}

/// A site or a client.
pub struct End {
    /// The router, or the client's machine.
    pub net: Net,
    /// A host behind it.
    pub lan: Option<Net>,
    pub wireguard: Wireguard,
    pub peer: GatewayPeer,
}

/// The backend that is tested.
pub fn backend() -> Backend {
    match std::env::var("SITEPEER_PLANE_BACKEND").as_deref() {
        Ok("kernel") => Backend::Kernel,
        Ok("userspace") | Err(_) => Backend::Userspace,
        Ok(other) => panic!("SITEPEER_PLANE_BACKEND is kernel or userspace, not {other}"),
    }
}

/// A gateway of this name, which lets peers reach two private networks beyond its host.
pub fn rooted(name: &str) -> Arc<Rooted> {
    let beyond = ["10.50.0.0/16", "198.18.0.0/15"].iter().map(|net| net.parse().unwrap()).collect();
    Arc::new(Rooted::new(backend(), name, beyond).unwrap())
}

/// Makes a stage, or says why there is none.
pub fn stage() -> Option<Stage> {
    match Stage::new() {
        Ok(stage) => Some(stage),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

impl Stage {
    fn new() -> Result<Self, String> {
        let mut world = World::new("plane")?;
        match backend() {
            Backend::Kernel if !kernel_wireguard() => return Err("this kernel has no WireGuard".to_owned()),
            Backend::Userspace if !Path::new("/dev/net/tun").exists() => return Err("no /dev/net/tun".to_owned()),
            _ => {}
        }
        let internet = world.host("net");
        world.switch(&internet, "br0", &["203.0.113.254/24", "2001:db8:113::254/64"]);
        internet.ip(&format!("addr add {OUTSIDE}/32 dev lo"));
        internet.ip(&format!("addr add {OUTSIDE6}/128 dev lo nodad"));
        let host = world.host("host");
        world.plug(&host, "eth0", &["203.0.113.1/24", "2001:db8:113::1/64"], (&internet, "br0"));
        host.ip("route add default via 203.0.113.254");
        host.ip("-6 route add default via 2001:db8:113::254");
        let runtime =
            host.enter(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
        let planes = rooted(&format!("test {}", unique()));
        Ok(Self { world, internet, host, planes, runtime: Some(runtime), instances: Vec::new(), next: 10 })
    }

    /// Runs a future on the gateway's host.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        // On a worker, whose namespace is the host's: the calling thread has another one.
        runtime.block_on(runtime.spawn(future)).unwrap()
    }

    /// An instance as the hub would describe it.
    pub fn instance(&mut self, port: u16) -> GatewayInstance {
        let id: InstanceId = format!("t{}", unique()).parse().unwrap();
        self.instances.push(id.clone());
        GatewayInstance {
            id,
            name: "test".to_owned(),
            suspended: false,
            addresses: vec!["10.99.0.1/24".parse().unwrap()],
            listen_port: port,
            device: 0,
            any_port: false,
            devices: Vec::new(),
            pushed_routes: SubnetSet::default(),
            policy: Policy::default(),
            revision: 1,
        }
    }

    pub fn raise(&self, instance: &GatewayInstance) -> Raised {
        self.raise_with(instance, generate_private().unwrap())
    }

    pub fn raise_with(&self, instance: &GatewayInstance, key: SecretKey) -> Raised {
        let (planes, wanted, private) = (Arc::clone(&self.planes), instance.clone(), key.clone());
        let plane = self.run(async move { planes.raise(&wanted, &private).await }).unwrap();
        let public_key = PublicKey::from_bytes(key.public()).unwrap().to_string();
        Raised { instance: instance.clone(), plane, public_key, key }
    }

    /// A site with a host in its LAN `192.168.<lan>.0/24`, connected to an instance.
    pub fn site(&mut self, raised: &Raised, number: u8, lan: u8) -> End {
        let subnet = format!("192.168.{lan}.0/24");
        let end = self.end(raised, PeerKind::Site, number, &[&subnet], &["10.99.0.0/24", "192.168.0.0/16"]);
        let behind = self.world.host(&format!("lan{}", unique()));
        let router = format!("192.168.{lan}.1");
        self.world
            .cable((&behind, "eth0", &format!("192.168.{lan}.10/24")), (&end.net, "lan0", &format!("{router}/24")));
        behind.ip(&format!("route add default via {router}"));
        end.net.forward();
        End { lan: Some(behind), ..end }
    }

    /// A client, with the prefixes it sends into the tunnel.
    pub fn client(&mut self, raised: &Raised, number: u8, route_all: bool, routes: &[&str]) -> End {
        let mut end = self.end(raised, PeerKind::Client, number, &[], routes);
        if route_all {
            end.peer.route_all = true;
            self.set(raised, &end.peer);
        }
        end
    }

    fn end(&mut self, raised: &Raised, kind: PeerKind, number: u8, subnets: &[&str], routes: &[&str]) -> End {
        self.next += 1;
        let net = self.world.host(&format!("end{}", self.next));
        let addresses = [format!("203.0.113.{}/24", self.next), format!("2001:db8:113::{}/64", self.next)];
        self.world.plug(&net, "eth0", &[&addresses[0], &addresses[1]], (&self.internet, "br0"));
        let mut tunnel = vec![format!("10.99.0.{number}/32")];
        if raised.instance.addresses.iter().any(|net| net.addr().is_ipv6()) {
            tunnel.push(format!("fd99::{number}/128"));
        }
        let texts: Vec<&str> = tunnel.iter().map(String::as_str).collect();
        let wireguard = Wireguard::new(&net, &texts);
        let peer = GatewayPeer {
            id: format!("p{}", unique()).parse().unwrap(),
            instance: raised.instance.id.clone(),
            kind,
            device: 0,
            public_key: wireguard.public_key().parse().unwrap(),
            moving: None,
            preshared_key: None,
            addresses: tunnel.iter().map(|text| text.split('/').next().unwrap().parse().unwrap()).collect(),
            subnets: subnets.iter().map(|text| text.parse().unwrap()).collect(),
            route_all: false,
            endpoint: None,
            keepalive_secs: 0,
            revision: 1,
        };
        self.set(raised, &peer);
        let endpoint = format!("{HOST}:{}", raised.plane.listen_port());
        wireguard.connect(&raised.public_key, &endpoint, routes, 25);
        End { net, lan: None, wireguard, peer }
    }

    pub fn set(&self, raised: &Raised, peer: &GatewayPeer) {
        let (plane, peer) = (Arc::clone(&raised.plane), peer.clone());
        self.run(async move { plane.set_peer(&peer, None).await }).unwrap();
    }

    /// Gives what is there to a gateway of another name: as if the process were another one.
    pub fn rename_owner(&self, instance: &InstanceId, name: &str) {
        let owner = format!("sitepeer gateway {name}");
        let inside = Net::named(&format!("sitepeer-{instance}"));
        inside.run("ip", &["link", "set", "lo", "alias", &owner]);
        self.host.run("ip", &["link", "set", &format!("sp-{instance}"), "alias", &owner]);
    }

    /// Raises an instance whose port a device of before may still hold for a moment.
    pub fn raise_until_free(&self, instance: &GatewayInstance, key: SecretKey) -> Raised {
        let public_key = PublicKey::from_bytes(key.public()).unwrap().to_string();
        let mut plane = None;
        until("the port is free", || {
            let (planes, wanted, private) = (Arc::clone(&self.planes), instance.clone(), key.clone());
            plane = self.run(async move { planes.raise(&wanted, &private).await }).ok();
            plane.is_some()
        });
        Raised { instance: instance.clone(), plane: plane.unwrap(), public_key, key }
    }

    pub fn remove_peer(&self, raised: &Raised, peer: &GatewayPeer) {
        let (plane, peer) = (Arc::clone(&raised.plane), peer.clone());
        self.run(async move { plane.remove_peer(peer.device, &peer.public_key, Some(&peer.id)).await }).unwrap();
    }

    pub fn configure(&self, raised: &Raised, instance: &GatewayInstance) {
        let (plane, instance) = (Arc::clone(&raised.plane), instance.clone());
        self.run(async move { plane.configure(&instance).await }).unwrap();
    }

    pub fn remove(&self, instance: &InstanceId) {
        let (planes, id) = (Arc::clone(&self.planes), instance.clone());
        self.run(async move { planes.remove(&id).await }).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for id in self.instances.clone() {
            let planes = Arc::clone(&self.planes);
            let runtime = self.runtime.as_ref().unwrap();
            let removed = runtime.block_on(runtime.spawn(async move { planes.remove(&id).await }));
            if !std::thread::panicking() {
                removed.unwrap().unwrap();
            }
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
