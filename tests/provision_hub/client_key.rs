//! `client-key`: the private key is made here and stays here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sitepeer::cli::args::ClientKey;
use sitepeer::cli::client_key;
use sitepeer::domain::Secret;
use sitepeer::wireguard::keys::SecretKey;

use crate::fake;
use crate::hub::{Said, Scene, TOKEN};
use crate::run::{self, Run};

const PROFILE: &str = "[Interface]\nPrivateKey = [YOUR_PRIVATE_KEY]\nAddress = 10.99.0.7/32\n\n[Peer]\nPublicKey = x\n";

fn reply(profile: &str) -> Value {
    json!({
        "kind": "client", "peer": "c1c1c1c1", "instance": "i1i1i1i1", "instance_name": "acme",
        "interface": "acme", "profile": profile,
    })
}

async fn serving(profile: &'static str) -> Scene {
    Scene::scripted(move |_, _| Said::Instead(fake::json(&reply(profile).to_string()))).await
}

async fn run_it(scene: &Scene, is_forced: bool) -> Run {
    let command = ClientKey {
        hub: scene.hub(),
        token: Secret::new(TOKEN.to_owned()),
        out: scene.path("laptop.conf"),
        is_forced,
        timeout: Duration::from_secs(3),
    };
    run::carry_out(async |reporter| client_key::run(command, reporter).await, async |_| {}).await
}

#[tokio::test]
async fn the_profile_has_a_private_key_that_only_this_machine_has_seen() {
    let scene = serving(PROFILE).await;
    let done = run_it(&scene, false).await;
    done.assert_result("done");
    let profile = fs::read_to_string(scene.path("laptop.conf")).unwrap();
    let key = profile.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    let bytes: [u8; 32] = STANDARD.decode(key).unwrap().try_into().unwrap();
    let public = STANDARD.encode(SecretKey::from(bytes).public());
    let asked = scene.heard("/v1/enroll");
    assert_eq!((&asked[0]["public_key"], &done.result["public_key"]), (&json!(public), &json!(public)));
    assert!(!format!("{asked:?}{done:?}").contains(key), "the private key was told");
    assert_eq!(fs::metadata(scene.path("laptop.conf")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(scene.folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let scene = Scene::scripted(|_, earlier| match earlier {
        0 => Said::Instead(fake::problem(500, "internal", "retry-after: 0\r\n")),
        1 => Said::Instead(fake::problem(401, "token-expired", "")),
        _ => Said::Instead(fake::json(&reply(PROFILE).to_string())),
    })
    .await;
    assert_eq!(run_it(&scene, false).await.failed(), (6, "hub-refused"));
    assert!(!scene.path("laptop.conf").exists());
    run_it(&scene, false).await.assert_result("done");
    let asked = scene.heard("/v1/enroll");
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|ask| ask["public_key"] == asked[0]["public_key"] && ask["device_nonce"] == asked[0]["device_nonce"])
    );
}

#[tokio::test]
async fn a_profile_that_is_there_is_not_written_over_unless_that_is_said() {
    let scene = serving(PROFILE).await;
    fs::write(scene.path("laptop.conf"), "precious").unwrap();
    assert_eq!(run_it(&scene, false).await.exit(), 2);
    assert_eq!(fs::read_to_string(scene.path("laptop.conf")).unwrap(), "precious");
    run_it(&scene, true).await.assert_result("done");
}

#[tokio::test]
async fn a_profile_with_commands_in_it_or_without_a_place_for_the_key_is_not_written() {
    for profile in [
        "[Interface]\nPrivateKey = [YOUR_PRIVATE_KEY]\nPostUp = rm -rf /\n",
        "[Interface]\nPrivateKey = [YOUR_PRIVATE_KEY]\n  postup=curl evil\n",
        "[Interface]\nAddress = 10.0.0.1/32\n",
        "[Interface]\nPrivateKey = [YOUR_PRIVATE_KEY]\nPrivateKey = [YOUR_PRIVATE_KEY]\n",
    ] {
        let scene = serving(profile).await;
        assert_eq!(run_it(&scene, false).await.failed(), (6, "hub-garbage"), "{profile}");
        assert!(!scene.path("laptop.conf").exists());
    }
}
