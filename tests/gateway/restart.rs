//! Restarts, crashes, a hub that is away, and counters that begin again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use sitepeer::api::GatewayReport;
use sitepeer::domain::PublicKey;

use crate::control::{Stage, peer, served};
use crate::hub::State;
use crate::planes::Handle;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        // What is renamed or removed while it is copied was not there: the other side of the boundary is copied as well.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy(&entry.path(), &target),
            _ => drop(std::fs::copy(entry.path(), target)),
        }
    }
}

#[tokio::test]
async fn tunnels_come_back_from_disk_before_the_hub_is_asked_and_a_kernels_peers_are_not_touched() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    for number in 2..20 {
        stage.hub.set_peer(peer("inst1", number));
    }
    let gateway = stage.start();
    stage.hub.applied(19).await;
    stage
        .until("settled", || {
            std::fs::read_to_string(stage.state_dir().join("desired.log")).unwrap().contains("settled")
        })
        .await;
    gateway.kill().await;
    stage.hub.set_away(true);
    stage.planes.take_calls();

    // The kernel kept everything: it is taken over, nothing is set.
    let gateway = stage.start();
    stage.until("taken over", || !stage.planes.world().calls.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.planes.take_calls(), ["raise inst1"]);
    gateway.kill().await;

    // The machine was restarted: everything is set again, still without the hub.
    stage.planes.world().devices.clear();
    let gateway = stage.start();
    stage.until("all are back", || stage.planes.peers("inst1").len() == 18).await;
    stage.planes.take_calls();
    stage.hub.set_away(false);
    let last = stage.hub.set_peer(peer("inst1", 30));
    stage.hub.applied(last).await;
    assert_eq!(stage.planes.take_calls(), ["set inst1 peer0030"], "a full list that says the same touches nobody");
    gateway.stop().await.unwrap();
}

#[tokio::test]
async fn leftovers_of_unknown_instances_are_removed_only_after_the_hub_was_asked_for_everything() {
    let stage = Stage::new();
    let last = stage.hub.set_instance(served("inst1", 51820));
    let leftover = "left1".parse().unwrap();
    let key = sitepeer::wireguard::keys::generate_private().unwrap();
    sitepeer::gateway::plane::Planes::raise(&Handle(Arc::clone(&stage.planes)), &served("left1", 51999), &key)
        .await
        .unwrap();
    stage.hub.set_away(true);
    let gateway = stage.start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(stage.planes.world().devices.contains_key(&leftover), "nobody said that it is not wanted");
    stage.hub.set_away(false);
    stage.hub.applied(last).await;
    stage.until("removed", || !stage.planes.world().devices.contains_key(&leftover)).await;
    gateway.stop().await.unwrap();
}

/// The state directory as it was at every moment at which the world could have seen the gateway do something.
#[tokio::test]
async fn killed_at_any_moment_it_comes_back_with_whole_state_and_every_key_it_told() {
    let stage = Stage::new();
    // How much had been told when each copy was made.
    let copies = Arc::new(Mutex::new(Vec::new()));
    let (from, to) = (stage.state_dir(), stage.dir.path().join("copies"));
    let snapshot = {
        let (copies, to, hub) = (Arc::clone(&copies), to.clone(), Arc::clone(&stage.hub));
        move || {
            let mut copies = copies.lock().unwrap();
            copies.push(hub.state().applied.len());
            copy(&from, &to.join((copies.len() - 1).to_string()));
        }
    };
    *stage.hub.boundary.lock().unwrap() = Some(Box::new(snapshot.clone()));
    *stage.planes.boundary.lock().unwrap() = Some(Box::new(snapshot));
    stage.hub.set_instance(served("inst1", 51820));
    let gateway = stage.start();
    for number in 2..12 {
        let last = stage.hub.set_peer(peer("inst1", number));
        stage.hub.applied(last).await;
    }
    stage.hub.applied(stage.hub.set_instance(served("inst2", 51821))).await;
    stage.hub.applied(stage.hub.remove_peer("inst1", "peer0005")).await;
    gateway.kill().await;
    *stage.hub.boundary.lock().unwrap() = None;
    *stage.planes.boundary.lock().unwrap() = None;
    let applied = stage.hub.state().applied.clone();
    let copies = copies.lock().unwrap().clone();
    println!("{} copies of the state directory", copies.len());
    assert!(copies.len() > 30, "only {}", copies.len());
    stage.hub.set_away(true);
    for (number, told) in copies.iter().enumerate() {
        let dir = to.join(number.to_string());
        stage.planes.world().devices.clear();
        // Whatever was told before the copy was made is served again, with the same key.
        let told: BTreeMap<_, _> = applied[..*told]
            .iter()
            .flat_map(|applied| &applied.instances)
            .map(|told| (&told.id, told.public_key))
            .collect();
        let gateway = stage.start_at(&dir);
        stage.until("served", || told.keys().all(|id| stage.planes.world().devices.contains_key(*id))).await;
        for (id, key) in told {
            let world = stage.planes.world();
            let served = PublicKey::from_bytes(world.devices[id].key.public()).unwrap();
            assert_eq!(key, Some(served), "copy {number}, {id}");
        }
        gateway.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_state_is_an_error_that_names_the_file_and_never_an_empty_one() {
    let stage = Stage::new();
    let last = stage.hub.set_instance(served("inst1", 51820));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    gateway.stop().await.unwrap();
    for file in ["desired.log", "traffic.log", "install"] {
        let path = stage.state_dir().join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, b"").unwrap();
        let error = stage.start().ends().await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{} is damaged", path.display())), "{error}");
        std::fs::write(&path, before).unwrap();
    }
    std::fs::write(stage.key_file("inst1"), "no key\n").unwrap();
    let count = stage.hub.state().applied.len();
    let gateway = stage.start();
    let told = |state: &State| {
        state.applied[count..].iter().flat_map(|applied| &applied.instances).find_map(|told| told.error.clone())
    };
    let error = stage.hub.until("the damage is told", told).await;
    assert!(error.contains("inst1/key is damaged"), "{error}");
    assert_eq!(std::fs::read_to_string(stage.key_file("inst1")).unwrap(), "no key\n", "it is never replaced");
    gateway.stop().await.unwrap();
}

/// The last total that was reported for the peer.
fn rx(state: &State) -> Option<u64> {
    let rows = state.reports.iter().flat_map(|report| &report.peers);
    rows.filter(|row| row.peer.as_str() == "peer0002").map(|row| row.rx_bytes).next_back()
}

fn count(stage: &Stage, bytes: u64) {
    let mut world = stage.planes.world();
    let device = world.devices.get_mut(&"inst1".parse().unwrap()).unwrap();
    let peer = device.peers.get_mut(&peer("inst1", 2).public_key).unwrap();
    peer.rx_bytes = bytes;
    peer.handshake = Some(SystemTime::now());
    peer.endpoint = Some("192.0.2.7:1234".parse().unwrap());
}

#[tokio::test]
async fn totals_go_on_through_restarts_and_counters_that_begin_again() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let last = stage.hub.set_peer(peer("inst1", 2));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    let reported = async |total: u64| {
        stage.hub.until(&format!("{total} reported"), |state| (rx(state) == Some(total)).then_some(())).await;
    };
    count(&stage, 1000);
    reported(1000).await;
    // A kernel that goes on counting while the gateway is killed.
    gateway.kill().await;
    count(&stage, 1500);
    let gateway = stage.start();
    reported(1500).await;
    // Counters that begin again.
    count(&stage, 200);
    reported(1700).await;
    // Disabled and enabled: the device forgets, the total does not.
    stage.hub.applied(stage.hub.remove_peer("inst1", "peer0002")).await;
    stage.hub.applied(stage.hub.set_peer(peer("inst1", 2))).await;
    count(&stage, 900);
    reported(2600).await;
    // The machine is restarted.
    gateway.stop().await.unwrap();
    stage.planes.world().devices.clear();
    let gateway = stage.start();
    stage.until("back", || stage.planes.peers("inst1").len() == 1).await;
    count(&stage, 5000);
    reported(7600).await;
    gateway.stop().await.unwrap();
    let heard = stage.hub.state();
    let numbers: Vec<i64> = heard.reports.iter().map(|report| report.number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(heard.reports.iter().all(|report| report.epoch == heard.reports[0].epoch));
    let row = heard.reports.iter().flat_map(|report| &report.peers).next_back().unwrap();
    assert_eq!(row.endpoint, Some("192.0.2.7:1234".parse().unwrap()));
    assert!(row.connected_since.is_some() && row.handshake_at >= row.connected_since);
}

#[tokio::test]
async fn a_report_that_got_lost_comes_again_with_its_number_and_none_is_missing_after_the_hub_was_away() {
    let stage = Stage::new();
    stage.hub.set_instance(served("inst1", 51820));
    let last = stage.hub.set_peer(peer("inst1", 2));
    let gateway = stage.start();
    stage.hub.applied(last).await;
    stage.hub.state().lose_replies = 1;
    count(&stage, 10);
    stage.hub.until("reported", |state| (rx(state) == Some(10)).then_some(())).await;
    let twice = |state: &State| {
        let same = |a: &GatewayReport, b: &GatewayReport| a.number == b.number && a == b;
        state.reports.windows(2).any(|pair| same(&pair[0], &pair[1])).then_some(())
    };
    stage.hub.until("said again", twice).await;
    stage.hub.set_away(true);
    for bytes in [20, 30, 40] {
        count(&stage, bytes);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    stage.hub.set_away(false);
    stage.hub.until("caught up", |state| (rx(state) == Some(40)).then_some(())).await;
    gateway.stop().await.unwrap();
}
