//! Who reaches whom through one instance.

use crate::netns::{Net, Received};
use crate::stage::stage;

/// Bytes of a transfer: many windows' worth.
const TRANSFER: usize = 3_000_000;

#[test]
fn hosts_of_two_sites_reach_each_other_by_ping_and_tcp() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let a = stage.site(&raised, 2, 11);
    let b = stage.site(&raised, 3, 12);
    let (lan_a, lan_b) = (a.lan.as_ref().unwrap(), b.lan.as_ref().unwrap());
    lan_a.pings_in_the_end("192.168.12.10");
    assert!(lan_b.pings("192.168.11.10"));
    assert!(a.net.pings("10.99.0.1"), "the gateway's tunnel address is what sites prove their tunnel with");
    let received = lan_a.transfer(lan_b, "192.168.12.10", TRANSFER);
    assert_eq!(received, Some(Received { bytes: TRANSFER, from: "192.168.11.10".parse().unwrap() }), "not masqueraded");
}

#[test]
fn a_split_client_reaches_a_site_with_its_own_address_and_nothing_outside() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let site = stage.site(&raised, 2, 11);
    let client = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16", "198.51.100.0/24"]);
    client.net.pings_in_the_end("192.168.11.10");
    let received = client.net.transfer(site.lan.as_ref().unwrap(), "192.168.11.10", TRANSFER);
    assert_eq!(received, Some(Received { bytes: TRANSFER, from: "10.99.0.5".parse().unwrap() }));
    assert!(!client.net.pings("198.51.100.80"), "a split client sends the internet into the tunnel");
    assert!(site.lan.as_ref().unwrap().pings("10.99.0.5"), "sites reach clients");
}

#[test]
fn policy_says_whether_clients_and_whether_sites_meet_and_changes_at_once() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let a = stage.client(&raised, 5, false, &["10.99.0.0/24"]);
    let b = stage.client(&raised, 6, false, &["10.99.0.0/24"]);
    let one = stage.site(&raised, 2, 11);
    let two = stage.site(&raised, 3, 12);
    for end in [&a.net, &b.net, &two.net] {
        end.pings_in_the_end("10.99.0.1");
    }
    one.net.pings_in_the_end("10.99.0.3");
    assert!(!a.net.pings("10.99.0.6"), "clients do not meet by default");
    instance.policy.client_to_client = true;
    instance.policy.site_to_site = false;
    stage.configure(&raised, &instance);
    assert!(a.net.pings("10.99.0.6"));
    assert!(!one.lan.as_ref().unwrap().pings("192.168.12.10"));
    assert!(!one.net.pings("10.99.0.3"));
    assert!(a.net.pings("10.99.0.2"), "clients still reach sites");
    instance.policy.client_to_client = false;
    instance.policy.site_to_site = true;
    stage.configure(&raised, &instance);
    assert!(!a.net.pings("10.99.0.6"));
    assert!(one.lan.as_ref().unwrap().pings("192.168.12.10"));
}

#[test]
fn a_peer_that_sends_under_another_peers_address_is_not_heard() {
    let Some(mut stage) = stage() else { return };
    let instance = stage.instance(51820);
    let raised = stage.raise(&instance);
    let site = stage.site(&raised, 2, 11);
    let client = stage.client(&raised, 5, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    client.net.pings_in_the_end("192.168.11.10");
    let liar = stage.client(&raised, 6, false, &["10.99.0.0/24", "192.168.0.0/16"]);
    liar.net.pings_in_the_end("192.168.11.10");
    liar.net.ip(&format!("addr add 10.99.0.5/32 dev {}", liar.wireguard.interface()));
    let counted = Counted::new(site.lan.as_ref().unwrap(), "10.99.0.5");
    assert!(client.net.pings("192.168.11.10"));
    let honest = counted.packets();
    assert!(honest > 0, "what the true owner of the address sends is counted");
    assert!(!liar.net.output("ping", &["-c", "2", "-W", "1", "-I", "10.99.0.5", "192.168.11.10"]).status.success());
    assert_eq!(counted.packets(), honest, "a packet under a false address came through");
}

#[test]
fn ipv6_passes_like_ipv4_where_the_tunnel_has_it() {
    let Some(mut stage) = stage() else { return };
    let mut instance = stage.instance(51820);
    instance.addresses.push("fd99::1/64".parse().unwrap());
    let raised = stage.raise(&instance);
    let a = stage.client(&raised, 5, false, &["10.99.0.0/24", "fd99::/64"]);
    let b = stage.client(&raised, 6, false, &["10.99.0.0/24", "fd99::/64"]);
    let mut site = stage.site(&raised, 2, 11);
    site.peer.subnets = ["192.168.11.0/24", "fd11::/64"].iter().map(|net| net.parse().unwrap()).collect();
    stage.set(&raised, &site.peer);
    site.net.ip(&format!("-6 route add fd99::/64 dev {}", site.wireguard.interface()));
    site.wireguard.set(&format!("[Peer]\nPublicKey = {}\nAllowedIPs = 10.99.0.0/24, fd99::/64", raised.public_key));
    let lan = site.lan.as_ref().unwrap();
    site.net.ip("addr add fd11::1/64 dev lan0 nodad");
    lan.ip("addr add fd11::10/64 dev eth0 nodad");
    lan.ip("-6 route add default via fd11::1");
    a.net.ip(&format!("-6 route add fd11::/64 dev {}", a.wireguard.interface()));
    a.wireguard.set(&format!("[Peer]\nPublicKey = {}\nAllowedIPs = fd99::/64, fd11::/64", raised.public_key));
    a.net.pings_in_the_end("fd99::1");
    b.net.pings_in_the_end("fd99::1");
    assert!(!a.net.pings("fd99::6"), "clients do not meet");
    a.net.pings_in_the_end("fd11::10");
    let received = a.net.transfer(lan, "fd11::10", TRANSFER);
    assert_eq!(received, Some(Received { bytes: TRANSFER, from: "fd99::5".parse().unwrap() }));
}

/// Packets that a host takes in from an address, counted by its own firewall.
struct Counted<'a>(&'a Net);

impl<'a> Counted<'a> {
    fn new(net: &'a Net, source: &str) -> Self {
        let chain = "type filter hook input priority filter; policy accept;";
        let rules = format!("counter seen {{ }}\nchain in {{ {chain} ip saddr {source} counter name seen; }}\n");
        net.run("nft", &[&format!("table inet counted {{ {rules} }}")]);
        Self(net)
    }

    fn packets(&self) -> u64 {
        let shown = self.0.run("nft", &["list", "counter", "inet", "counted", "seen"]);
        let mut words = shown.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count in {shown}"))
    }
}
