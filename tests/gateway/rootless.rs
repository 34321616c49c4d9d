//! The plane without root, for real: simulated routers call it over UDP on loopback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sitepeer::api::{GatewayInstance, PeerKind, Policy};
use sitepeer::domain::PublicKey;
use sitepeer::gateway::plane::rootless::Rootless;
use sitepeer::gateway::plane::{Plane, Planes, allowed};
use sitepeer::sim::plane::PingStatus;
use sitepeer::wireguard::keys::{SecretKey, generate_private};

use crate::world::{Site, instance, ip, nets};

/// A peer that has to notice by itself that its session is gone takes 15 s and more; one that is called is back at once.
const BACK_WITHIN: Duration = Duration::from_secs(3);

struct Up {
    planes: Rootless,
    instance: GatewayInstance,
    plane: Arc<dyn Plane>,
    key: SecretKey,
}

impl Up {
    async fn raise() -> Self {
        let planes = Rootless::new(ip("127.0.0.1"));
        let (instance, key) = (instance("inst1"), generate_private().unwrap());
        let plane = planes.raise(&instance, &key).await.unwrap();
        Self { planes, instance, plane, key }
    }

    async fn site(&self, number: u8, kind: PeerKind) -> Site {
        let public_key = PublicKey::from_bytes(self.key.public()).unwrap();
        let site = Site::call(number, public_key, self.plane.listen_port()).await;
        self.plane.set_peer(&site.peer(&self.instance, kind), None).await.unwrap();
        site.handshake().await;
        site
    }
}

#[tokio::test]
async fn sites_of_an_instance_reach_each_other_and_the_gateways_tunnel_addresses() {
    let up = Up::raise().await;
    let (a, b) = (up.site(2, PeerKind::Site).await, up.site(3, PeerKind::Site).await);
    assert_eq!(a.plane.lan_ping(a.host(), b.host(), 10).await.received, 10);
    assert_eq!(a.plane.lan_ping(a.host(), ip("10.99.0.1"), 3).await.received, 3);
    let out = a.plane.lan_ping(a.host(), ip("192.0.2.1"), 1).await;
    assert_eq!(out.last_failure, Some(PingStatus::NetUnreachable));
}

#[tokio::test]
async fn the_policy_decides_who_meets_and_changes_without_touching_a_peer() {
    let mut up = Up::raise().await;
    let (a, b, c, d) = (
        up.site(2, PeerKind::Site).await,
        up.site(3, PeerKind::Remote).await,
        up.site(4, PeerKind::Client).await,
        up.site(5, PeerKind::Client).await,
    );
    for (policy, sites, clients) in [(false, 0, 0), (true, 1, 1)] {
        up.instance.policy = Policy { client_to_client: policy, site_to_site: policy };
        up.plane.configure(&up.instance).await.unwrap();
        let received = [
            a.plane.lan_ping(a.host(), b.host(), 1).await.received,
            c.plane.lan_ping(c.host(), d.host(), 1).await.received,
            c.plane.lan_ping(c.host(), a.host(), 1).await.received,
            a.plane.lan_ping(a.host(), c.host(), 1).await.received,
        ];
        assert_eq!(received, [sites, clients, 1, 1], "policy {policy}");
    }
    let peers = up.plane.peers().await.unwrap();
    assert!(peers.iter().all(|peer| peer.handshake.is_some() && peer.rx_bytes > 0));
}

#[tokio::test]
async fn a_peer_edited_200_times_costs_another_no_ping() {
    let up = Up::raise().await;
    let (a, b) = (up.site(2, PeerKind::Site).await, up.site(3, PeerKind::Site).await);
    let ping = a.plane.lan_ping(a.host(), ip("10.99.0.1"), 2000);
    let edit = async {
        for round in 0..200_u16 {
            let mut peer = b.peer(&up.instance, PeerKind::Site);
            peer.subnets = nets(&[&format!("10.3.{}.0/24", round % 7), "10.3.100.0/24"]).into_iter().collect();
            peer.keepalive_secs = 20 + round % 3;
            match round % 10 {
                7 => up.plane.remove_peer(0, &peer.public_key, Some(&peer.id)).await.unwrap(),
                _ => up.plane.set_peer(&peer, None).await.unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (pings, ()) = tokio::join!(ping, edit);
    println!("pings of A while B was edited 200 times: {pings:?}");
    assert_eq!((pings.sent, pings.received), (2000, 2000));
}

#[tokio::test]
async fn a_peer_that_comes_back_is_called_where_it_was_last_heard() {
    let up = Up::raise().await;
    let (a, b) = (up.site(2, PeerKind::Site).await, up.site(3, PeerKind::Site).await);
    let mut peer = b.peer(&up.instance, PeerKind::Site);
    let on_device = async || up.plane.peers().await.unwrap().into_iter().find(|on| on.public_key == peer.public_key);
    let heard = on_device().await.unwrap().endpoint;
    up.plane.remove_peer(0, &peer.public_key, Some(&peer.id)).await.unwrap();
    assert_eq!(a.plane.lan_ping(a.host(), b.host(), 1).await.received, 0);
    up.plane.set_peer(&peer, heard).await.unwrap();
    let begun = Instant::now();
    while a.plane.lan_ping(a.host(), b.host(), 1).await.received == 0 {
        assert!(begun.elapsed() < BACK_WITHIN, "nothing gets through to a peer that was heard at {heard:?}");
    }

    // One that is to be kept alive is called without a packet for it.
    up.plane.remove_peer(0, &peer.public_key, Some(&peer.id)).await.unwrap();
    peer.keepalive_secs = 25;
    up.plane.set_peer(&peer, heard).await.unwrap();
    let begun = Instant::now();
    let shook = async || up.plane.peers().await.unwrap().iter().all(|on| on.handshake.is_some());
    while !shook().await {
        assert!(begun.elapsed() < BACK_WITHIN, "a peer with keepalive is not called");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let up = Up::raise().await;
    let mut second = instance("inst2");
    second.listen_port = up.plane.listen_port();
    let error = up.planes.raise(&second, &generate_private().unwrap()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("instance inst2: cannot listen on UDP port {} of 127.0.0.1", second.listen_port)
    );
    let mut moved = up.instance.clone();
    let taken = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    moved.listen_port = taken.local_addr().unwrap().port();
    let a = up.site(2, PeerKind::Site).await;
    up.plane.configure(&moved).await.unwrap_err();
    assert_eq!(a.plane.lan_ping(a.host(), ip("10.99.0.1"), 1).await.received, 1, "the old port still works");
}

#[tokio::test]
async fn the_device_says_what_was_set_also_of_addresses_that_moved_and_of_keys_that_changed() {
    let up = Up::raise().await;
    let (a, b) = (up.site(2, PeerKind::Site).await, up.site(3, PeerKind::Site).await);
    let mut thief = b.peer(&up.instance, PeerKind::Site);
    thief.subnets = nets(&["10.2.0.0/24"]).into_iter().collect();
    up.plane.set_peer(&thief, None).await.unwrap();
    let of = |peers: &[sitepeer::gateway::plane::DevicePeer], key: PublicKey| {
        peers.iter().find(|peer| peer.public_key == key).map(|peer| peer.allowed.clone())
    };
    let peers = up.plane.peers().await.unwrap();
    assert_eq!(of(&peers, b.public_key()), Some(allowed(&thief)));
    assert_eq!(of(&peers, a.public_key()), Some(nets(&["10.99.0.2/32", "fd99::2/128"])));
    up.plane.set_peer(&b.peer(&up.instance, PeerKind::Site), None).await.unwrap();
    up.plane.set_peer(&a.peer(&up.instance, PeerKind::Site), None).await.unwrap();
    assert_eq!(a.plane.lan_ping(a.host(), b.host(), 3).await.received, 3);

    let mut changed = a.peer(&up.instance, PeerKind::Site);
    changed.public_key = PublicKey::from_bytes(generate_private().unwrap().public()).unwrap();
    up.plane.set_peer(&changed, None).await.unwrap();
    let peers = up.plane.peers().await.unwrap();
    assert_eq!((peers.len(), of(&peers, a.public_key())), (2, None));
}

#[tokio::test]
async fn a_plane_that_is_removed_frees_its_port() {
    let up = Up::raise().await;
    let port = up.plane.listen_port();
    assert_eq!(up.planes.found().await.unwrap(), std::slice::from_ref(&up.instance.id));
    up.planes.remove(&up.instance.id).await.unwrap();
    assert!(up.planes.found().await.unwrap().is_empty());
    let mut again = up.instance.clone();
    again.listen_port = port;
    let plane = up.planes.raise(&again, &up.key).await.unwrap();
    assert_eq!(plane.listen_port(), port);
}

#[tokio::test]
async fn ten_thousand_peers_are_set_and_all_read_back() {
    let up = Up::raise().await;
    let site = up.site(2, PeerKind::Site).await;
    let started = Instant::now();
    for number in 0..10_000_u16 {
        let [high, low] = number.to_be_bytes();
        let mut peer = site.peer(&up.instance, PeerKind::Site);
        peer.id = format!("many{number:05}").parse().unwrap();
        let mut key = [7; 32];
        key[..2].copy_from_slice(&[high, low]);
        peer.public_key = PublicKey::from_bytes(key).unwrap();
        peer.addresses = vec![ip(&format!("10.98.{high}.{low}"))];
        peer.subnets = nets(&[&format!("172.{}.{low}.0/24", 16 + high)]).into_iter().collect();
        up.plane.set_peer(&peer, None).await.unwrap();
    }
    println!("10,000 peers set in {:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(up.plane.peers().await.unwrap().len(), 10_001);
    println!("10,001 peers read in {:?}", started.elapsed());
    assert_eq!(site.plane.lan_ping(site.host(), ip("10.99.0.1"), 5).await.received, 5);
}
