//! A hub that does not take what it is told, or something before it that answers in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use sitepeer::agent::Member;
use sitepeer::api::TunnelState;

use crate::away::Stepped;
use crate::hub::{Said, Scene};
use crate::running::{Running, until};

const REPORTS: &str = "/v1/agent/reports";
const APPLIED: &str = "/v1/agent/applied";
const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
/// What a proxy says whose backend is being exchanged.
const NO_ROUTE: &str =
    "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 19\r\n\r\n404 page not found\n";
/// Longest pause between two tries, and a report of each minute.
const LONG: Duration = Duration::from_mins(4);

fn problem(status: u16, code: &str) -> String {
    let body = format!(r#"{{"type":"about:blank","title":"no","status":{status},"detail":"no","code":"{code}"}}"#);
    let length = body.len();
    format!("HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn numbers(batch: &Value) -> Vec<i64> {
    batch["reports"].as_array().unwrap().iter().map(|report| report["number"].as_i64().unwrap()).collect()
}

async fn pass(clock: &Stepped, time: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        clock.step().await;
        passed += Stepped::STEP;
    }
}

#[tokio::test]
async fn a_404_of_whoever_is_before_the_hub_loses_no_report() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let scene = Scene::scripted(move |heard, _| {
        let refuses = away.load(Ordering::Relaxed) && heard.path == REPORTS;
        if refuses { Said::Instead(NO_ROUTE.to_owned()) } else { Said::AsUsual }
    })
    .await;
    let agent = Running::of_hub(&scene);
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    let clock = Stepped::begin();
    pass(&clock, LONG).await;
    let refused = scene.heard(REPORTS).len();
    assert!(refused > 1, "it does not try again");
    is_away.store(false, Ordering::Relaxed);
    pass(&clock, LONG / 2).await;
    let told = scene.heard(REPORTS).split_off(refused);
    assert_eq!(numbers(&told[0])[0], 1, "the first of all is still there");
    assert_eq!((told[0]["dropped"].as_i64(), agent.figures().dropped_reports), (Some(0), 0));
    tokio::time::resume();
    drop(clock);
    agent.stop().await;
}

#[tokio::test]
async fn of_many_reports_only_the_one_that_the_hub_refuses_is_dropped_and_that_is_told() {
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let scene = Scene::scripted(move |heard, _| {
        if heard.path != REPORTS {
            return Said::AsUsual;
        }
        if away.load(Ordering::Relaxed) {
            return Said::Instead(AWAY.to_owned());
        }
        let has_it = numbers(&serde_json::from_slice(&heard.body).unwrap()).contains(&3);
        if has_it { Said::Instead(problem(422, "invalid")) } else { Said::AsUsual }
    })
    .await;
    let agent = Running::of_hub(&scene);
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    let clock = Stepped::begin();
    pass(&clock, LONG + LONG / 2).await;
    is_away.store(false, Ordering::Relaxed);
    let before = scene.heard(REPORTS).len();
    pass(&clock, LONG / 2).await;
    let told = scene.heard(REPORTS).split_off(before);
    let taken: Vec<i64> = told.iter().map(numbers).filter(|batch| !batch.contains(&3)).flatten().collect();
    assert_eq!(taken[..4], [1, 2, 4, 5], "{taken:?}");
    assert_eq!(told.iter().map(|batch| batch["dropped"].as_i64().unwrap()).max(), Some(1));
    assert_eq!(agent.figures().dropped_reports, 1);
    tokio::time::resume();
    drop(clock);
    agent.stop().await;
}

#[tokio::test]
async fn a_hub_that_does_not_take_what_is_on_the_router_is_told_how_it_is() {
    let scene = Scene::scripted(|heard, _| match heard.path.as_str() {
        APPLIED => Said::Instead(problem(409, "key_taken")),
        _ => Said::AsUsual,
    })
    .await;
    let agent = Running::of_hub(&scene);
    until("what is on the router is refused", || !scene.heard(APPLIED).is_empty()).await;
    until("reports come", || !scene.heard(REPORTS).is_empty()).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_task_that_begins_anew_counts_its_reports_in_an_epoch_of_its_own() {
    let scene = Scene::scripted(|_, _| Said::AsUsual).await;
    let agent = Running::of_hub(&scene);
    until("reports come", || !scene.heard(REPORTS).is_empty()).await;
    let member = Member {
        name: "renamed".to_owned(),
        access: scene.world.access(),
        passwords: None,
        source: Running::source_of(&scene),
    };
    agent.fleets.send(vec![member]).await.unwrap();
    let epochs = || {
        let heard = scene.heard(REPORTS);
        heard.iter().map(|batch| batch["epoch"].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    until("another epoch", || epochs().len() == 2).await;
    agent.stop().await;
}
