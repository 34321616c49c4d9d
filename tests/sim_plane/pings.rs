//! Packets that get through, and what the sender learns of those that do not.

use std::time::{Duration, Instant};

use sitepeer::sim::plane::{HubPeer, PingReply, PingRequest, PingStatus};

use crate::world::{HOST_A, HOST_B, HUB, TUNNEL_A, TUNNEL_B, World, ip, nets};

async fn ping_all(world: &World, request: PingRequest) -> Vec<PingReply> {
    let mut replies = world.a.plane.ping(request);
    let mut all = Vec::new();
    while let Some(reply) = replies.recv().await {
        all.push(reply);
    }
    all
}

fn few(to: &str) -> PingRequest {
    PingRequest { count: Some(3), interval: Duration::from_millis(10), ..PingRequest::new(ip(to)) }
}

#[tokio::test]
async fn a_thousand_pings_from_lan_to_lan_lose_none() {
    let started = Instant::now();
    let world = World::start().await;
    world.a.handshake().await;
    world.b.handshake().await;
    println!("start of hub and two sites to both handshakes: {:?}", started.elapsed());
    let started = Instant::now();
    let there = world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1000).await;
    println!("1000 pings in {:?}, rtt {:?}/{:?}/{:?}", started.elapsed(), there.min, there.avg(), there.max);
    assert_eq!((there.sent, there.received), (1000, 1000));
    let back = world.b.plane.lan_ping(ip(HOST_B), ip(HOST_A), 10).await;
    assert_eq!(back.received, 10);
}

#[tokio::test]
async fn lan_to_lan_works_over_ipv6_too() {
    let world = World::start().await;
    world.b.handshake().await;
    let summary = world.a.plane.lan_ping(ip("fd88::10"), ip("fd89::10"), 5).await;
    assert_eq!((summary.received, summary.last_failure), (5, None));
}

#[tokio::test]
async fn a_ping_from_the_router_gets_true_replies_with_the_hops_taken_off_the_ttl() {
    let world = World::start().await;
    world.b.handshake().await;
    let replies = ping_all(&world, few(HUB)).await;
    assert_eq!(replies.iter().map(|reply| reply.seq).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(replies.iter().all(|reply| reply.status == PingStatus::Reply { ttl: 64, size: 56 }));
    assert!(replies.iter().all(|reply| reply.host == ip(HUB) && reply.rtt.is_some()));
    assert_eq!(replies[2].summary.loss_percent(), 0);
    // Hub and router B each take one off.
    let far = ping_all(&world, few(HOST_B)).await;
    assert_eq!(far[0].status, PingStatus::Reply { ttl: 62, size: 56 });
    assert_eq!(world.b.plane.seen().last().unwrap().from, ip(TUNNEL_A), "bears the outgoing interface's address");
    let chosen = PingRequest { source: Some(ip("192.168.88.1")), ..few(HOST_B) };
    ping_all(&world, chosen).await;
    assert_eq!(world.b.plane.seen().last().unwrap().from, ip("192.168.88.1"));
}

#[tokio::test]
async fn the_router_answers_its_own_and_its_hosts_pings() {
    let world = World::start().await;
    for own in ["127.0.0.1", "192.168.88.1", HOST_A, "fd88::10", "10.99.0.2"] {
        let replies = ping_all(&world, few(own)).await;
        assert_eq!(replies[2].summary.received, 3, "{own}");
    }
}

#[tokio::test]
async fn a_ping_without_a_route_says_so_and_one_to_nobody_times_out() {
    let world = World::start().await;
    let no_route = ping_all(&world, few("172.16.0.1")).await;
    assert_eq!(no_route[0].status, PingStatus::NoRoute);
    assert_eq!(no_route[0].status.word(), Some("no route to host"));
    let nobody = PingRequest { count: Some(1), ..few("192.168.88.99") };
    let nobody = ping_all(&world, nobody).await;
    assert_eq!((nobody[0].status, nobody[0].rtt), (PingStatus::Timeout, None));
    assert_eq!(nobody[0].summary.loss_percent(), 100);
}

#[tokio::test]
async fn a_ttl_that_runs_out_at_the_hub_is_reported_by_the_hub() {
    let world = World::start().await;
    world.b.handshake().await;
    let replies = ping_all(&world, PingRequest { ttl: 1, ..few(HOST_B) }).await;
    assert_eq!((replies[0].host, replies[0].status), (ip(HUB), PingStatus::TtlExceeded));
}

#[tokio::test]
async fn a_packet_longer_than_the_tunnels_mtu_is_refused() {
    let world = World::start().await;
    world.b.handshake().await;
    let fits = ping_all(&world, PingRequest { size: 1420, ..few(HOST_B) }).await;
    assert_eq!(fits[0].status, PingStatus::Reply { ttl: 62, size: 1420 });
    let too_long = ping_all(&world, PingRequest { size: 1421, ..few(HOST_B) }).await;
    assert_eq!(too_long[0].status, PingStatus::TooBig);
}

#[tokio::test]
async fn the_hub_carries_nothing_to_a_destination_that_is_no_peers() {
    let world = World::start().await;
    world.b.handshake().await;
    let route = world.a.config.routes[0].clone();
    let mut a = world.a;
    a.config.routes.push(sitepeer::sim::plane::PlaneRoute { dst: "192.168.90.0/24".parse().unwrap(), ..route });
    a.apply().await;
    let summary = a.plane.lan_ping(ip(HOST_A), ip("192.168.90.1"), 2).await;
    assert_eq!((summary.received, summary.last_failure), (0, Some(PingStatus::NetUnreachable)));
}

#[tokio::test]
async fn the_hub_takes_no_packet_whose_source_is_not_the_senders() {
    let world = World::start().await;
    world.b.handshake().await;
    let narrow = HubPeer { allowed: nets(&["10.99.0.2/32"]), ..world.a.hub_peer() };
    world.hub.set_peer(narrow).await.unwrap();
    let from_lan = world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await;
    assert_eq!((from_lan.received, from_lan.last_failure), (0, Some(PingStatus::Timeout)));
    assert_eq!(world.b.plane.seen(), []);
    let replies = ping_all(&world, few(TUNNEL_B)).await;
    assert_eq!(replies[2].summary.received, 3);
}
