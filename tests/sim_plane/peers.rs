//! WireGuard follows the rows, and a changed row costs nothing it need not cost.

use std::time::Duration;

use sitepeer::sim::plane::PlaneOptions;
use sitepeer::wireguard::keys;

use crate::world::{HOST_A, HOST_B, World, ip, nets};

#[tokio::test]
async fn a_peer_that_never_shook_hands_has_no_handshake_time() {
    let mut world = World::start().await;
    let strangers = keys::generate_private().unwrap();
    world.a.peer().public_key = strangers.public();
    world.a.apply().await;
    let state = world.a.until("an initiation", |state| state.tx >= 148).await;
    assert_eq!((state.last_handshake, state.rx), (None, 0));
}

#[tokio::test]
async fn editing_a_peer_keeps_its_session_its_counters_and_every_ping() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 20).await;
    let before = world.a.handshake().await;
    for round in 0..20 {
        let allowed = if round % 2 == 0 { "192.168.89.0/24" } else { "192.168.0.0/16" };
        world.a.peer().allowed = nets(&["10.99.0.0/24", allowed]);
        world.a.peer().keepalive = Some(Duration::from_secs(20 + round));
        world.a.apply().await;
        assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 1, "round {round}");
    }
    let after = world.a.state().await;
    assert!(after.rx > before.rx && after.tx > before.tx, "{before:?} {after:?}");
    assert!(after.last_handshake > before.last_handshake, "no new handshake: {before:?} {after:?}");
}

#[tokio::test]
async fn a_peer_edited_on_a_router_that_drops_sessions_shakes_hands_anew_and_keeps_its_counters() {
    let mut world = World::start_with(PlaneOptions { drop_session_on_set: true, ..PlaneOptions::default() }).await;
    world.b.handshake().await;
    world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 20).await;
    let before = world.a.handshake().await;
    world.a.peer().keepalive = Some(Duration::from_secs(30));
    world.a.apply().await;
    let after = world
        .a
        .until("a second handshake", |state| state.last_handshake < before.last_handshake && state.tx > before.tx)
        .await;
    assert!(after.rx >= before.rx, "{before:?} {after:?}");
}

#[tokio::test]
async fn an_unchanged_config_changes_nothing() {
    let mut world = World::start().await;
    world.b.handshake().await;
    let before = world.a.handshake().await;
    let socket = world.a.applied.interfaces[0].socket;
    world.a.apply().await;
    let after = world.a.state().await;
    assert_eq!((after.rx, after.tx, after.endpoint), (before.rx, before.tx, before.endpoint));
    assert_eq!(world.a.applied.interfaces[0].socket, socket);
}

#[tokio::test]
async fn a_disabled_peer_carries_nothing_until_it_is_enabled() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.handshake().await;
    world.a.peer().up = false;
    world.a.apply().await;
    assert_eq!(world.a.plane.peers().await.unwrap(), []);
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 0);
    world.a.peer().up = true;
    world.a.apply().await;
    world.a.handshake().await;
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 1);
}

#[tokio::test]
async fn a_disabled_interface_is_down_and_comes_back_on_its_port() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.handshake().await;
    let before = world.a.applied.interfaces[0].clone();
    assert!(before.running && before.listen_port != 0);
    world.a.config.wireguard[0].up = false;
    world.a.apply().await;
    assert!(!world.a.applied.interfaces[0].running);
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 0);
    world.a.config.wireguard[0].up = true;
    world.a.apply().await;
    assert_eq!(world.a.applied.interfaces[0].socket, before.socket);
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 1);
}

#[tokio::test]
async fn a_preshared_key_must_be_the_same_at_both_ends() {
    let mut world = World::start().await;
    let key = keys::generate_preshared().unwrap();
    let mut peer = world.a.hub_peer();
    peer.preshared_key = Some(key.clone());
    world.hub.remove_peer(&peer.public_key).await.unwrap();
    world.hub.set_peer(peer).await.unwrap();
    world.a.peer().up = false;
    world.a.apply().await;
    world.a.peer().up = true;
    world.a.apply().await;
    world.b.handshake().await;
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 0);
    world.a.peer().up = false;
    world.a.apply().await;
    world.a.peer().up = true;
    world.a.peer().preshared_key = Some(key);
    world.a.apply().await;
    world.a.handshake().await;
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 1);
}

#[tokio::test]
async fn an_endpoint_name_is_looked_up_when_set_and_when_told() {
    let mut world = World::start().await;
    let (host, port) = world.a.peer().endpoint.clone().unwrap();
    world.a.peer().up = false;
    world.a.apply().await;
    world.a.peer().up = true;
    world.a.peer().endpoint = Some(("hub.example.net".into(), port));
    world.a.apply().await;
    assert_eq!(world.a.applied.unresolved, [11]);
    assert_eq!(world.a.state().await.endpoint, None);
    world.a.plane.set_name("hub.example.net", Some(ip(&host))).await.unwrap();
    assert!(world.a.plane.resolve_again(11).await.unwrap());
    world.a.handshake().await;
}

#[tokio::test]
async fn an_endpoint_outside_loopback_is_not_dialled() {
    let mut world = World::start().await;
    world.a.peer().endpoint = Some(("192.0.2.1".into(), 51820));
    world.a.apply().await;
    assert_eq!(world.a.applied.unresolved, [11]);
}

#[tokio::test]
async fn the_second_of_two_peers_with_one_key_is_left_out() {
    let mut world = World::start().await;
    let mut twin = world.a.peer().clone();
    twin.id = 12;
    world.a.config.wireguard[0].peers.push(twin);
    world.a.apply().await;
    assert_eq!(world.a.applied.duplicates, [12]);
    assert_eq!(world.a.plane.peers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_hub_counts_each_site_by_itself() {
    let world = World::start().await;
    world.a.handshake().await;
    world.b.handshake().await;
    let before = world.hub.peers().await.unwrap();
    world.a.plane.lan_ping(ip(HOST_A), ip("10.99.0.1"), 10).await;
    let after = world.hub.peers().await.unwrap();
    let grew = |site: [u8; 32]| {
        let rx = |peers: &[sitepeer::sim::plane::HubPeerState]| {
            peers.iter().find(|peer| peer.public_key == site).unwrap().rx
        };
        rx(&after) - rx(&before)
    };
    assert!(grew(world.a.hub_peer().public_key) >= 840, "ten pings of 84 bytes");
    assert_eq!(grew(world.b.hub_peer().public_key), 0);
}
