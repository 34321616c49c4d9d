//! Who it was that changed what is put back: by the router's log, or who is logged in, or that nobody can tell.

use std::net::SocketAddr;

use futures_util::future::join_all;
use serde_json::Value;
use sitepeer::agent::standing::Phase;
use sitepeer::sim::SimOptions;

use crate::hub::{Said, Scene};
use crate::running::{Running, until};
use crate::world::World;

/// Where somebody sits who has Winbox open.
const ANNA: &str = "192.168.88.30:50000";
/// What the log calls whoever is at the simulated router's console.
const AT_THE_CONSOLE: &str = "put back, by tcp-msg(winbox):admin@192.168.88.20/terminal (the log: route removed)";
const SOMEBODY: &str = "put back, by somebody; logged in then: anna by winbox from 192.168.88.30";
const NOBODY: &str = "put back, who it was the router does not tell";

/// A router whose log is as a fault says, on which somebody may be logged in.
struct Case {
    version: Option<&'static str>,
    fault: Option<&'static str>,
    anna: bool,
    told: &'static str,
}

fn case(fault: Option<&'static str>, anna: bool, told: &'static str) -> Case {
    Case { version: None, fault, anna, told }
}

/// Takes out a route, and returns what the hub is told of that.
async fn told(case: &Case) -> String {
    let options = |options: &mut SimOptions| {
        if let Some(version) = case.version {
            options.version = version.parse().unwrap();
        }
        options.faults = case.fault.into_iter().map(|fault| fault.parse().unwrap()).collect();
    };
    let scene = Scene::around(World::start_with(options).await, |_, _| Said::AsUsual).await;
    let agent = Running::of_hub(&scene);
    agent.until("as wanted", |figures| figures.phase == Phase::Watching && figures.looks > 0).await;
    if case.anna {
        scene.world.router.log_in("anna", "winbox", ANNA.parse::<SocketAddr>().unwrap());
    }
    let id = scene.world.id_of("/ip/route", "comment", "sitepeer:");
    scene.world.operator("/ip/route/remove", &[(".id", &id)]).await;
    let events = || -> Vec<Value> {
        let batches = scene.heard("/v1/agent/reports");
        let reports = batches.iter().flat_map(|body| body["reports"].as_array().unwrap().clone());
        reports.filter_map(|report| report["events"].as_array().cloned()).flatten().collect()
    };
    until("told", || events().iter().any(|event| event["kind"] == "drift")).await;
    agent.stop().await;
    let all = events();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]["words"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_put_back_is_told_with_the_name_of_who_changed_it_where_the_router_tells() {
    let cases = [
        case(None, false, AT_THE_CONSOLE),
        case(None, true, AT_THE_CONSOLE),
        case(Some("log-full-times"), false, AT_THE_CONSOLE),
        case(Some("log-rows=15000"), false, AT_THE_CONSOLE),
        case(Some("log-closed"), true, SOMEBODY),
        case(Some("log-alien"), true, SOMEBODY),
        case(Some("log-closed"), false, NOBODY),
        case(Some("log-alien"), false, NOBODY),
        // Before 7.18 it names the user alone, and that is ours as well.
        Case { version: Some("7.12.1"), ..case(None, false, NOBODY) },
        Case { version: Some("7.12.1"), ..case(None, true, SOMEBODY) },
    ];
    let all = join_all(cases.iter().map(told)).await;
    for (case, told) in cases.iter().zip(all) {
        assert!(told.starts_with(case.told), "{:?} {:?}: {told}", case.version, case.fault);
    }
}
