//! What lies beyond the gateway's host, and the host itself.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::netns::{Net, Received};
use crate::stage::{HOST, OUTSIDE, OUTSIDE6, stage};

/// Bytes of a transfer: many windows' worth.
const TRANSFER: usize = 3_000_000;

/// Whether a TCP connection is made within a second.
fn connects(from: &Net, address: &str) -> bool {
    let address = address.parse().unwrap();
    from.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
}

#[test]
fn a_full_tunnel_client_reaches_the_internet_under_the_hosts_address() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    instance.addresses.push("fd99::1/64".parse().unwrap());
    let raised = stage.raise(&instance);
    let mut client = stage.client(&raised, 5, true, &["198.51.100.0/24", "2001:db8:100::/64", "10.0.0.0/8"]);
    client.net.pings_in_the_end(OUTSIDE);
    let received = client.net.transfer(&stage.internet, OUTSIDE, TRANSFER);
    assert_eq!(received, Some(Received { bytes: TRANSFER, from: HOST.parse().unwrap() }), "masqueraded");
    let received = client.net.transfer(&stage.internet, OUTSIDE6, TRANSFER);
    assert_eq!(received, Some(Received { bytes: TRANSFER, from: "2001:db8:113::1".parse().unwrap() }));
    // The operator's own networks are not the internet.
    stage.internet.ip("addr add 10.60.0.1/32 dev lo");
    assert!(!client.net.pings("10.60.0.1"));
    client.peer.route_all = false;
    stage.set(&raised, &client.peer);
    assert!(!client.net.pings(OUTSIDE), "switched off at once");
}

#[test]
fn pushed_routes_are_for_everybody_and_only_they() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    instance.pushed_routes = ["10.50.0.0/24".parse().unwrap()].into_iter().collect();
    let raised = stage.raise(&instance);
    let client = stage.client(&raised, 5, false, &["10.50.0.0/16", "198.51.100.0/24", "10.99.0.0/24"]);
    let site = stage.site(&raised, 2, 11);
    stage.internet.ip("addr add 10.50.0.1/32 dev lo");
    stage.internet.ip("addr add 10.50.1.1/32 dev lo");
    client.net.pings_in_the_end("10.50.0.1");
    site.wireguard.set(&format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.50.0.0/16, 10.99.0.0/24", raised.public_key));
    site.net.ip(&format!("route add 10.50.0.0/16 dev {}", site.wireguard.interface()));
    site.lan.as_ref().unwrap().pings_in_the_end("10.50.0.1");
    assert!(!client.net.pings("10.50.1.1"), "allowed by the gateway, but not pushed");
    // Whatever the hub pushes: private networks are the gateway's to allow.
    stage.internet.ip("addr add 10.60.0.1/32 dev lo");
    instance.pushed_routes = ["10.50.0.0/24", "10.60.0.0/24"].iter().map(|net| net.parse().unwrap()).collect();
    stage.configure(&raised, &instance);
    client.net.ip(&format!("route add 10.60.0.0/24 dev {}", client.wireguard.interface()));
    client.wireguard.set(&format!(
        "[Peer]\nPublicKey = {}\nAllowedIPs = 10.50.0.0/16, 10.60.0.0/24, 198.51.100.0/24, 10.99.0.0/24",
        raised.public_key
    ));
    client.net.pings_in_the_end("10.50.0.1");
    assert!(!client.net.pings("10.60.0.1"));
    assert!(!client.net.pings(OUTSIDE));
    instance.pushed_routes = sitepeer::domain::SubnetSet::default();
    stage.configure(&raised, &instance);
    assert!(!client.net.pings("10.50.0.1"), "taken away at once");
}

#[test]
fn services_of_the_host_are_not_there_for_peers() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    instance.pushed_routes = ["203.0.113.0/24", "198.18.0.0/15"].iter().map(|net| net.parse().unwrap()).collect();
    let raised = stage.raise(&instance);
    // Its own endpoint has to stay outside its tunnel.
    let client =
        stage.client(&raised, 5, true, &["203.0.113.254/32", "198.18.0.0/15", "10.99.0.0/24", "198.51.100.0/24"]);
    client.net.pings_in_the_end(OUTSIDE);
    let service = stage.host.enter(|| TcpListener::bind(("0.0.0.0", 8443)).unwrap());
    stage.host.ip("addr add 198.51.100.7/32 dev lo");
    let link: String = stage.host.ip("-br addr").lines().find(|line| line.starts_with("sp-")).unwrap().to_owned();
    let link = link.split_whitespace().nth(2).unwrap().split('/').next().unwrap().to_owned();
    assert!(link.starts_with("198.18."), "{link}");
    assert!(connects(&stage.internet, &format!("{HOST}:8443")), "the service is there for others");
    for address in [link.as_str(), "198.51.100.7", "10.99.0.1"] {
        assert!(!connects(&client.net, &format!("{address}:8443")), "{address}");
    }
    assert!(!client.net.pings(&link));
    assert!(!client.net.pings("198.51.100.7"));
    assert!(client.net.pings("10.99.0.1"), "but for the echo of the tunnel address");
    assert!(client.net.pings("203.0.113.254"), "a pushed route is reached");
    // Nobody outside reaches into an instance, not even the host.
    stage.host.ip("route add 10.99.0.0/24 via 198.18.0.1 onlink dev eth0");
    assert!(!stage.host.pings("10.99.0.5"));
    drop(service);
}

#[test]
fn two_instances_with_the_same_subnets_reach_only_their_own() {
    let Some(mut stage) = stage() else { return };
    let instances = [stage.instance(51820), stage.instance(51821)];
    let mut ends = Vec::new();
    for instance in &instances {
        let raised = stage.raise(instance);
        let site = stage.site(&raised, 2, 11);
        let client =
            stage.client(&raised, 5, true, &["10.99.0.0/24", "192.168.0.0/16", "198.51.100.0/24", "198.18.0.0/15"]);
        client.net.pings_in_the_end("192.168.11.10");
        client.net.pings_in_the_end(OUTSIDE);
        ends.push((site, client, raised));
    }
    for (site, client, _) in &ends {
        let received = client.net.transfer(site.lan.as_ref().unwrap(), "192.168.11.10", TRANSFER);
        assert_eq!(received, Some(Received { bytes: TRANSFER, from: "10.99.0.5".parse().unwrap() }));
    }
    // The same addresses at the other instance: nothing of the one's traffic gets there.
    let received = ends[0].1.net.transfer(ends[1].0.lan.as_ref().unwrap(), "192.168.11.10", TRANSFER);
    assert_eq!(received, None, "a server in the other instance's LAN was reached");
    for line in stage.host.ip("-br -4 addr").lines().filter(|line| line.starts_with("sp-")) {
        let address = line.split_whitespace().nth(2).unwrap().split('/').next().unwrap();
        let inner: std::net::Ipv4Addr = address.parse().unwrap();
        let inner = std::net::Ipv4Addr::from(u32::from(inner) + 1).to_string();
        for (_, client, _) in &ends {
            assert!(!client.net.pings(&inner), "an instance's own link, or another's, answered");
        }
    }
}
