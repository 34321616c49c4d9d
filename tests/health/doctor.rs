//! `sitepeer doctor`: before there is a tunnel, and after.

use std::net::SocketAddr;

use serde_json::Value;
use sitepeer::cli::{args, doctor};

use crate::meddler::{Fate, Meddler, said};
use crate::run::{Run, access, carry_out, for_people, from_file};
use crate::schema::problems;
use crate::site::SiteText;
use crate::world::{World, ip};

fn command(address: SocketAddr, site: &SiteText) -> args::Doctor {
    args::Doctor { access: access("admin", "", address), source: from_file(site.load()) }
}

async fn examine_at(address: SocketAddr, site: &SiteText) -> Run {
    let run = carry_out(async |reporter| doctor::run(command(address, site), reporter).await, async |_| {}).await;
    for line in run.events.iter().chain([&run.result]) {
        assert_eq!(problems("doctor", line), Vec::<String>::new(), "{line}");
    }
    assert_eq!(run.writes(), 0, "a doctor only looks");
    run
}

async fn examine(world: &World, site: &SiteText) -> Run {
    examine_at(world.router.api_addr(), site).await
}

fn codes(run: &Run) -> Vec<&str> {
    let findings = run.result["findings"].as_array().unwrap_or_else(|| panic!("no findings: {run:?}"));
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[track_caller]
fn assert_found(run: &Run, wanted: &[&str]) {
    assert_eq!(codes(run), wanted, "{run:?}");
    assert_eq!((run.exit(), run.result["result"].as_str()), (3, Some("found")), "{run:?}");
}

/// What the doctor finds on a router that somebody did something to, before there is a tunnel.
async fn before(change: impl AsyncFnOnce(&World, &mut SiteText)) -> Run {
    let world = World::start().await;
    let mut site = world.site();
    change(&world, &mut site).await;
    examine(&world, &site).await
}

#[tokio::test]
async fn a_router_that_is_well_is_told_so_before_and_after() {
    let world = World::start().await;
    let site = world.site();
    let run = examine(&world, &site).await;
    assert_eq!((codes(&run), run.exit()), (vec![], 0), "{run:?}");
    assert_eq!(run.result["state"], Value::Null);
    let unknown = run.result["unknown"].to_string();
    assert!(unknown.contains("only a handshake tells"), "what was not measured is never healthy: {unknown}");
    let handled = run.result["handled"].to_string();
    assert!(handled.contains("fasttrack-connection"), "{handled}");
    assert_eq!(run.result["sample"]["wan"], "203.0.113.10");

    world.provision(&site).await.assert_result("converged");
    let run = examine(&world, &site).await;
    assert_eq!((codes(&run), run.exit(), run.result["state"].as_str()), (vec![], 0, Some("up")), "{run:?}");
    let shown = for_people(async |reporter| doctor::run(command(world.router.api_addr(), &site), reporter).await).await;
    assert!(shown.contains("the tunnel is up") && shown.contains("nothing speaks against"), "{shown}");
}

#[tokio::test]
async fn a_tunnel_that_is_dead_has_its_cause() {
    let world = World::start().await;
    let site = world.site();
    world.provision(&site).await.assert_result("converged");
    world.router.inject("no-udp".parse().unwrap()).await;
    let run = examine(&world, &site).await;
    // Whoever looks for the first time saw no session of before, but the router remembers its handshake.
    assert_found(&run, &["no-udp-egress"]);
    assert_eq!(run.result["state"], "down");
}

#[tokio::test]
async fn a_name_that_the_router_cannot_resolve() {
    let run = before(async |_, site| site.endpoints = vec!["hub.example.invalid:51820".into()]).await;
    assert_found(&run, &["endpoint-unresolved"]);
    assert!(run.result["findings"][0]["hint"].as_str().unwrap().contains("/ip/dns/set"));
}

#[tokio::test]
async fn a_lan_that_overlaps_what_is_to_be_reached() {
    let run = before(async |world, _| {
        world.operator("/ip/address/add", &[("address", "192.168.89.1/24"), ("interface", "bridge")]).await;
    })
    .await;
    assert_eq!(codes(&run).first(), Some(&"overlap-with-lan"), "{run:?}");
    assert_eq!(run.exit(), 3);
}

#[tokio::test]
async fn a_clock_that_is_behind() {
    let run = before(async |world, _| world.router.inject("clock-jump=-3600".parse().unwrap()).await).await;
    assert_found(&run, &["clock-behind"]);
}

#[tokio::test]
async fn a_rule_that_drops_udp() {
    let rule = [("chain", "output"), ("action", "drop"), ("protocol", "udp")];
    let run = before(async |world, _| drop(world.operator("/ip/firewall/filter/add", &rule).await)).await;
    assert_found(&run, &["no-udp-egress"]);
}

#[tokio::test]
async fn a_router_without_a_way_to_the_internet() {
    let run = before(async |world, _| {
        world.operator("/ip/dhcp-client/disable", &[("numbers", "*1")]).await;
        world.router.inject("no-icmp".parse().unwrap()).await;
    })
    .await;
    assert_found(&run, &["wan-down"]);
}

#[tokio::test]
async fn a_way_too_narrow_for_the_tunnels_mtu() {
    // 1432 bytes of UDP are 1460 with its headers, of which WireGuard leaves 1400.
    let run = before(async |world, _| world.router.inject("drop-above=1432".parse().unwrap()).await).await;
    assert_found(&run, &["mtu-black-hole"]);
    assert!(run.result["findings"][0]["hint"].as_str().unwrap().contains("mtu=1400"), "{run:?}");
}

#[tokio::test]
async fn services_that_would_not_take_us_again() {
    let world = World::start().await;
    let site = world.site();
    // The service is switched off while the doctor is in: a session that is there stays.
    let mut first = true;
    let api = world.router.api_addr();
    let command = command(api, &site);
    let run = carry_out(
        async |reporter| doctor::run(command, reporter).await,
        async |event| {
            if event["step"] == "connect" && std::mem::take(&mut first) {
                for service in ["api", "api-ssl"] {
                    world.operator("/ip/service/set", &[(".id", service), ("disabled", "yes")]).await;
                }
            }
        },
    )
    .await;
    assert_found(&run, &["service-closed"]);
}

#[tokio::test]
async fn device_mode_and_ntp_are_asked_and_a_router_that_refuses_is_unknown() {
    let world = World::start().await;
    let site = world.site();
    let answer = |command: &crate::meddler::Said| match command[0].as_slice() {
        b"/system/device-mode/print" => {
            Fate::Answer(vec![said(&["!re", "=mode=home", "=scheduler=false"]), said(&["!done"])])
        }
        b"/system/ntp/client/print" => Fate::Answer(vec![said(&["!re", "=enabled=false"]), said(&["!done"])]),
        _ => Fate::Pass,
    };
    let between = Meddler::start(&world.router, answer, |_, said| vec![said]).await;
    let run = examine_at(between.address, &site).await;
    assert_found(&run, &["device-mode-blocks", "clock-unsynchronized"]);
    let refuse = |command: &crate::meddler::Said| match command[0].as_slice() {
        b"/system/device-mode/print" | b"/system/ntp/client/print" => {
            Fate::Answer(vec![said(&["!trap", "=message=no such command prefix"]), said(&["!done"])])
        }
        _ => Fate::Pass,
    };
    let between = Meddler::start(&world.router, refuse, |_, said| vec![said]).await;
    let run = examine_at(between.address, &site).await;
    assert_eq!((codes(&run), run.exit()), (vec![], 0), "{run:?}");
    let unknown = run.result["unknown"].to_string();
    assert!(unknown.contains("device-mode") && unknown.contains("NTP"), "{unknown}");
}

#[tokio::test]
async fn safe_mode_that_somebody_holds_is_found_with_who_it_is() {
    let held = before(async |world, _| drop(world.operator("/safe-mode/take", &[]).await)).await;
    assert_found(&held, &["safe-mode-held"]);
    assert!(held.result["findings"][0]["evidence"].as_str().unwrap().contains("user admin"), "{held:?}");
    // A router that has none is not asked.
    let world = World::start_with(|options| options.version = "7.17.1".parse().unwrap()).await;
    let asked = |command: &crate::meddler::Said| {
        assert!(!command[0].starts_with(b"/safe-mode"), "asked an old router");
        Fate::Pass
    };
    let between = Meddler::start(&world.router, asked, |_, said| vec![said]).await;
    let run = examine_at(between.address, &world.site()).await;
    assert_eq!((codes(&run), run.exit()), (vec![], 0), "{run:?}");
}

#[tokio::test]
async fn a_guard_is_found_with_what_becomes_of_it() {
    let script = [("name", "sitepeer-guard"), ("source", ":put 1"), ("comment", "sitepeer:k3f9q2:guard")];
    let left = before(async |world, _| drop(world.operator("/system/script/add", &script).await)).await;
    // It harms nothing.
    assert_eq!((codes(&left), left.exit()), (vec!["guard-left-over"], 0), "{left:?}");
    let timer =
        [("name", "sitepeer-guard"), ("on-event", "sitepeer-guard"), ("interval", "1h"), ("comment", script[2].1)];
    let armed = before(async |world, _| {
        world.operator("/system/script/add", &script).await;
        world.operator("/system/scheduler/add", &timer).await;
    });
    let armed = armed.await;
    assert_found(&armed, &["guard-armed"]);
    assert!(armed.result["findings"][0]["evidence"].as_str().unwrap().contains("puts itself back"), "{armed:?}");
}

#[tokio::test]
async fn a_router_that_is_not_there_ends_with_4() {
    let world = World::start().await;
    let site = world.site();
    let nobody = SocketAddr::new(ip("127.0.0.1"), 1);
    let run = carry_out(async |reporter| doctor::run(command(nobody, &site), reporter).await, async |_| {}).await;
    assert_eq!(run.exit(), 4, "{run:?}");
    assert_eq!(problems("doctor", &run.result), Vec::<String>::new());
}
