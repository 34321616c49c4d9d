//! Changes of one peer while another carries traffic.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fleet::{Shape, fleet};

/// Changes of peer B, each served by the gateway before the next.
const CHANGES: usize = 200;
/// B would need 15 s and more to notice by itself that its session is gone.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn two_hundred_changes_of_peer_b_cost_peer_a_no_ping_and_an_edit_keeps_bs_own_session() {
    let Some(mut fleet) = fleet(Shape::Together) else { return };
    let instance = fleet.admin.instance("live");
    let a = fleet.site(&instance, "a", 88);
    let b = fleet.remote(&instance, "b", 89);
    // A split profile lists what there is when it is written.
    fleet.is_told(&instance, "192.168.89.0/24");
    let client = fleet.client(&instance, "client", false);
    client.net.pings_in_the_end(&a.host);
    client.net.pings_in_the_end("192.168.89.1");

    // Its subnets, forth and back: the session goes on.
    let path = format!("/v1/peers/{}", b.peer);
    let handshake = b.wireguard.handshake();
    for subnets in [json!(["192.168.89.0/24", "192.168.90.0/24"]), json!(["192.168.89.0/24"])] {
        fleet.admin.patch(&path, json!({ "subnets": subnets }));
        fleet.admin.is_served(&b.peer);
        assert!(client.net.pings("192.168.89.1"));
    }
    assert_eq!(b.wireguard.handshake(), handshake, "an edit of subnets made a new session");

    let pinging = client.net.ping(&a.host);
    let begun = Instant::now();
    let mut extra = String::new();
    for change in 0..CHANGES {
        let mut changed = b.peer.clone();
        match change % 5 {
            0 => drop(fleet.admin.patch(&path, json!({ "subnets": ["192.168.89.0/24", "192.168.90.0/24"] }))),
            1 => drop(fleet.admin.tell(&format!("{path}/disable"))),
            2 => {
                fleet.admin.tell(&format!("{path}/enable"));
                fleet.admin.patch(&path, json!({ "subnets": ["192.168.89.0/24"] }));
            }
            3 => {
                let new = json!({ "kind": "client", "user": "extra", "public_key": key(change) });
                extra = fleet.admin.peer(&instance, new);
                changed.clone_from(&extra);
            }
            _ => {
                fleet.admin.delete(&format!("/v1/peers/{extra}"));
                continue;
            }
        }
        fleet.admin.is_served(&changed);
    }
    let secs = begun.elapsed().as_secs_f64();
    let (sent, lost) = pinging.stop_and_count_lost();
    println!("{CHANGES} changes of B in {secs:.1} s: {lost} of {sent} pings of A lost");
    assert_eq!(lost, 0, "pings of A were lost");
    assert!(f64::from(sent) > secs * 50.0, "only {sent} pings in {secs} s");
    // The gateway forgot B's session when B was disabled, but not where B was heard: it calls.
    let begun = Instant::now();
    fleet.admin.tell(&format!("{path}/disable"));
    fleet.admin.is_served(&b.peer);
    fleet.admin.tell(&format!("{path}/enable"));
    client.net.pings_in_the_end("192.168.89.1");
    assert!(begun.elapsed() < BACK_WITHIN, "B was dark for {:?}", begun.elapsed());
    assert!(b.net.pings(&a.host));
}

/// A public key that nobody has.
fn key(_: usize) -> String {
    let key = sitepeer::wireguard::keys::generate_private().unwrap();
    sitepeer::domain::PublicKey::from_bytes(key.public()).unwrap().to_string()
}
