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
}

impl Site {
    /// Starts a site that calls a gateway.
    pub async fn call(number: u8, gateway_key: PublicKey, port: u16) -> Self {
        let host = ip(&format!("10.{number}.0.10"));
        let lans = vec![Lan { interface: "bridge".into(), hosts: vec![host], tun: None }];
        let plane = Plane::start(PlaneOptions { lans, ..PlaneOptions::default() }).await.unwrap();
        let site = Self { number, plane: Arc::new(plane), key: generate_private().unwrap() };
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
        let mut beside = self.config(second.0, second.1).wireguard.remove(0);
        (beside.id, beside.name, beside.private_key) = (2, "wg-next".into(), key.clone());
        for peer in &mut beside.peers {
            peer.id = 12;
        }
        if by == By::Second {
            for (_, interface) in config.addresses.iter_mut().filter(|(_, interface)| interface == "wg") {
                "wg-next".clone_into(interface);
            }
            config.routes.iter_mut().for_each(|route| route.via = "wg-next".into());
        }
        config.wireguard.push(beside);
        self.plane.apply(config).await.unwrap();
        PublicKey::from_bytes(key.public()).unwrap()
    }

    fn config(&self, gateway_key: PublicKey, port: u16) -> PlaneConfig {
        let number = self.number;
        let on = |net: String, interface: &str| (net.parse().unwrap(), interface.to_owned());
        PlaneConfig {
            wireguard: vec![WgInterface {
                id: 1,
                name: "wg".into(),
                private_key: self.key.clone(),
                listen_port: 0,
                mtu: 1420,
                up: true,
                peers: vec![WgPeer {
                    id: 11,
                    public_key: *gateway_key.as_bytes(),
                    preshared_key: None,
                    endpoint: Some(("127.0.0.1".into(), port)),
                    allowed: nets(&["0.0.0.0/0", "::/0"]),
                    keepalive: Some(Duration::from_secs(1)),
                    up: true,
                }],
            }],
            addresses: vec![
                on(format!("10.{number}.0.1/24"), "bridge"),
                on(format!("10.99.0.{number}/24"), "wg"),
                on(format!("fd99::{number:x}/64"), "wg"),
            ],
            routes: vec![PlaneRoute { dst: "0.0.0.0/0".parse().unwrap(), via: "wg".into(), distance: 1 }],
            ..PlaneConfig::default()
        }
    }

    pub fn host(&self) -> IpAddr {
        ip(&format!("10.{}.0.10", self.number))
    }

    /// Has the second interface alone, which is the first from then on.
    pub async fn keep_second(&self, second: (PublicKey, u16)) {
        let mut config = self.config(second.0, second.1);
        "wg-next".clone_into(&mut config.wireguard[0].name);
        for (_, interface) in config.addresses.iter_mut().filter(|(_, interface)| interface == "wg") {
            "wg-next".clone_into(interface);
        }
        (config.wireguard[0].id, config.wireguard[0].peers[0].id) = (2, 12);
        config.routes.iter_mut().for_each(|route| route.via = "wg-next".into());
        self.plane.apply(config).await.unwrap();
    }

    /// The same router with another key of its own.
    pub fn with_key(self, key: &SecretKey) -> Self {
        Self { key: key.clone(), ..self }
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
