//! Tunnels that are in place and carry nothing: the likely cause comes first.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sitepeer::wireguard::keys;

use crate::run::Run;
use crate::site::SiteText;
use crate::world::{SHORT_PROOF, World};

async fn unproven(world: &World, site: &SiteText) -> Run {
    let run = world.provision_as(site, |command| command.proof_timeout = SHORT_PROOF).await;
    run.assert_result("unproven");
    assert_eq!(run.exit(), 3);
    run
}

#[track_caller]
fn assert_first_cause(run: &Run, code: &str, words: &str) {
    assert_eq!(run.causes()[0], code, "{run:?}");
    let first = &run.result["causes"][0];
    let told = format!("{} {}", first["message"].as_str().unwrap(), first["hint"].as_str().unwrap());
    assert!(told.contains(words), "{told}");
}

#[tokio::test]
async fn a_hub_that_does_not_answer() {
    let world = World::start().await;
    world.hub.set_black_hole(true);
    let run = unproven(&world, &world.site()).await;
    let public_key = run.result["public_key"].as_str().unwrap();
    assert_first_cause(&run, "no-reply", &format!("no reply on UDP from {}", world.hub.endpoint()));
    assert_first_cause(&run, "no-reply", public_key);
    world.hub.set_black_hole(false);
    world.provision(&world.site()).await.assert_result("converged");
}

#[tokio::test]
async fn a_hub_that_has_another_key_for_this_router() {
    let world = World::start().await;
    let mut run = world.apply_only(&world.site()).await;
    assert_eq!(run.exit(), 3);
    // Nobody entered the key: WireGuard says nothing to a stranger.
    run = {
        let mut command = crate::run::provision_of(world.access(), world.site().load());
        command.proof_timeout = SHORT_PROOF;
        crate::run::provision(command, async |_| {}).await
    };
    assert_eq!(&run.causes()[..2], ["no-reply", "wrong-key"], "{run:?}");
}

#[tokio::test]
async fn a_hub_whose_key_is_not_the_one_of_the_config() {
    let world = World::start().await;
    let other = STANDARD.encode(keys::generate_private().unwrap().public());
    let site = SiteText { hub_key: other, ..world.site() };
    let run = unproven(&world, &site).await;
    assert!(run.causes().contains(&"wrong-key"), "{run:?}");
}

#[tokio::test]
async fn a_hub_with_another_preshared_key() {
    let world = World::start().await;
    let site = SiteText { preshared_key: Some([7; 32]), ..world.site() };
    let other = SiteText { preshared_key: Some([8; 32]), ..world.site() };
    let mut command = crate::run::provision_of(world.access(), site.load());
    command.proof_timeout = SHORT_PROOF;
    let run = crate::run::provision(command, async |event| {
        if event["event"] == "public_key" {
            world.hub.set_peer(other.hub_peer(event["public_key"].as_str().unwrap())).await.unwrap();
        }
    })
    .await;
    assert_eq!(run.exit(), 3);
    assert!(run.causes().iter().any(|code| ["wrong-key", "preshared-key"].contains(code)), "{run:?}");
}

#[tokio::test]
async fn a_clock_that_is_behind_the_last_handshake_the_hub_saw() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    world.router.inject("clock-jump=-86000".parse().unwrap()).await;
    world.router.reboot().await;
    crate::cuts::until_it_answers(&world).await;
    let run = unproven(&world, &world.site()).await;
    assert_first_cause(&run, "clock-behind", "the router's clock is");
}

#[tokio::test]
async fn an_endpoint_whose_name_the_router_cannot_resolve() {
    let world = World::start().await;
    let port = world.hub.endpoint().port();
    let site = SiteText { endpoints: vec![format!("hub.example.invalid:{port}")], ..world.site() };
    let run = unproven(&world, &site).await;
    assert_first_cause(&run, "endpoint-unresolved", "hub.example.invalid");
}

#[tokio::test]
async fn an_interface_that_was_disabled_during_the_wait() {
    let world = World::start().await;
    world.hub.set_black_hole(true);
    let site = world.site();
    let mut command = crate::run::provision_of(world.access(), site.load());
    command.proof_timeout = SHORT_PROOF;
    let run = crate::run::provision(command, async |event| {
        if event["step"] == "prove" {
            world.operator("/interface/wireguard/disable", &[("numbers", "sitepeer-acme")]).await;
        }
    })
    .await;
    assert_first_cause(&run, "interface-disabled", "disabled meanwhile");
}

#[tokio::test]
async fn a_route_that_another_one_shadows() {
    let world = World::start().await;
    let site = SiteText { probe: vec!["192.168.89.1".into()], ..world.site() };
    let mut command = crate::run::provision_of(world.access(), site.load());
    command.proof_timeout = SHORT_PROOF;
    let run = crate::run::provision(command, async |event| {
        if event["event"] == "public_key" {
            let route = [("dst-address", "192.168.89.0/28"), ("gateway", "192.168.88.254")];
            world.operator("/ip/route/add", &route).await;
            world.hub.set_peer(site.hub_peer(event["public_key"].as_str().unwrap())).await.unwrap();
        }
    })
    .await;
    assert_eq!(run.exit(), 3);
    assert_first_cause(&run, "route-shadowed", "192.168.89.0/28");
}

#[tokio::test]
async fn a_probe_that_does_not_answer() {
    let world = World::start().await;
    let site = SiteText { probe: vec!["10.99.0.77".into()], ..world.site() };
    let run = world.provision_as(&site, |command| command.proof_timeout = Duration::from_secs(4)).await;
    assert_eq!(run.exit(), 3);
    assert_first_cause(&run, "no-answer", "10.99.0.77 does not answer through the tunnel");
}
