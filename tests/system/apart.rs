//! Two instances with identical subnets on one gateway.

use crate::fleet::{Shape, TRANSFER, fleet};

#[test]
fn two_instances_with_identical_subnets_reach_only_their_own() {
    let Some(mut fleet) = fleet(Shape::Together) else { return };
    let (one, two) = (fleet.admin.instance("one"), fleet.admin.instance("two"));
    let (site_one, site_two) = (fleet.site(&one, "site1", 88), fleet.site(&two, "site2", 88));
    let (client_one, client_two) = (fleet.client(&one, "client1", false), fleet.client(&two, "client2", false));
    assert_eq!(site_one.host, site_two.host);
    for (client, own, other) in [(&client_one, &site_one, &site_two), (&client_two, &site_two, &site_one)] {
        client.net.pings_in_the_end(&own.host);
        let received = client.net.transfer(&own.lan, &own.host, TRANSFER).expect("its own instance's site");
        assert_eq!(received.bytes, TRANSFER);
        // The same address in the other instance: nobody serves there.
        assert_eq!(client.net.transfer(&other.lan, &other.host, 10), None);
    }
    // Nor does the other's answer when its own is gone.
    drop(site_one);
    assert!(!client_one.net.pings(&site_two.host));
    assert!(client_two.net.pings(&site_two.host));
}
