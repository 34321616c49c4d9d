//! Who reaches whom through one instance.

use crate::netns::Received;
use crate::stage::{HOST, OUTSIDE, stage};

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
    assert_eq!(received, Some(Received { bytes: TRANSFER, from: "192.168.11.10".parse().unwrap() }));
}
