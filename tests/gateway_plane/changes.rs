//! Changes under load: one peer's change is nobody else's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sitepeer::api::{GatewayPeer, PeerKind};
use sitepeer::domain::{PublicKey, SubnetSet};
use sitepeer::gateway::plane::{DevicePeer, Planes as _};
use sitepeer::wireguard::keys::generate_private;

use crate::netns::{unique, until};
use crate::stage::{Raised, Stage, stage};

/// Changes of peer B during the ping of peer A.
const CHANGES: u32 = 200;
/// Pings, 100 a second: they outlast the changes.
const PINGS: u32 = 500;
/// One change each.
const PACE: Duration = Duration::from_millis(20);
const MANY: u32 = 1_000;
/// Of them, those that are taken out again.
const REMOVED: usize = 100;
/// A peer that has to notice by itself that its session is gone takes 15 s and more.
const BACK_WITHIN: Duration = Duration::from_secs(5);

fn peers(stage: &Stage, raised: &Raised) -> Vec<DevicePeer> {
    let plane = Arc::clone(&raised.plane);
    stage.run(async move { plane.peers().await }).unwrap()
}

fn found(stage: &Stage, raised: &Raised, peer: &GatewayPeer) -> DevicePeer {
    let all = peers(stage, raised);
    all.into_iter().find(|found| found.public_key == peer.public_key).unwrap()
}

#[test]
fn two_hundred_changes_of_one_peer_cost_another_no_packet() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let a = stage.site(&raised, 2, 11);
    let b = stage.site(&raised, 3, 12);
    let c = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    c.net.pings_in_the_end("192.168.11.10");
    c.net.pings_in_the_end("192.168.12.10");
    let ping = c.net.ping_count("192.168.11.10", PINGS);
    let begun = Instant::now();
    for n in 0..CHANGES {
        // Spread over the time of the pings.
        std::thread::sleep((begun + PACE * n).saturating_duration_since(Instant::now()));
        let mut peer = b.peer.clone();
        match n % 4 {
            0 => peer.subnets = [format!("192.168.{}.0/24", 100 + n % 50).parse().unwrap()].into_iter().collect(),
            // Disabled, or deleted: it is the same to a gateway.
            1 => {
                stage.remove_peer(&raised, &peer);
                continue;
            }
            2 => peer.kind = PeerKind::Client,
            _ => peer.keepalive_secs = 15 + u16::try_from(n % 10).unwrap(),
        }
        stage.set(&raised, &peer);
    }
    let took = begun.elapsed();
    let (sent, back) = ping.end();
    eprintln!("{CHANGES} changes in {took:?}; {sent} pings, {} lost", sent - back);
    assert_eq!(sent, back);
    stage.set(&raised, &b.peer);
    assert_eq!(
        found(&stage, &raised, &a.peer).allowed,
        ["10.99.0.2/32", "192.168.11.0/24"].map(|net| net.parse().unwrap())
    );
}

#[test]
fn a_peers_session_survives_the_edit_of_its_subnets() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let mut b = stage.site(&raised, 3, 12);
    let c = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    c.net.pings_in_the_end("192.168.12.10");
    let before = found(&stage, &raised, &b.peer);
    let ping = c.net.ping_count("10.99.0.3", 100);
    for n in 0..50 {
        b.peer.subnets =
            ["192.168.12.0/24".to_owned(), format!("172.20.{n}.0/24")].iter().map(|net| net.parse().unwrap()).collect();
        stage.set(&raised, &b.peer);
    }
    let (sent, back) = ping.end();
    assert_eq!(sent, back, "pings of the very peer that was edited");
    let after = found(&stage, &raised, &b.peer);
    let apart = after.handshake.unwrap().duration_since(before.handshake.unwrap()).unwrap_or_default();
    assert!(apart < Duration::from_millis(50), "a handshake was made anew: {apart:?}");
    assert!(after.rx_bytes >= before.rx_bytes && after.endpoint == before.endpoint);
    assert!(c.net.pings("192.168.12.10"));
}

#[test]
fn a_thousand_peers_come_back_all_of_them() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    instance.addresses = vec!["10.99.0.1/16".parse().unwrap()];
    let raised = stage.raise(&instance);
    let peer = |n: u32| GatewayPeer {
        id: format!("p{}", unique()).parse().unwrap(),
        instance: raised.instance.id.clone(),
        kind: if n.is_multiple_of(2) { PeerKind::Client } else { PeerKind::Site },
        device: 0,
        public_key: PublicKey::from_bytes(generate_private().unwrap().public()).unwrap(),
        moving: None,
        preshared_key: None,
        addresses: vec![std::net::Ipv4Addr::from(0x0a63_0000 + 2 + n).into()],
        subnets: if n.is_multiple_of(2) {
            SubnetSet::default()
        } else {
            let first = std::net::Ipv4Addr::from(0xac10_0000 + n * 256);
            [format!("{first}/24").parse().unwrap()].into_iter().collect()
        },
        route_all: n.is_multiple_of(4),
        endpoint: None,
        keepalive_secs: 25,
        revision: 1,
    };
    let all: Vec<GatewayPeer> = (0..MANY).map(peer).collect();
    let begun = Instant::now();
    for peer in &all {
        stage.set(&raised, peer);
    }
    let set = begun.elapsed();
    let begun = Instant::now();
    let back = peers(&stage, &raised);
    eprintln!("{MANY} peers set in {set:?}, read back in {:?}", begun.elapsed());
    assert_eq!(back.len(), all.len());
    let keys: BTreeSet<PublicKey> = back.iter().map(|peer| peer.public_key).collect();
    assert_eq!(keys, all.iter().map(|peer| peer.public_key).collect());
    assert!(back.iter().all(|peer| peer.handshake.is_none() && peer.keepalive_secs == 25));
    // Each can be taken out again, to its last route and element, and only it: the rest would say the same again.
    let (gone, kept) = all.split_at(REMOVED);
    let begun = Instant::now();
    for peer in gone {
        stage.remove_peer(&raised, peer);
    }
    eprintln!("{REMOVED} peers removed in {:?}", begun.elapsed());
    let left: BTreeSet<PublicKey> = peers(&stage, &raised).iter().map(|peer| peer.public_key).collect();
    assert_eq!(left, kept.iter().map(|peer| peer.public_key).collect());
    let inside = crate::netns::Net::named(&format!("sitepeer-{}", instance.id));
    let routes = inside.ip("route show dev wg0");
    let list = |set: &str| inside.run("nft", &["list", "set", "inet", "sitepeer", set]);
    let (clients, full) = (list("clients4"), list("full4"));
    let stands = |text: &str, what: &str| text.split([' ', ',', '\n']).any(|word| word == what);
    for (peers, are_there) in [(gone, false), (kept, true)] {
        for peer in peers {
            let address = peer.addresses[0].to_string();
            let is_client = peer.kind == PeerKind::Client;
            assert_eq!(stands(&clients, &address), are_there && is_client, "{address} among the clients");
            assert_eq!(stands(&full, &address), are_there && is_client && peer.route_all, "{address} among the full");
            for net in peer.subnets.iter() {
                assert_eq!(stands(&routes, &net.to_string()), are_there, "a route to {net}");
            }
        }
    }
}

#[test]
fn a_new_key_replaces_the_old_one_and_a_new_port_keeps_the_sessions() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let mut a = stage.client(&raised, 5, false, &["10.99.0.0/24"]);
    a.net.pings_in_the_end("10.99.0.1");
    let session = found(&stage, &raised, &a.peer).handshake;
    let old = a.peer.public_key;
    a.peer.public_key = PublicKey::from_bytes(generate_private().unwrap().public()).unwrap();
    stage.set(&raised, &a.peer);
    let keys: Vec<PublicKey> = peers(&stage, &raised).iter().map(|peer| peer.public_key).collect();
    assert_eq!(keys, [a.peer.public_key]);
    assert!(!a.net.pings("10.99.0.1"), "the old key is still served");
    a.peer.public_key = old;
    stage.set(&raised, &a.peer);
    until("it is served again", || a.net.pings("10.99.0.1"));
    assert!(session.is_some());
    instance.listen_port = 51999;
    stage.configure(&raised, &instance);
    assert_eq!(raised.plane.listen_port(), 51999);
    a.wireguard.set(&format!(
        "[Peer]\nPublicKey = {}\nEndpoint = 203.0.113.1:51999\nAllowedIPs = 10.99.0.0/24",
        raised.public_key
    ));
    a.net.pings_in_the_end("10.99.0.1");
    // A port that is taken is refused, and the old one goes on.
    let taken = stage.host.enter(|| std::net::UdpSocket::bind("0.0.0.0:52000").unwrap());
    instance.listen_port = 52000;
    let (plane, wanted) = (Arc::clone(&raised.plane), instance.clone());
    let error = stage.run(async move { plane.configure(&wanted).await }).unwrap_err();
    assert!(error.to_string().contains("52000") && error.is_port_taken(), "{error}");
    assert_eq!(raised.plane.listen_port(), 51999);
    assert!(a.net.pings("10.99.0.1"));
    let second = stage.instance(52000);
    let (planes, key) = (Arc::clone(&stage.planes), generate_private().unwrap());
    let error = stage.run(async move { planes.raise(&second, &key).await }).unwrap_err();
    assert!(error.is_port_taken(), "{error}");
    drop(taken);
}

#[test]
fn a_peer_that_comes_back_is_called_where_it_was_last_heard() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let mut a = stage.client(&raised, 5, false, &["10.99.0.0/24"]);
    a.net.pings_in_the_end("10.99.0.1");
    let heard = found(&stage, &raised, &a.peer).endpoint;
    stage.remove_peer(&raised, &a.peer);
    a.peer.keepalive_secs = 25;
    let (plane, peer) = (Arc::clone(&raised.plane), a.peer.clone());
    stage.run(async move { plane.set_peer(&peer, heard).await }).unwrap();
    let begun = Instant::now();
    until("the gateway calls", || found(&stage, &raised, &a.peer).handshake.is_some());
    assert!(begun.elapsed() < BACK_WITHIN, "{:?}", begun.elapsed());
    assert!(a.net.pings("10.99.0.1"));
}

#[test]
fn an_address_and_a_prefix_that_another_peer_has_by_now_stay_that_peers() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let old = stage.site(&raised, 2, 11);
    let new = stage.site(&raised, 3, 12);
    let client = stage.client(&raised, 5, true, &["10.99.0.0/24", "192.168.0.0/16", "198.51.100.0/24"]);
    client.net.pings_in_the_end("198.51.100.80");
    // The new site takes the old one's LAN over before the old one has given it up, and a client another one's address.
    let mut takes = new.peer.clone();
    takes.subnets = ["192.168.11.0/24", "192.168.12.0/24"].iter().map(|net| net.parse().unwrap()).collect();
    stage.set(&raised, &takes);
    let mut other = client.peer.clone();
    other.id = format!("p{}", unique()).parse().unwrap();
    other.public_key = PublicKey::from_bytes(generate_private().unwrap().public()).unwrap();
    stage.set(&raised, &other);
    stage.set(&raised, &client.peer);
    stage.remove_peer(&raised, &other);
    stage.remove_peer(&raised, &old.peer);
    new.net.ip("addr add 192.168.11.10/32 dev lo");
    client.net.pings_in_the_end("192.168.11.10");
    assert!(client.net.pings("198.51.100.80"), "its rules went with the peer that had them before");
    let digest = |peer: &GatewayPeer| found(&stage, &raised, peer).preshared_key;
    let mut keyed = takes.clone();
    keyed.preshared_key =
        Some(sitepeer::domain::Secret::new("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".to_owned()));
    stage.set(&raised, &keyed);
    assert!(digest(&keyed).is_some());
    stage.set(&raised, &takes);
    assert_eq!(digest(&takes), None, "really cleared");
}

#[test]
fn a_remote_peer_is_called_by_the_gateway_and_a_name_that_does_not_resolve_is_no_error() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let mut remote = stage.client(&raised, 7, false, &["10.99.0.0/24"]);
    remote.net.pings_in_the_end("10.99.0.1");
    // From now on it waits to be called.
    stage.remove_peer(&raised, &remote.peer);
    let address = remote.net.ip("-br -4 addr show eth0");
    let address = address.split_whitespace().nth(2).unwrap().split('/').next().unwrap().to_owned();
    let port = remote.net.run("wg", &["show", remote.wireguard.interface(), "listen-port"]).trim().to_owned();
    remote.net.run("wg", &["set", remote.wireguard.interface(), "peer", &raised.public_key, "remove"]);
    remote.wireguard.set(&format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.99.0.0/24", raised.public_key));
    remote.peer.kind = PeerKind::Remote;
    remote.peer.subnets = ["10.77.0.0/24".parse().unwrap()].into_iter().collect();
    remote.peer.keepalive_secs = 1;
    remote.peer.endpoint = Some(format!("nowhere.invalid:{port}").parse().unwrap());
    stage.set(&raised, &remote.peer);
    assert_eq!(found(&stage, &raised, &remote.peer).endpoint, None);
    remote.peer.endpoint = Some(format!("{address}:{port}").parse().unwrap());
    stage.set(&raised, &remote.peer);
    until("the gateway calls", || found(&stage, &raised, &remote.peer).handshake.is_some());
    assert!(remote.net.pings("10.99.0.1"));
}
