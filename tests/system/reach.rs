//! Who reaches whom: sites each other, clients the sites, full-tunnel clients the world.

use std::time::Instant;

use crate::fleet::{Client, Fleet, HOST, OUTSIDE, Shape, Site, TRANSFER, fleet};
use crate::netns::Net;

/// By ping and by a transfer, whose receiver sees the sender's own address.
fn reaches(from: (&Net, &str), to: (&Net, &str), seen_as: &str) {
    from.0.pings_in_the_end(to.1);
    let begun = Instant::now();
    let received =
        from.0.transfer(to.0, to.1, TRANSFER).unwrap_or_else(|| panic!("{} to {}: no connection", from.1, to.1));
    println!("{} to {}: {TRANSFER} bytes in {:.2} s", from.1, to.1, begun.elapsed().as_secs_f64());
    assert_eq!((received.bytes, received.from.to_string()), (TRANSFER, seen_as.to_owned()));
}

fn tunnel_address(fleet: &Fleet, client: &Client) -> String {
    fleet.admin.get(&format!("/v1/peers/{}", client.peer))["addresses"][0].as_str().unwrap().to_owned()
}

#[test]
fn sites_reach_each_other_and_clients_reach_what_their_tunnel_is_for() {
    let Some(mut fleet) = fleet(Shape::Together) else { return };
    let instance = fleet.admin.instance("office");
    let a = fleet.site(&instance, "a", 88);
    let b = fleet.site(&instance, "b", 89);
    // Site a was provisioned before there was a site b.
    fleet.is_told(&instance, "192.168.89.0/24");
    fleet.provision(&a);
    sites(&a, &b);

    let split = fleet.client(&instance, "split", false);
    let address = tunnel_address(&fleet, &split);
    reaches((&split.net, "split client"), (&a.lan, &a.host), &address);
    // The rest of its traffic stays out of the tunnel.
    reaches((&split.net, "split client"), (&fleet.internet, OUTSIDE), &split.address);

    let full = fleet.client(&instance, "full", true);
    let address = tunnel_address(&fleet, &full);
    reaches((&full.net, "full client"), (&a.lan, &a.host), &address);
    reaches((&full.net, "full client"), (&fleet.internet, OUTSIDE), HOST);
    // Nothing of the gateway's host answers there.
    assert!(!split.net.pings("10.99.0.250"));
    statuses(&fleet, &[&a.peer, &b.peer, &split.peer, &full.peer]);
}

fn sites(a: &Site, b: &Site) {
    reaches((&a.lan, "site a"), (&b.lan, &b.host), &a.host);
    reaches((&b.lan, "site b"), (&a.lan, &a.host), &b.host);
}

/// The hub knows within a few reports that all are connected.
fn statuses(fleet: &Fleet, peers: &[&str]) {
    for peer in peers {
        let path = format!("/v1/peers/{peer}");
        crate::netns::until("the hub says connected", || fleet.admin.get(&path)["status"] == "connected");
        let link = fleet.admin.get(&path)["link"].clone();
        assert!(link["rx_bytes"].as_u64() > Some(0) && link["tx_bytes"].as_u64() > Some(0), "{link}");
    }
}
