//! `kill -9` of the gateway at any moment, while changes go on at the hub: what it acknowledged is on its disk, its keys stay, and
//! everything is served again. Needs no root.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sitepeer::domain::PublicKey;
use sitepeer::gateway::desired::{Desired, Store};
use sitepeer::sim::plane::{Plane, PlaneConfig, PlaneOptions, WgInterface, WgPeer};
use sitepeer::uplink::Trust;
use sitepeer::wireguard::keys::{SecretKey, generate_private};
use tempfile::TempDir;

use crate::admin::{Admin, text};
use crate::fleet::{name, secret};
use crate::netns::{unique, until};
use crate::program::{Place, Program, free_address};

/// In each the gateway is killed twice: at work, and on its way up.
const ROUNDS: u32 = 100;
/// The longest a gateway lives while changes are made. It needs some 20 ms to come up, so some end before they asked the hub anything.
const LONGEST_LIFE_MS: u64 = 80;
/// Peers beyond which the oldest is deleted.
const MAX_PEERS: usize = 30;

/// A hub, and a gateway that is killed and started again.
struct Mortal {
    gateway: Program,
    admin: Arc<Admin>,
    instance: String,
    state: PathBuf,
    _hub: Program,
    folder: TempDir,
}

impl Mortal {
    /// With an instance on a port, or on whichever the hub chooses.
    fn new(port: Option<u16>) -> Self {
        let (folder, address) = (TempDir::new().unwrap(), free_address());
        let (data, url) = (folder.path().join("hub"), format!("http://{address}"));
        let arguments = ["hub", "--listen", &address, "--data-dir", name(&data), "--report-secs", "1"];
        let hub = Program::start(&Place::Here, &folder.path().join("hub.log"), &arguments);
        let admin = Admin::arrive(None, &url, &Trust::Public, &data);
        let token = admin.post("/v1/tokens", json!({ "name": "gw", "role": "gateway", "region": "default" }));
        let token = secret(folder.path(), "gateway.token", &text(&token, "secret"));
        let state = folder.path().join("gateway");
        let mut arguments = vec!["gateway", "--hub", &url, "--token-file", name(&token), "--state-dir", name(&state)];
        arguments.extend(["--region", "default", "--name", "gw", "--public-host", "127.0.0.1"]);
        arguments.extend(["--backend", "rootless", "--bind", "127.0.0.1"]);
        let gateway = Program::start(&Place::Here, &folder.path().join("gateway.log"), &arguments);
        until("the hub knows the gateway", || !admin.get("/v1/gateways")["items"].as_array().unwrap().is_empty());
        let instance = instance(&admin, port);
        Self { gateway, admin: Arc::new(admin), instance, state, _hub: hub, folder }
    }

    fn instance(&self) -> Value {
        self.admin.get(&format!("/v1/instances/{}", self.instance))
    }

    /// The gateway as the hub knows it.
    fn known(&self) -> Value {
        self.admin.get("/v1/gateways")["items"][0].clone()
    }

    /// What is on the gateway's disk; a copy is read, for reading mends.
    fn on_disk(&self) -> Desired {
        let copy = self.folder.path().join("copy.log");
        fs::copy(self.state.join("desired.log"), &copy).unwrap();
        Store::open(&copy).unwrap().1
    }

    /// Kills the gateway: what it told the hub to be done, it has to know for ever.
    fn kill(&mut self) {
        self.gateway.kill();
        let told = self.known()["applied_revision"].as_i64().unwrap();
        let knows = self.on_disk().revision;
        assert!(knows >= told, "the gateway acknowledged revision {told}, and knows {knows} after its end");
    }

    /// Waits until all that is wanted has been acknowledged.
    fn is_served(&self) {
        until("the gateway has everything", || {
            let known = self.known();
            known["applied_revision"] == known["revision"]
        });
        for peer in self.admin.peers(&self.instance) {
            let link = &peer["link"];
            assert_eq!((&link["gateway_revision"], &link["gateway_error"]), (&link["gateway_wanted"], &Value::Null));
        }
    }

    /// The enabled peers as the hub has them.
    fn wanted(&self) -> BTreeSet<(String, i64)> {
        let enabled = self.admin.peers(&self.instance).into_iter().filter(|peer| peer["enabled"] == true);
        enabled.map(|peer| (text(&peer, "id"), peer["link"]["gateway_wanted"].as_i64().unwrap())).collect()
    }
}

fn instance(admin: &Admin, port: Option<u16>) -> String {
    let new = json!({ "name": "mortal", "region": "default", "account": admin.account(), "listen_port": port });
    let id = text(&admin.post("/v1/instances", new), "id");
    until("the instance is active", || admin.get(&format!("/v1/instances/{id}"))["status"] == "active");
    id
}

#[test]
fn a_hundred_kills_of_the_gateway_lose_nothing_acknowledged_and_everything_is_served_again() {
    // A port that nobody has now.
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut mortal = Mortal::new(Some(port));
    let (before, keys) = (mortal.instance(), keys(&mortal.state));
    assert_eq!(keys.len(), 1);
    let caller = Caller::new(&mortal, &before);
    let (begun, mut changes) = (Instant::now(), 0);
    for round in 0..ROUNDS {
        changes += die(&mut mortal, round);
        mortal.is_served();
        let after = mortal.instance();
        for field in ["public_key", "endpoint", "status"] {
            assert_eq!(after[field], before[field], "{field} after round {round}");
        }
        assert_eq!(self::keys(&mortal.state), keys, "after round {round}");
        caller.is_answered(&mortal.admin);
    }
    mortal.kill();
    let held = mortal.on_disk().instances.into_values().next().unwrap();
    let on_disk: BTreeSet<_> = held.peers.values().map(|peer| (peer.id.to_string(), peer.revision)).collect();
    assert_eq!(on_disk, mortal.wanted());
    let secs = begun.elapsed().as_secs_f64();
    println!("{} kills of the gateway in {secs:.0} s: all of {changes} changes are served", 2 * ROUNDS);
    assert!(changes > u64::from(ROUNDS), "only {changes} changes were made");
}

#[test]
fn an_instance_that_asked_for_no_port_is_served_on_one_that_no_other_process_has() {
    // If somebody else has it already, that will do as well.
    let taken = UdpSocket::bind("127.0.0.1:51820");
    let mut mortal = Mortal::new(None);
    mortal.is_served();
    let before = mortal.instance();
    let port = before["listen_port"].as_u64().unwrap();
    assert!(port > 51820, "{before}");
    assert!(text(&before, "endpoint").ends_with(&format!(":{port}")), "{before}");
    let caller = Caller::new(&mortal, &before);
    mortal.is_served();
    caller.is_answered(&mortal.admin);

    // Peers were told the port: it stays when the other one is free again.
    drop(taken);
    mortal.kill();
    mortal.gateway.start_again();
    caller.is_answered(&mortal.admin);
    mortal.is_served();
    assert_eq!(mortal.instance()["endpoint"], before["endpoint"]);
}

/// Kills the gateway while changes are made, and once more on its way up; returns the number of changes.
fn die(mortal: &mut Mortal, round: u32) -> u64 {
    let stop = AtomicBool::new(false);
    let (admin, instance) = (Arc::clone(&mortal.admin), mortal.instance.clone());
    thread::scope(|scope| {
        let changing = scope.spawn(|| change(&admin, &instance, &stop));
        for death in 0..2 {
            thread::sleep(Duration::from_millis(RandomState::new().hash_one((round, death)) % LONGEST_LIFE_MS));
            mortal.kill();
            mortal.gateway.start_again();
        }
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap()
    })
}

/// Adds, edits, disables, enables and deletes peers until it is told to stop; returns how many changes that made.
fn change(admin: &Admin, instance: &str, stop: &AtomicBool) -> u64 {
    let path = format!("/v1/instances/{instance}/peers");
    let peers = admin.peers(instance).into_iter().filter(|peer| text(peer, "user").starts_with("changing"));
    let mut living: Vec<String> = peers.map(|peer| text(&peer, "id")).collect();
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return number;
        }
        let (id, pick) = (living.first().cloned(), usize::try_from(number).unwrap() % living.len().max(1));
        match (number % 4, id) {
            (0, _) | (_, None) => {
                let new = json!({ "kind": "client", "user": format!("changing {}", unique()), "public_key": public(&key()).to_string() });
                living.push(text(&admin.post(&path, new), "id"));
            }
            (1, Some(_)) => {
                drop(admin.patch(&format!("/v1/peers/{}", living[pick]), json!({ "keepalive_secs": number % 60 })));
            }
            (2, Some(_)) => {
                let peer = format!("/v1/peers/{}", living[pick]);
                let word = if admin.get(&peer)["enabled"] == true { "disable" } else { "enable" };
                admin.tell(&format!("{peer}/{word}"));
            }
            (_, Some(oldest)) if living.len() > MAX_PEERS => {
                admin.delete(&format!("/v1/peers/{oldest}"));
                living.remove(0);
            }
            _ => {}
        }
    }
    unreachable!("numbers do not end")
}

/// The private keys on the gateway's disk.
fn keys(state: &Path) -> Vec<Vec<u8>> {
    let folders = fs::read_dir(state.join("instances")).unwrap();
    folders.map(|folder| fs::read(folder.unwrap().path().join("key")).unwrap()).collect()
}

fn key() -> SecretKey {
    generate_private().unwrap()
}

fn public(key: &SecretKey) -> PublicKey {
    PublicKey::from_bytes(key.public()).unwrap()
}

/// A client that really speaks WireGuard.
struct Caller {
    config: PlaneConfig,
}

impl Caller {
    fn new(mortal: &Mortal, instance: &Value) -> Self {
        let key = key();
        let new = json!({ "kind": "client", "user": "caller", "public_key": public(&key).to_string() });
        mortal.admin.peer(&mortal.instance, new);
        let gateway: PublicKey = text(instance, "public_key").parse().unwrap();
        let (host, port) = (text(instance, "endpoint"), instance["listen_port"].as_u64().unwrap());
        let peer = WgPeer {
            id: 2,
            public_key: *gateway.as_bytes(),
            preshared_key: None,
            endpoint: Some((host.split(':').next().unwrap().to_owned(), u16::try_from(port).unwrap())),
            allowed: vec!["10.99.0.0/24".parse().unwrap()],
            keepalive: Some(Duration::from_secs(1)),
            up: true,
        };
        let (private_key, name) = (key, "wg".to_owned());
        let interface =
            WgInterface { id: 1, name, private_key, listen_port: 0, mtu: 1420, up: true, peers: vec![peer] };
        Self { config: PlaneConfig { wireguard: vec![interface], ..PlaneConfig::default() } }
    }

    /// Calls as a device that was just switched on does, and waits for the gateway's answer.
    fn is_answered(&self, admin: &Admin) {
        let config = self.config.clone();
        let plane = admin.run(async move {
            let plane = Plane::start(PlaneOptions::default()).await.unwrap();
            plane.apply(config).await.unwrap();
            Arc::new(plane)
        });
        until("the gateway answers a peer", || {
            let plane = Arc::clone(&plane);
            admin.run(async move { plane.peers().await.unwrap()[0].last_handshake.is_some() })
        });
    }
}
