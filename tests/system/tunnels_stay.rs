//! `kill -9` of hub and gateway while traffic flows.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fleet::{Shape, fleet};
use crate::netns::until;

/// Rounds with traffic; the store's own rounds are many more, and faster.
const ROUNDS: u32 = 5;
/// How long the hub is away in each round, by a number of pings at 100 a second.
const AWAY: Duration = Duration::from_secs(2);
/// How long the client's pings may fail after the gateway's end: it starts, and calls.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn tunnels_carry_everything_while_the_hub_is_killed_and_come_back_without_it_after_the_gateway_was() {
    let Some(mut fleet) = fleet(Shape::Apart) else { return };
    let instance = fleet.admin.instance("stay");
    let a = fleet.site(&instance, "a", 88);
    let client = fleet.client(&instance, "client", false);
    client.net.pings_in_the_end(&a.host);
    fleet.admin.is_served(&client.peer);

    let pinging = client.net.ping(&a.host);
    for round in 0..ROUNDS {
        // An acknowledged change just before the end: it is there afterwards, and reaches the gateway.
        let path = format!("/v1/peers/{}", client.peer);
        fleet.admin.patch(&path, json!({ "user": format!("user-{round}") }));
        fleet.hub.kill();
        std::thread::sleep(AWAY);
        fleet.hub.start_again();
        fleet.admin.is_there();
        assert_eq!(fleet.admin.get(&path)["user"], json!(format!("user-{round}")));
        fleet.admin.is_served(&client.peer);
    }
    let (sent, lost) = pinging.stop_and_count_lost();
    println!("hub killed {ROUNDS} times: {lost} of {sent} pings lost");
    assert_eq!(lost, 0, "pings were lost while only the hub was away");

    fleet.hub.kill();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let gateway = fleet.gateway.as_mut().unwrap();
        gateway.kill();
        gateway.start_again();
        // It calls where the client was last heard: the client itself notices after 15 s that its session is gone.
        let begun = Instant::now();
        client.net.pings_in_the_end(&a.host);
        times.push(begun.elapsed());
    }
    println!("gateway killed {ROUNDS} times without a hub: pings are back after {times:.1?}");
    assert!(times.iter().all(|took| *took < BACK_WITHIN), "{times:?}");

    fleet.hub.start_again();
    fleet.admin.is_there();
    fleet.admin.tell(&format!("/v1/peers/{}/disable", client.peer));
    until("a change reaches the gateway again", || !client.net.pings(&a.host));
}
