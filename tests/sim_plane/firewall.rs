//! Rules decide: what the rows say is what happens to packets.

use sitepeer::sim::plane::PingStatus;

use crate::world::{HOST_A, HOST_B, HUB, TUNNEL_A, World, ip, rules};

/// MikroTik's default IPv4 filter, as the manual has it.
const DEFCONF: &[&str] = &[
    "chain=input action=accept connection-state=established,related,untracked",
    "chain=input action=drop connection-state=invalid",
    "chain=input action=accept protocol=icmp",
    "chain=input action=accept dst-address=127.0.0.1",
    "chain=input action=drop in-interface-list=!LAN",
    "chain=forward action=accept ipsec-policy=in,ipsec",
    "chain=forward action=accept ipsec-policy=out,ipsec",
    "chain=forward action=fasttrack-connection connection-state=established,related hw-offload=true",
    "chain=forward action=accept connection-state=established,related,untracked",
    "chain=forward action=drop connection-state=invalid",
    "chain=forward action=drop connection-state=new connection-nat-state=!dstnat in-interface-list=WAN",
];

async fn passes(world: &World) -> bool {
    world.b.plane.lan_ping(ip(HOST_B), ip(HOST_A), 1).await.received == 1
}

#[tokio::test]
async fn a_drop_in_forward_stops_new_connections_and_an_accept_before_it_lets_them_pass() {
    let mut world = World::start().await;
    world.b.handshake().await;
    assert!(passes(&world).await);
    let drop = "chain=forward action=drop in-interface-list=sites";
    world.a.filter(&[drop]).await;
    assert!(!passes(&world).await);
    let accept = "chain=forward action=accept src-address-list=theirs dst-address-list=ours in-interface=wg";
    world.a.filter(&[accept, drop]).await;
    assert!(passes(&world).await);
    world.a.filter(&[drop, accept]).await;
    assert!(!passes(&world).await);
}

#[tokio::test]
async fn answers_to_what_went_out_come_back_in_though_new_connections_may_not() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world
        .a
        .filter(&[
            "chain=forward action=accept connection-state=established,related",
            "chain=forward action=drop in-interface=wg",
        ])
        .await;
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 2).await.received, 2);
    assert!(!passes(&world).await);
}

#[tokio::test]
async fn the_default_firewall_answers_pings_from_the_tunnel_and_knows_all_its_matchers() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.filter(DEFCONF).await;
    assert_eq!(world.a.applied.unknown_matchers, Vec::<String>::new());
    assert_eq!(world.b.plane.lan_ping(ip(HOST_B), ip(TUNNEL_A), 1).await.received, 1);
    assert!(passes(&world).await);
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HUB), 1).await.received, 1);
}

#[tokio::test]
async fn input_rules_guard_the_router_itself() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.filter(&["chain=input action=drop in-interface-list=!LAN"]).await;
    assert_eq!(world.b.plane.lan_ping(ip(HOST_B), ip(TUNNEL_A), 1).await.received, 0);
    assert!(passes(&world).await, "forwarding is not input");
    world
        .a
        .filter(&[
            "chain=input action=accept src-address=192.168.89.0-192.168.89.255 protocol=icmp",
            "chain=input action=drop",
        ])
        .await;
    assert_eq!(world.b.plane.lan_ping(ip(HOST_B), ip(TUNNEL_A), 1).await.received, 1);
}

#[tokio::test]
async fn a_reject_is_told_to_the_sender() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world.a.filter(&["chain=forward action=reject in-interface=wg reject-with=icmp-admin-prohibited"]).await;
    let summary = world.b.plane.lan_ping(ip(HOST_B), ip(HOST_A), 1).await;
    assert_eq!(summary.last_failure, Some(PingStatus::Prohibited));
}

#[tokio::test]
async fn jumps_and_returns_are_followed() {
    let mut world = World::start().await;
    world.b.handshake().await;
    let (jump, back, drop) = (
        "chain=forward action=jump jump-target=sites in-interface=wg",
        "chain=sites action=return src-address=192.168.89.10",
        "chain=sites action=drop",
    );
    world.a.filter(&[jump, back, drop]).await;
    assert!(passes(&world).await);
    world.a.filter(&[jump, drop]).await;
    assert!(!passes(&world).await);
    world.a.filter(&["chain=forward action=jump jump-target=forward"]).await;
    assert!(!passes(&world).await, "a circle of jumps ends in a drop");
}

#[tokio::test]
async fn a_rule_with_an_unknown_matcher_never_matches_and_is_named() {
    let mut world = World::start().await;
    world.b.handshake().await;
    world
        .a
        .filter(&["chain=forward action=drop layer7-protocol=quake", "chain=forward action=drop dst-port=http"])
        .await;
    assert_eq!(world.a.applied.unknown_matchers, ["dst-port=http", "layer7-protocol=quake"]);
    assert!(passes(&world).await);
}

#[tokio::test]
async fn masquerade_shows_the_tunnel_address_to_the_far_lan_unless_an_accept_stands_before_it() {
    let mut world = World::start().await;
    world.b.handshake().await;
    let masquerade = "chain=srcnat action=masquerade out-interface-list=!LAN ipsec-policy=out,none";
    for (nat, seen) in [
        (vec![], HOST_A),
        (vec![masquerade], TUNNEL_A),
        (vec!["chain=srcnat action=accept dst-address-list=theirs", masquerade], HOST_A),
        (vec!["chain=srcnat action=masquerade out-interface-list=WAN ipsec-policy=out,none"], HOST_A),
    ] {
        world.a.nat(&nat).await;
        let summary = world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 2).await;
        assert_eq!(summary.received, 2, "answers find their way back: {nat:?}");
        assert_eq!(world.b.plane.seen().last().unwrap().from, ip(seen), "{nat:?}");
    }
}

#[test]
fn a_row_with_only_known_matchers_has_no_unknown_ones() {
    for rule in rules(DEFCONF) {
        assert_eq!(rule.unknown(), Vec::<String>::new());
    }
}
