//! Reports of a proxy that wait for the hub survive `kill -9`.
#![cfg(feature = "proxy")]

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::hub::{PEER, Said, Scene};
use crate::running::until;

const REPORTS: &str = "/v1/agent/reports";
const AWAY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn proxy(scene: &Scene) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sitepeer"));
    command.args(["proxy", "--fleet"]).arg(scene.path("fleet.toml")).arg("--state-dir").arg(scene.path("state"));
    command.args(["--start-within", "0"]).env_clear().env("ROUTERS", "").env("XDG_RUNTIME_DIR", scene.folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// Numbers of the reports that wait, by the file.
fn kept(scene: &Scene) -> Vec<i64> {
    let text = std::fs::read_to_string(scene.path("state").join(format!("{PEER}.reports"))).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["put"]["report"]["number"].as_i64()).collect()
}

fn numbers(batch: &Value) -> Vec<i64> {
    batch["reports"].as_array().unwrap().iter().map(|report| report["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn what_the_hub_did_not_hear_is_told_by_the_next_process_as_what_it_was_and_first() {
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let scene = Scene::scripted(move |heard, _| {
        let refuses = away.load(Ordering::Relaxed) && heard.path.starts_with(REPORTS);
        if refuses { Said::Instead(AWAY.to_owned()) } else { Said::AsUsual }
    })
    .await;
    scene.provision().await.assert_result("converged");
    let text = format!(
        "version = 1\n[defaults]\nhub = \"{}\"\npassword_env = \"ROUTERS\"\n[[router]]\nname = \"one\"\nurl = \"api://admin@{}\"\n\
         hub_credential = \"token.credential\"\n",
        scene.url(),
        scene.world.router.api_addr()
    );
    std::fs::write(scene.path("fleet.toml"), text).unwrap();
    let before = scene.heard(REPORTS).len();
    is_away.store(true, Ordering::Relaxed);
    let mut first = proxy(&scene);
    until("a report is refused", || scene.heard(REPORTS).len() > before).await;
    first.kill().await.unwrap();
    let waits = kept(&scene);
    assert!(!waits.is_empty(), "nothing is on the disk");
    let epoch = scene.heard(REPORTS)[before]["epoch"].clone();
    let after = scene.heard(REPORTS).len();
    is_away.store(false, Ordering::Relaxed);
    let mut second = proxy(&scene);
    until("a report of the second arrives", || {
        scene.heard(REPORTS)[after..].iter().any(|batch| batch["epoch"] != epoch)
    })
    .await;
    second.kill().await.unwrap();
    let told = scene.heard(REPORTS).split_off(after);
    assert_eq!((&told[0]["epoch"], numbers(&told[0])), (&epoch, waits), "first, and as it was");
    assert_eq!(told.iter().filter(|batch| batch["epoch"] == epoch).count(), 1, "once");
}
