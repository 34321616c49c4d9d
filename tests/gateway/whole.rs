//! The whole far side: a hub with its store, a gateway without root, and a router that both are told of. Only the agent is played.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sitepeer::api::*;
use sitepeer::domain::PublicKey;
use sitepeer::wireguard::keys::generate_private;

use crate::far::Far;
use crate::world::{By, DEADLINE, Site, ip};

/// Twenty a second.
const PACE: Duration = Duration::from_millis(50);

fn end(hub: &HubEnd) -> (PublicKey, u16) {
    (hub.public_key, hub.endpoints[0].port)
}

/// What is to happen half way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    GoOn,
    KillTheGateway,
}

/// Plays the agent from the moment that its router is told of another tunnel until it has it alone; returns the router's new site.
async fn follow(far: &mut Far, peer: &PeerId, site: Site, half: Half) -> Site {
    let config = far.config(peer, "another tunnel is told", |config| config.next.is_some()).await;
    let (old, next) = (end(&config.hub), config.next.unwrap());
    let (new, router, own) = (end(&next.hub), generate_private().unwrap(), site.public_key());
    let public_key = site.call_beside(old, new, &router, By::First).await;
    let made = |in_use| Some(AppliedNext { generation: next.generation, public_key, in_use });
    far.say(peer, own, made(false)).await;
    let begun = Instant::now();
    while site.plane.peers().await.unwrap().iter().any(|peer| peer.last_handshake.is_none()) {
        assert!(begun.elapsed() < DEADLINE, "no handshake through the other tunnel");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if half == Half::KillTheGateway {
        far.is_done(peer).await;
        far.restart_gateway().await;
    }
    site.call_beside(old, new, &router, By::Second).await;
    far.say(peer, own, made(true)).await;
    let is_over = |config: &SiteConfig| config.next.is_none() && config.generation == next.generation;
    let config = far.config(peer, "the change ends", is_over).await;
    assert_eq!(end(&config.hub), new);
    let site = site.keep_second(new, &router).await;
    far.say(peer, site.public_key(), None).await;
    far.is_done(peer).await;
    site
}

#[tokio::test]
async fn a_site_changes_its_routers_key_and_its_gateways_key_under_traffic_and_loses_no_ping() {
    let mut far = Far::start().await;
    let instance = far.instance().await;
    let peer = far.peer(&instance, "10.2.0.0/24").await;
    let config = far.config(&peer, "the gateway serves the instance", |_| true).await;
    let first = end(&config.hub);
    let mut site = Site::call(2, first.0, first.1).await;
    far.say(&peer, site.public_key(), None).await;
    site.handshake().await;

    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let plane = Arc::clone(&site.plane);
    let host = site.host();
    let pinging = tokio::spawn(async move {
        let (mut sent, mut received) = (0, 0);
        let mut pace = tokio::time::interval(PACE);
        while stopped.try_recv().is_err() {
            pace.tick().await;
            let ping = plane.lan_ping(host, ip("10.99.0.1"), 1).await;
            (sent, received) = (sent + ping.sent, received + ping.received);
        }
        (sent, received)
    });
    // By the router's key, by the gateway's, and by the router's again, to whose device nobody went before.
    far.store.rotate_peer(&far.admin, &peer).await.unwrap();
    site = follow(&mut far, &peer, site, Half::GoOn).await;
    far.store.rotate_instance(&far.admin, &instance).await.unwrap();
    site = follow(&mut far, &peer, site, Half::GoOn).await;
    far.store.rotate_peer(&far.admin, &peer).await.unwrap();
    site = follow(&mut far, &peer, site, Half::GoOn).await;
    stop.send(()).unwrap();
    let (sent, received) = pinging.await.unwrap();
    println!("a site that got three new keys, one of them its gateway's: {sent} pings, {} lost", sent - received);
    assert!(sent > 60 && sent == received, "{sent} sent, {received} received");

    // Neither the first device nor the one beside it is there any more, nor their keys.
    let begun = Instant::now();
    while far.store.instance(&far.admin, &instance).await.unwrap().devices.len() > 1 {
        assert!(begun.elapsed() < DEADLINE, "old devices stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = far.store.instance(&far.admin, &instance).await.unwrap();
    assert_eq!((shown.rotating_since, shown.devices[0].device, shown.devices[0].peers), (None, 3, 1));
    std::net::UdpSocket::bind(("127.0.0.1", first.1)).unwrap();
    let keys = std::fs::read_dir(far.folder.path().join(format!("gateway/instances/{instance}"))).unwrap();
    let mut keys: Vec<String> = keys.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    keys.sort();
    assert_eq!(keys, ["key-2", "key-3"]);
    assert!(far.shown(&peer).await.link.rx_bytes > 0);
    drop(site);
}

#[tokio::test]
async fn a_gateway_killed_in_the_midst_of_a_change_comes_back_with_both_and_the_change_ends() {
    let mut far = Far::start().await;
    let instance = far.instance().await;
    let peer = far.peer(&instance, "10.2.0.0/24").await;
    let config = far.config(&peer, "the gateway serves the instance", |_| true).await;
    let first = end(&config.hub);
    let site = Site::call(2, first.0, first.1).await;
    far.say(&peer, site.public_key(), None).await;
    site.handshake().await;
    far.store.rotate_peer(&far.admin, &peer).await.unwrap();
    let site = follow(&mut far, &peer, site, Half::KillTheGateway).await;
    let begun = Instant::now();
    while site.plane.lan_ping(site.host(), ip("10.99.0.1"), 1).await.received == 0 {
        assert!(begun.elapsed() < DEADLINE, "nothing gets through");
    }
}
