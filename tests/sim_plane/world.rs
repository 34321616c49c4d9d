//! The network of these tests: site A (LAN 192.168.88.0/24) and site B (LAN 192.168.89.0/24) with a hub between them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use sitepeer::sim::plane::{
    Applied, HubEnd, HubOptions, HubPeer, Lan, LanTun, Lists, PeerState, Plane, PlaneConfig, PlaneOptions, PlaneRoute,
    Rule, WgInterface, WgPeer,
};
use sitepeer::wireguard::keys::{self, SecretKey};

/// How long a condition may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

pub const HOST_A: &str = "192.168.88.10";
pub const HOST_B: &str = "192.168.89.10";
pub const TUNNEL_A: &str = "10.99.0.2";
pub const TUNNEL_B: &str = "10.99.0.3";
pub const HUB: &str = "10.99.0.1";

pub struct Site {
    pub plane: Plane,
    pub config: PlaneConfig,
    pub applied: Applied,
    key: SecretKey,
    number: u8,
}

pub struct World {
    pub hub: HubEnd,
    pub a: Site,
    pub b: Site,
}

impl World {
    /// Starts all three; handshakes begin by themselves, for the sites have a keepalive.
    pub async fn start() -> Self {
        Self::start_with(PlaneOptions::default()).await
    }

    pub async fn start_with(options: PlaneOptions) -> Self {
        Self::start_on(options, [None, None]).await
    }

    /// Starts all three, with a TUN device as the rest of a site's LAN where one is given.
    pub async fn start_on(options: PlaneOptions, wires: [Option<LanTun>; 2]) -> Self {
        let addresses = vec!["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()];
        let hub = HubEnd::start(HubOptions::new(keys::generate_private().unwrap(), addresses)).await.unwrap();
        let [wire_a, wire_b] = wires;
        let a = Site::start(0, &hub, options.clone(), wire_a).await;
        let b = Site::start(1, &hub, options, wire_b).await;
        hub.set_peer(a.hub_peer()).await.unwrap();
        hub.set_peer(b.hub_peer()).await.unwrap();
        Self { hub, a, b }
    }
}

impl Site {
    async fn start(number: u8, hub: &HubEnd, options: PlaneOptions, tun: Option<LanTun>) -> Self {
        let hosts = vec![
            ip(&format!("192.168.{}.10", 88 + number)),
            ip(&format!("192.168.{}.11", 88 + number)),
            ip(&format!("fd{}::10", 88 + number)),
        ];
        let lans = vec![Lan { interface: "bridge".into(), hosts, tun }];
        let plane = Plane::start(PlaneOptions { lans, ..options }).await.unwrap();
        let key = keys::generate_private().unwrap();
        let config = rows(number, &key, hub);
        let applied = plane.apply(config.clone()).await.unwrap();
        Self { plane, config, applied, key, number }
    }

    /// Applies the config as it stands now.
    pub async fn apply(&mut self) {
        self.applied = self.plane.apply(self.config.clone()).await.unwrap();
    }

    pub fn hub_peer(&self) -> HubPeer {
        HubPeer {
            public_key: self.key.public(),
            preshared_key: None,
            allowed: nets(&[
                &format!("10.99.0.{}/32", 2 + self.number),
                &format!("fd99::{}/128", 2 + self.number),
                &format!("192.168.{}.0/24", 88 + self.number),
                &format!("fd{}::/64", 88 + self.number),
            ]),
        }
    }

    pub fn peer(&mut self) -> &mut WgPeer {
        &mut self.config.wireguard[0].peers[0]
    }

    /// What WireGuard knows of the hub.
    pub async fn state(&self) -> PeerState {
        self.plane.peers().await.unwrap().into_iter().find(|state| state.id == 11).unwrap()
    }

    /// Waits until a condition on the hub's peer holds.
    pub async fn until(&self, what: &str, condition: impl Fn(&PeerState) -> bool) -> PeerState {
        self.within(DEADLINE, what, condition).await
    }

    pub async fn within(&self, time: Duration, what: &str, condition: impl Fn(&PeerState) -> bool) -> PeerState {
        let deadline = Instant::now() + time;
        loop {
            let state = self.state().await;
            if condition(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "{what}: not within {time:?}, but {state:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn handshake(&self) -> PeerState {
        self.until("a handshake", |state| state.last_handshake.is_some()).await
    }

    /// Sets the filter by RouterOS rows, such as `chain=forward action=drop in-interface=wg`.
    pub async fn filter(&mut self, rows: &[&str]) {
        self.config.filter = rules(rows);
        self.apply().await;
    }

    pub async fn nat(&mut self, rows: &[&str]) {
        self.config.nat = rules(rows);
        self.apply().await;
    }
}

fn rows(number: u8, key: &SecretKey, hub: &HubEnd) -> PlaneConfig {
    let other = 1 - number;
    let on = |net: String, interface: &str| (net.parse().unwrap(), interface.to_owned());
    let route = |dst: String| PlaneRoute { dst: dst.parse().unwrap(), via: "wg".into(), distance: 1 };
    PlaneConfig {
        wireguard: vec![WgInterface {
            id: 1,
            name: "wg".into(),
            private_key: key.clone(),
            listen_port: 0,
            mtu: 1420,
            up: true,
            peers: vec![WgPeer {
                id: 11,
                public_key: hub.public_key(),
                preshared_key: None,
                endpoint: Some((hub.endpoint().ip().to_string(), hub.endpoint().port())),
                allowed: nets(&["10.99.0.0/24", "fd99::/64", "192.168.0.0/16", "fd00::/8"]),
                keepalive: Some(Duration::from_secs(25)),
                up: true,
            }],
        }],
        addresses: vec![
            on(format!("192.168.{}.1/24", 88 + number), "bridge"),
            on(format!("fd{}::1/64", 88 + number), "bridge"),
            on(format!("10.99.0.{}/24", 2 + number), "wg"),
            on(format!("fd99::{}/64", 2 + number), "wg"),
        ],
        routes: vec![route(format!("192.168.{}.0/24", 88 + other)), route(format!("fd{}::/64", 88 + other))],
        ..PlaneConfig::default()
    }
}

/// Reads rows written as `key=value` words.
pub fn rules(rows: &[&str]) -> Vec<Rule> {
    let mut lists = Lists::default();
    lists.interfaces.insert("LAN".into(), ["bridge".to_owned()].into());
    lists.interfaces.insert("WAN".into(), ["ether1".to_owned()].into());
    lists.interfaces.insert("sites".into(), ["wg".to_owned()].into());
    lists.addresses.insert("ours".into(), nets(&["192.168.88.0/24"]));
    lists.addresses.insert("theirs".into(), nets(&["192.168.89.0/24"]));
    let words = |row: &&str| Rule::from_row(row.split(' ').map(|word| word.split_once('=').unwrap()), &lists);
    rows.iter().map(words).collect()
}

pub fn nets(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
