//! The UDP below: ports, black holes, wrong clocks, and nothing left behind.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sitepeer::sim::plane::{PingStatus, Plane, PlaneConfig, PlaneError, PlaneOptions, WgInterface};
use sitepeer::wireguard::keys;
use tokio::net::UdpSocket;

use crate::world::{HOST_A, HOST_B, World, ip};

fn lone_interface(listen_port: u16) -> PlaneConfig {
    PlaneConfig {
        wireguard: vec![WgInterface {
            id: 1,
            name: "wg".into(),
            private_key: keys::generate_private().unwrap(),
            listen_port,
            mtu: 1420,
            up: true,
            peers: Vec::new(),
        }],
        ..PlaneConfig::default()
    }
}

/// Waits until a port can be bound by somebody else.
async fn freed(socket: SocketAddr) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(error) = UdpSocket::bind(socket).await {
        assert!(Instant::now() < deadline, "{socket} is still taken: {error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn dropping_a_plane_frees_its_port() {
    let world = World::start().await;
    world.a.handshake().await;
    let socket = world.a.applied.interfaces[0].socket.unwrap();
    assert!(UdpSocket::bind(socket).await.is_err(), "taken while the plane lives");
    drop(world.a);
    freed(socket).await;
}

#[tokio::test]
async fn stopping_a_plane_or_a_hub_frees_its_port() {
    let world = World::start().await;
    let (site, hub) = (world.a.applied.interfaces[0].socket.unwrap(), world.hub.endpoint());
    world.a.plane.stop().await;
    world.hub.stop().await;
    freed(site).await;
    freed(hub).await;
}

#[tokio::test]
async fn an_interface_without_peers_has_its_socket_open_and_its_port_chosen() {
    let plane = Plane::start(PlaneOptions::default()).await.unwrap();
    let applied = plane.apply(lone_interface(0)).await.unwrap();
    let interface = &applied.interfaces[0];
    assert!(interface.running);
    assert_eq!(interface.socket.unwrap().port(), interface.listen_port);
    assert!(UdpSocket::bind(interface.socket.unwrap()).await.is_err());
}

#[tokio::test]
async fn a_port_taken_on_this_machine_is_stood_in_for_by_another() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let plane = Plane::start(PlaneOptions::default()).await.unwrap();
    let applied = plane.apply(lone_interface(port)).await.unwrap();
    let interface = &applied.interfaces[0];
    assert!(interface.running, "{interface:?}");
    assert_eq!(interface.listen_port, port, "the row keeps what it says");
    assert_ne!(interface.socket.unwrap().port(), port);
}

#[tokio::test]
async fn a_changed_listen_port_moves_the_socket_and_the_tunnel_goes_on() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.handshake().await;
    let before = world.a.applied.interfaces[0].socket.unwrap();
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.a.config.wireguard[0].listen_port = free.port();
    world.a.apply().await;
    assert_eq!(world.a.applied.interfaces[0].socket, Some(free));
    freed(before).await;
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 3).await.received, 3);
}

#[tokio::test]
async fn a_black_hole_swallows_all_and_gives_way_again() {
    let world = World::start().await;
    world.a.handshake().await;
    world.b.handshake().await;
    world.a.plane.set_black_hole(true);
    let summary = world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await;
    assert_eq!(summary.last_failure, Some(PingStatus::Timeout));
    world.a.plane.set_black_hole(false);
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 1);
}

#[tokio::test]
async fn after_its_clock_went_back_a_router_gets_no_handshake_until_the_clock_is_right() {
    let mut world = World::start().await;
    world.a.handshake().await;
    world.a.plane.set_clock_skew(-3600);
    world.a.peer().up = false;
    world.a.apply().await;
    world.a.peer().up = true;
    world.a.apply().await;
    let state = world.a.until("an initiation", |state| state.tx >= 148).await;
    assert_eq!(state.last_handshake, None);
    world.a.plane.set_clock_skew(1);
    let state = world.a.handshake().await;
    assert!(state.rx > 0);
}

#[tokio::test]
async fn an_address_of_another_machine_cannot_be_bound() {
    let options = PlaneOptions { bind: ip("192.0.2.1"), ..PlaneOptions::default() };
    let error = Plane::start(options).await.unwrap_err();
    assert!(matches!(error, PlaneError::Bind { .. }));
    assert_eq!(error.to_string(), "cannot bind UDP on 192.0.2.1");
}
