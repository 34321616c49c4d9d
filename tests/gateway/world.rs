//! What these tests are made of: instances, peers, and simulated routers that call a gateway.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use sitepeer::api::{GatewayInstance, GatewayPeer, PeerKind, Policy};
use sitepeer::domain::PublicKey;
use sitepeer::sim::plane::{Lan, PeerState, Plane, PlaneConfig, PlaneOptions, PlaneRoute, WgInterface, WgPeer};
use sitepeer::wireguard::keys::{SecretKey, generate_private};

/// How long a condition may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An instance with the tunnel `10.99.0.0/24` and `fd99::/64` on a port of the system's choice.
pub fn instance(id: &str) -> GatewayInstance {
    GatewayInstance {
        id: id.parse().unwrap(),
        name: format!("name of {id}"),
        suspended: false,
        addresses: nets(&["10.99.0.1/24", "fd99::1/64"]),
        listen_port: 0,
        device: 0,
        any_port: false,
        devices: Vec::new(),
        pushed_routes: Vec::new().into_iter().collect(),
        policy: Policy::default(),
        revision: 1,
    }
}

/// A site that really speaks WireGuard: tunnel addresses `10.99.0.N` and `fd99::N`, LAN `10.N.0.0/24` with the host `10.N.0.10`.
pub struct Site {
    pub number: u8,
    pub plane: Arc<Plane>,
    key: SecretKey,
    /// How many interfaces it had before this one.
    turn: u64,
}

impl Site {
    /// Starts a site that calls a gateway.
    pub async fn call(number: u8, gateway_key: PublicKey, port: u16) -> Self {
        let host = ip(&format!("10.{number}.0.10"));
        let lans = vec![Lan { interface: "bridge".into(), hosts: vec![host], tun: None }];
        let plane = Plane::start(PlaneOptions { lans, ..PlaneOptions::default() }).await.unwrap();
        let site = Self { number, plane: Arc::new(plane), key: generate_private().unwrap(), turn: 0 };
        site.plane.apply(site.config(gateway_key, port)).await.unwrap();
        site
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.key.public()).unwrap()
    }

    /// As a peer of an instance, with an id made of its number.
    pub fn peer(&self, instance: &GatewayInstance, kind: PeerKind) -> GatewayPeer {
        let number = self.number;
        GatewayPeer {
            id: format!("peer{number:04}").parse().unwrap(),
            instance: instance.id.clone(),
            kind,
            device: instance.device,
            public_key: self.public_key(),
            moving: None,
            preshared_key: None,
            addresses: vec![ip(&format!("10.99.0.{number}")), ip(&format!("fd99::{number:x}"))],
            subnets: nets(&[&format!("10.{number}.0.0/24")]).into_iter().collect(),
            route_all: false,
            endpoint: None,
            keepalive_secs: 0,
            revision: 1,
        }
    }

    /// Makes a second interface beside the first, with a key of its own; what the site sends goes by either. Returns the new key.
    pub async fn call_beside(
        &self,
        first: (PublicKey, u16),
        second: (PublicKey, u16),
        key: &SecretKey,
        by: By,
    ) -> PublicKey {
        let mut config = self.config(first.0, first.1);
        let next = Self::interface(self.turn + 1, key, second.0, second.1);
        if by == By::Second {
            let own = name(self.turn);
            for (_, interface) in config.addresses.iter_mut().filter(|(_, interface)| *interface == own) {
                interface.clone_from(&next.name);
            }
            config.routes.iter_mut().for_each(|route| route.via.clone_from(&next.name));
        }
        config.wireguard.push(next);
        self.plane.apply(config).await.unwrap();
        PublicKey::from_bytes(key.public()).unwrap()
    }

    /// Has the second interface alone: it is the first from then on.
    pub async fn keep_second(self, second: (PublicKey, u16), key: &SecretKey) -> Self {
        let site = Self { key: key.clone(), turn: self.turn + 1, ..self };
        site.plane.apply(site.config(second.0, second.1)).await.unwrap();
        site
    }

    fn interface(turn: u64, key: &SecretKey, gateway_key: PublicKey, port: u16) -> WgInterface {
        WgInterface {
            id: 1 + turn,
            name: name(turn),
            private_key: key.clone(),
            listen_port: 0,
            mtu: 1420,
            up: true,
            peers: vec![WgPeer {
                id: 100 + turn,
                public_key: *gateway_key.as_bytes(),
                preshared_key: None,
                endpoint: Some(("127.0.0.1".into(), port)),
                allowed: nets(&["0.0.0.0/0", "::/0"]),
                keepalive: Some(Duration::from_secs(1)),
                up: true,
            }],
        }
    }

    fn config(&self, gateway_key: PublicKey, port: u16) -> PlaneConfig {
        let number = self.number;
        let own = name(self.turn);
        let on = |net: String, interface: &str| (net.parse().unwrap(), interface.to_owned());
        PlaneConfig {
            wireguard: vec![Self::interface(self.turn, &self.key, gateway_key, port)],
            addresses: vec![
                on(format!("10.{number}.0.1/24"), "bridge"),
                on(format!("10.99.0.{number}/24"), &own),
                on(format!("fd99::{number:x}/64"), &own),
            ],
            routes: vec![PlaneRoute { dst: "0.0.0.0/0".parse().unwrap(), via: own.clone(), distance: 1 }],
            ..PlaneConfig::default()
        }
    }

    pub fn host(&self) -> IpAddr {
        ip(&format!("10.{}.0.10", self.number))
    }

    pub async fn handshake(&self) -> PeerState {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let state = self.plane.peers().await.unwrap().remove(0);
            if state.last_handshake.is_some() {
                return state;
            }
            assert!(Instant::now() < deadline, "site {} gets no handshake: {state:?}", self.number);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What a site's interface is called.
fn name(turn: u64) -> String {
    format!("wg{turn}")
}

/// By which of two interfaces a site sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    First,
    Second,
}

pub fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
