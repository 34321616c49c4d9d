//! A hub that wants to do harm: nothing of it gets onto the router.

use serde_json::{Value, json};

use crate::hub::Scene;

fn many(count: usize) -> Value {
    (0..count).map(|index| json!(format!("10.{}.{}.0/24", 100 + index / 256, index % 256))).collect()
}

#[tokio::test]
async fn what_no_router_should_have_is_refused_by_name_and_nothing_is_written() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, u64, &str, &str); 16] = [
        (|c| c["reach"] = json!(["0.0.0.0/0"]), 5, "broad-route", "0.0.0.0/0"),
        (|c| c["reach"] = json!(["0.0.0.0/1", "128.0.0.0/1"]), 5, "broad-route", "0.0.0.0/1"),
        (|c| c["reach"] = json!(["10.99.0.0/24", "fc00::/7"]), 5, "broad-route", "fc00::/7"),
        (|c| c["reach"] = json!(["10.99.0.0/24", "192.168.0.0/16"]), 5, "overlap", "192.168.88.0/24"),
        (|c| c["advertise"] = json!(["10.99.0.128/25"]), 5, "overlap", "10.99.0.128/25"),
        (|c| c["hub"]["endpoints"] = json!(["10.99.0.9:51820"]), 5, "overlap", "10.99.0.9"),
        (|c| c["reach"] = many(1025), 6, "hub-config", "1025"),
        (|c| c["reach"] = json!(["10.99.0.0/24", "169.254.0.0/16"]), 6, "hub-config", "link-local"),
        (|c| c["tunnel"]["addresses"] = json!([]), 6, "hub-config", "addresses is empty"),
        (|c| c["tunnel"]["addresses"] = json!(["10.99.0.0/24"]), 6, "hub-config", "network itself"),
        (|c| c["tunnel"]["probe"] = json!(["10.99.0.2"]), 6, "hub-config", "own tunnel address"),
        (|c| c["tunnel"]["probe"] = json!(["8.8.8.8"]), 6, "hub-config", "8.8.8.8"),
        (|c| c["tunnel"]["mtu"] = json!(100), 6, "hub-config", "100"),
        (|c| c["instance"] = json!("a b\"; /system reset"), 6, "hub-garbage", "DNS label"),
        (|c| c["hub"]["public_key"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), 6, "hub-garbage", "key"),
        (|c| c["id"] = json!("other123"), 6, "hub-other-peer", "other123"),
    ];
    for (edit, exit, code, named) in cases {
        let scene = Scene::start().await;
        scene.edit(|desired| edit(&mut desired["config"]));
        let before = scene.world.state_with_ids();
        let refused = scene.provision().await;
        assert_eq!(refused.failed(), (exit, code), "{refused:?}");
        assert!(refused.result["message"].as_str().unwrap().contains(named), "{named}: {refused:?}");
        assert!(before == scene.world.state_with_ids(), "{named}");
    }
}

#[tokio::test]
async fn another_peers_config_is_not_put_on_this_router() {
    let scene = Scene::start().await;
    scene.edit(|desired| {
        desired["peer"] = json!("other123");
        desired["config"]["id"] = json!("other123");
    });
    assert_eq!(scene.provision().await.failed(), (6, "hub-other-peer"));
}

#[tokio::test]
async fn the_removal_cap_holds_against_a_hub_too() {
    let scene = Scene::start().await;
    scene.edit(|desired| {
        desired["config"]["reach"] =
            json!([["10.99.0.0/24"].map(Value::from).to_vec(), many(12).as_array().unwrap().clone()].concat());
    });
    scene.provision().await.assert_result("converged");
    scene.edit(|desired| desired["config"]["reach"] = json!(["10.99.0.0/24"]));
    assert_eq!(scene.provision().await.failed(), (5, "too-many-removals"));
}
