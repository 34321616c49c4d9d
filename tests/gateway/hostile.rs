//! A hub that is wrong, or no friend: refused by name, the rest is served, nothing panics, nothing leaves the state directory.

use serde_json::{Value, json};
use sitepeer::domain::PublicKey;
use sitepeer::gateway::plane::{Planes as _, rootless::Rootless};

use crate::control::{Stage, peer, served, told};
use crate::world::{instance, ip};

fn inst(id: &str, port: u16) -> Value {
    let mut value = json!(served("inst1", port));
    value["id"] = json!(id);
    value
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_by_name_and_the_rest_is_served() {
    let stage = Stage::new();
    let mut twin = json!(peer("inst1", 2));
    twin["id"] = json!("twin0001");
    twin["revision"] = json!(9);
    twin["addresses"] = json!(["10.99.0.200"]);
    twin["subnets"] = json!([]);
    let mut overlap = json!(peer("inst1", 3));
    overlap["subnets"] = json!(["10.2.0.0/16"]);
    overlap["revision"] = json!(8);
    let mut zero = json!(peer("inst1", 4));
    zero["public_key"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let mut long = json!(peer("inst1", 5));
    long["subnets"] = Value::Array((0..2000).map(|n| json!(format!("10.{}.{}.0/24", n / 256, n % 256))).collect());
    let mut orphan = json!(peer("nowhere", 6));
    orphan["id"] = json!("orphan01");
    stage.hub.say(json!({
        "revision": 20,
        "instances": [inst("inst1", 51820), inst("../../../tmp/x", 1), inst("a\u{0}b\u{1b}[2J", 2), inst("port0", 0), 17, null],
        "peers": [json!(peer("inst1", 2)), twin, overlap, zero, long, orphan, json!(peer("inst1", 7)), "text"],
        "removed_instances": ["../..", 5],
        "removed_peers": [{"instance": "inst1", "peer": "/etc/passwd"}],
        "surprise": {"of": "a later hub"},
    }));
    let gateway = stage.start();
    let applied = stage.hub.applied(20).await;
    let failed: Vec<(&str, String)> =
        applied.peers.iter().map(|f| (f.id.as_str(), f.error.chars().take(60).collect())).collect();
    let named: Vec<&str> = failed.iter().map(|(id, _)| *id).collect();
    assert_eq!(named, ["orphan01", "peer0003", "peer0004", "peer0005", "twin0001"], "{failed:?}");
    assert!(failed[1].1.contains("overlaps what peer peer0002 has"), "{failed:?}");
    assert!(failed[4].1.contains("its key is that of peer peer0002"), "{failed:?}");
    let error = told(&stage, "port0").error.unwrap();
    assert!(error.contains("listen port is 0"), "{error}");
    let keys = [2, 7].map(|n| PublicKey::from_bytes([n; 32]).unwrap());
    assert_eq!(stage.planes.peers("inst1"), keys);
    let dirs: Vec<_> =
        std::fs::read_dir(stage.state_dir().join("instances")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(dirs, ["inst1"]);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn answers_that_are_none_change_nothing() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let last = stage.hub.set_peer(peer("inst1", 2));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    stage.planes.take_calls();
    stage.hub.say(json!("hello"));
    stage.hub.say(json!({"revision": "seven"}));
    stage.hub.say(json!({"revision": last, "more": true}));
    stage.until("all was said", || stage.hub.state().script.is_empty()).await;
    let last = stage.hub.set_peer(peer("inst1", 3));
    stage.hub.applied(last).await;
    assert_eq!(stage.planes.take_calls(), ["set inst1 peer0003"]);
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_hub_that_answers_at_once_what_was_to_wait_is_not_asked_without_a_pause() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let last = stage.hub.set_peer(peer("inst1", 2));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    stage.hub.state().hasty = true;
    // Ends the poll that waits.
    let last = stage.hub.set_peer(peer("inst1", 3));
    stage.hub.applied(last).await;
    let before = stage.hub.state().asked.len();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let asked = stage.hub.state().asked.len() - before;
    assert!((1..=4).contains(&asked), "asked {asked} times in two seconds");
    let last = stage.hub.set_peer(peer("inst1", 4));
    stage.hub.applied(last).await;
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_prefix_that_moves_from_one_peer_to_another_ends_with_the_second() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    stage.hub.set_peer(peer("inst1", 2));
    let last = stage.hub.set_peer(peer("inst1", 3));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    // Both changes come in one answer, the one who gets it by the lower revision.
    stage.hub.set_away(true);
    let (mut giver, mut getter) = (peer("inst1", 2), peer("inst1", 3));
    giver.subnets = [].into_iter().collect();
    getter.subnets = crate::world::nets(&["10.2.0.0/24", "10.3.0.0/24"]).into_iter().collect();
    stage.hub.set_peer(giver.clone());
    stage.hub.set_peer(getter.clone());
    let last = stage.hub.set_peer(giver);
    stage.hub.set_away(false);
    stage.planes.take_calls();
    let applied = stage.hub.applied(last).await;
    assert_eq!(applied.peers, []);
    assert_eq!(stage.planes.take_calls(), ["set inst1 peer0002", "set inst1 peer0003"], "who gives up is first");
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_that_another_program_has_is_an_error_of_that_instance_alone() {
    let taken = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let planes = Rootless::new(ip("127.0.0.1"));
    let key = sitepeer::wireguard::keys::generate_private().unwrap();
    let mut wanted = instance("inst1");
    wanted.listen_port = port;
    planes.raise(&wanted, &key).await.unwrap_err();
    drop(taken);
    planes.raise(&wanted, &key).await.unwrap();
}
