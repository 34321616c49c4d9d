//! Peers that change from one device of their instance to another: the plane for real, and the control part's course of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sitepeer::api::{GatewayDevice, GatewayInstance, GatewayMove, GatewayPeer, PeerKind};
use sitepeer::domain::PublicKey;
use sitepeer::gateway::plane::rootless::Rootless;
use sitepeer::gateway::plane::{Plane, Planes};
use sitepeer::wireguard::keys::generate_private;

use crate::control::{Stage, peer, served, told};
use crate::world::{By, DEADLINE, Site, instance, ip};

/// Long enough for gateway and site to be told everything at each step, in pings one after another.
const PINGS: u32 = 4000;

fn public(key: &sitepeer::wireguard::keys::SecretKey) -> PublicKey {
    PublicKey::from_bytes(key.public()).unwrap()
}

/// Bytes that each device has received from a site.
async fn received(plane: &dyn Plane) -> BTreeMap<u32, u64> {
    plane.peers().await.unwrap().into_iter().map(|peer| (peer.device, peer.rx_bytes)).collect()
}

#[tokio::test]
async fn a_site_that_changes_to_another_device_is_heard_on_both_at_each_step_and_loses_no_ping() {
    let planes = Rootless::new(ip("127.0.0.1"));
    let (mut instance, first, second) = (instance("inst1"), generate_private().unwrap(), generate_private().unwrap());
    let plane = planes.raise(&instance, &first).await.unwrap();
    let old = (public(&first), plane.listen_port());
    let site = Site::call(2, old.0, old.1).await;
    let mut peer = site.peer(&instance, PeerKind::Site);
    plane.set_peer(&peer, None).await.unwrap();
    site.handshake().await;

    let course = async {
        let device = GatewayDevice { device: 1, listen_port: 0, any_port: true };
        let port = plane.set_device(&device, &second).await.unwrap();
        let (new, router) = ((public(&second), port), generate_private().unwrap());
        let public_key = site.call_beside(old, new, &router, By::First).await;
        peer.moving = Some(GatewayMove { device: 1, public_key, sends: false });
        plane.set_peer(&peer, None).await.unwrap();
        let shook = async || plane.peers().await.unwrap().iter().all(|on| on.handshake.is_some());
        let begun = Instant::now();
        while !shook().await {
            assert!(begun.elapsed() < DEADLINE, "no handshake on the second device");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The site sends by the new one while the gateway answers by the old one, and the other way round.
        for (by, sends) in [(By::Second, false), (By::First, true), (By::Second, true)] {
            let before = received(&*plane).await;
            site.call_beside(old, new, &router, by).await;
            peer.moving = Some(GatewayMove { device: 1, public_key, sends });
            plane.set_peer(&peer, None).await.unwrap();
            let number = u32::from(by == By::Second);
            let begun = Instant::now();
            while received(&*plane).await[&number] < before[&number] + 5000 {
                assert!(begun.elapsed() < DEADLINE, "nothing comes by {by:?} while sends is {sends}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        instance.device = 1;
        (instance.listen_port, instance.devices) =
            (port, vec![GatewayDevice { device: 0, listen_port: old.1, any_port: true }]);
        plane.configure(&instance).await.unwrap();
        plane.remove_peer(0, &peer.public_key, Some(&peer.id)).await.unwrap();
        (peer.device, peer.public_key, peer.moving) = (1, public_key, None);
        plane.set_peer(&peer, None).await.unwrap();
        plane.remove_device(0).await.unwrap();
        assert_eq!((plane.listen_port(), plane.devices().await), (port, vec![(1, port)]));
        old.1
    };
    let ping = site.plane.lan_ping(site.host(), ip("10.99.0.1"), PINGS);
    let (pings, port) = tokio::join!(ping, course);
    println!("pings of a site that changed from one device to another: {pings:?}");
    assert_eq!((pings.sent, pings.received), (PINGS, PINGS));
    std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(site.plane.lan_ping(site.host(), ip("10.99.0.1"), 5).await.received, 5, "without the old device");
}

#[tokio::test]
async fn a_site_on_one_device_and_a_client_on_another_reach_each_other_by_the_same_rules() {
    let planes = Rootless::new(ip("127.0.0.1"));
    let (instance, first, second) = (instance("inst1"), generate_private().unwrap(), generate_private().unwrap());
    let plane = planes.raise(&instance, &first).await.unwrap();
    let device = GatewayDevice { device: 1, listen_port: 0, any_port: true };
    let port = plane.set_device(&device, &second).await.unwrap();
    let sites = [
        (Site::call(2, public(&first), plane.listen_port()).await, PeerKind::Site, 0),
        (Site::call(3, public(&second), port).await, PeerKind::Client, 1),
        (Site::call(4, public(&first), plane.listen_port()).await, PeerKind::Client, 0),
    ];
    for (site, kind, device) in &sites {
        let peer = GatewayPeer { device: *device, ..site.peer(&instance, *kind) };
        plane.set_peer(&peer, None).await.unwrap();
        site.handshake().await;
    }
    let [(site, ..), (client, ..), (other, ..)] = &sites;
    assert_eq!(client.plane.lan_ping(client.host(), site.host(), 3).await.received, 3);
    assert_eq!(site.plane.lan_ping(site.host(), client.host(), 3).await.received, 3);
    assert_eq!(client.plane.lan_ping(client.host(), other.host(), 1).await.received, 0, "clients do not meet");
}

fn device(device: u32, listen_port: u16) -> GatewayDevice {
    GatewayDevice { device, listen_port, any_port: false }
}

#[tokio::test]
async fn a_device_beside_the_first_gets_a_key_of_its_own_and_takes_it_with_it_when_it_goes() {
    let stage = Stage::new();
    let running = stage.start();
    stage.hub.applied(stage.hub.set_instance(served("inst1", 51820))).await;
    let first = told(&stage, "inst1");
    let both = GatewayInstance { devices: vec![device(1, 51821)], ..served("inst1", 51820) };
    stage.hub.applied(stage.hub.set_instance(both)).await;
    let both = told(&stage, "inst1");
    assert_eq!((both.device, both.public_key), (0, first.public_key));
    let second = &both.devices[0];
    assert_eq!((second.device, second.listen_port, &second.error), (1, Some(51821), &None));
    assert!(second.public_key.is_some() && second.public_key != first.public_key);
    let file = stage.key_file("inst1").with_file_name("key-1");
    assert!(file.exists() && stage.key_file("inst1").exists());

    // The second takes over, then the first goes.
    let swapped = GatewayInstance { device: 1, devices: vec![device(0, 51820)], ..served("inst1", 51821) };
    stage.hub.applied(stage.hub.set_instance(swapped)).await;
    let swapped = told(&stage, "inst1");
    assert_eq!((swapped.device, swapped.public_key, swapped.listen_port), (1, second.public_key, Some(51821)));
    assert_eq!(swapped.devices[0].public_key, first.public_key);
    stage.hub.applied(stage.hub.set_instance(GatewayInstance { device: 1, ..served("inst1", 51821) })).await;
    assert!(file.exists() && !stage.key_file("inst1").exists(), "the old key is gone for good");
    assert_eq!(stage.planes.world().devices[&"inst1".parse().unwrap()].devices, [(1, 51821)].into());
    assert_eq!(told(&stage, "inst1").devices, []);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_device_whose_port_is_taken_is_told_and_costs_the_others_nothing() {
    let stage = Stage::new();
    let running = stage.start();
    stage.planes.world().taken.insert(51821);
    stage.hub.set_peer(peer("inst1", 2));
    let fixed = GatewayInstance { devices: vec![device(1, 51821)], ..served("inst1", 51820) };
    stage.hub.applied(stage.hub.set_instance(fixed)).await;
    let both = told(&stage, "inst1");
    assert_eq!((both.error, both.listen_port), (None, Some(51820)));
    assert!(both.devices[0].error.as_ref().unwrap().contains("taken"), "{:?}", both.devices);
    assert_eq!(stage.planes.peers("inst1").len(), 1);
    let any = GatewayDevice { any_port: true, ..device(1, 51821) };
    let any = GatewayInstance { devices: vec![any], ..served("inst1", 51820) };
    stage.hub.applied(stage.hub.set_instance(any)).await;
    assert_eq!(told(&stage, "inst1").devices[0].listen_port, Some(51822));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_killed_in_the_midst_of_a_change_goes_on_with_both_devices_and_keys() {
    let stage = Stage::new();
    let running = stage.start();
    let both = GatewayInstance { devices: vec![device(1, 51821)], ..served("inst1", 51820) };
    stage.hub.set_instance(both);
    let key = PublicKey::from_bytes([77; 32]).unwrap();
    let other = peer("inst1", 3);
    stage.hub.set_peer(other.clone());
    let to = GatewayMove { device: 1, public_key: key, sends: true };
    let moving = GatewayPeer { moving: Some(to), ..peer("inst1", 2) };
    stage.hub.applied(stage.hub.set_peer(moving.clone())).await;
    let mut three = vec![moving.public_key, other.public_key, key];
    three.sort_unstable();
    assert_eq!(stage.planes.peers("inst1"), three);
    let before = told(&stage, "inst1");
    running.kill().await;
    stage.planes.take_calls();

    let running = stage.start();
    stage.until("set again", || stage.planes.world().calls.contains(&"set inst1 peer0002".to_owned())).await;
    // By which device it is sent to, no device tells, so it is set again; the other one is not touched.
    assert!(!stage.planes.take_calls().contains(&"set inst1 peer0003".to_owned()));
    let finished = GatewayPeer { device: 1, public_key: key, ..peer("inst1", 2) };
    stage.hub.applied(stage.hub.set_peer(finished)).await;
    let mut two = vec![other.public_key, key];
    two.sort_unstable();
    assert_eq!(stage.planes.peers("inst1"), two);
    let after = told(&stage, "inst1");
    assert_eq!((after.public_key, after.devices), (before.public_key, before.devices), "the keys are the same");
    running.stop().await.unwrap();
}
