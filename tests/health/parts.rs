//! The cause matrix of tunnels that live and do not carry everything.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use sitepeer::api::TunnelState::{Degraded, Up};

use crate::watch::{Watch, codes};

/// Somebody changes something by hand; the agent hears of it by `listen` and says so.
async fn by_hand(watch: &mut Watch, path: &str, attrs: &[(&str, &str)]) {
    watch.world.operator(path, attrs).await;
    watch.monitor.changed();
}

fn row_of(watch: &Watch, menu: &str, role: &str) -> String {
    watch.world.id_of(menu, "comment", &format!("sitepeer:k3f9q2:{role}"))
}

async fn long_packets_vanish() {
    let mut watch = Watch::up().await;
    watch.world.router.inject("drop-above=1440".parse().unwrap()).await;
    let report = watch.until_shown(Degraded, &["mtu-black-hole"]).await;
    // WireGuard adds 32 bytes and fills up to a multiple of 16.
    assert!(report.findings[0].evidence.contains("have 1400"), "{report:#?}");
    assert_eq!(report.sample.mtu, Some(1400));
    watch.world.router.clear_faults();
    // Every second look sends a long packet.
    watch.cycle().await;
    let report = watch.cycle().await;
    assert_eq!((codes(&report), report.state), (vec![], Up), "{report:#?}");
}

async fn a_narrower_route_wins() {
    let mut watch = Watch::up().await;
    let route = [("dst-address", "192.168.89.0/28"), ("gateway", "192.168.88.254")];
    by_hand(&mut watch, "/ip/route/add", &route).await;
    watch.until_shown(Degraded, &["route-shadowed"]).await;
}

async fn the_peer_lets_less_in() {
    let mut watch = Watch::up().await;
    let id = row_of(&watch, "/interface/wireguard/peers", "hub");
    let attrs = [(".id", id.as_str()), ("allowed-address", "10.99.0.0/24")];
    by_hand(&mut watch, "/interface/wireguard/peers/set", &attrs).await;
    let report = watch.until_shown(Degraded, &["allowed-address-mismatch"]).await;
    assert!(report.findings[0].evidence.contains("192.168.89.0/24"), "{report:#?}");
}

async fn source_nat_comes_first() {
    let mut watch = Watch::up().await;
    let first = watch.world.router.state(sitepeer::sim::StateOptions { ids: true, dynamic: false });
    let first = String::from_utf8(first.rows("/ip/firewall/nat")[0][".id"].clone()).unwrap();
    let attrs = [("chain", "srcnat"), ("action", "masquerade"), ("place-before", first.as_str())];
    by_hand(&mut watch, "/ip/firewall/nat/add", &attrs).await;
    watch.until_shown(Degraded, &["nat-breaks-tunnel"]).await;
}

async fn fasttrack_comes_first() {
    let mut watch = Watch::up().await;
    let first = row_of(&watch, "/ip/firewall/filter", "fwd-in");
    let attrs = [("chain", "forward"), ("action", "fasttrack-connection"), ("place-before", first.as_str())];
    by_hand(&mut watch, "/ip/firewall/filter/add", &attrs).await;
    watch.until_shown(Degraded, &["fasttrack-conflict"]).await;
}

async fn a_drop_comes_first() {
    let mut watch = Watch::up().await;
    let first = row_of(&watch, "/ip/firewall/filter", "fwd-in");
    let attrs =
        [("chain", "forward"), ("action", "drop"), ("src-address", "10.0.0.0/8"), ("place-before", first.as_str())];
    by_hand(&mut watch, "/ip/firewall/filter/add", &attrs).await;
    watch.until_shown(Degraded, &["firewall-blocks"]).await;
}

async fn the_lan_gets_an_address_of_the_other_site() {
    let mut watch = Watch::up().await;
    let attrs = [("address", "192.168.89.1/24"), ("interface", "bridge")];
    by_hand(&mut watch, "/ip/address/add", &attrs).await;
    watch.until_shown(Degraded, &["overlap-with-lan"]).await;
}

async fn a_row_of_ours_is_gone() {
    let mut watch = Watch::up().await;
    let id = row_of(&watch, "/ip/firewall/address-list", "theirs:192.168.89.0/24");
    by_hand(&mut watch, "/ip/firewall/address-list/remove", &[("numbers", &id)]).await;
    watch.until_shown(Degraded, &["rows-drifted"]).await;
}

async fn the_marker_is_there_twice() {
    let mut watch = Watch::up().await;
    let copy = [("list", "other"), ("address", "10.9.9.9"), ("comment", "sitepeer:k3f9q2:theirs:192.168.89.0/24")];
    by_hand(&mut watch, "/ip/firewall/address-list/add", &copy).await;
    watch.until_shown(Degraded, &["rows-ambiguous"]).await;
}

async fn both_services_are_switched_off() {
    let mut watch = Watch::up().await;
    for service in ["api", "api-ssl"] {
        by_hand(&mut watch, "/ip/service/set", &[(".id", service), ("disabled", "yes")]).await;
    }
    watch.until_shown(Degraded, &["service-closed"]).await;
}

async fn the_services_are_open_to_others_only() {
    let mut watch = Watch::up().await;
    for service in ["api", "api-ssl"] {
        by_hand(&mut watch, "/ip/service/set", &[(".id", service), ("available-from", "10.0.0.0/8")]).await;
    }
    watch.until_shown(Degraded, &["service-closed"]).await;
}

async fn our_interface_is_called_otherwise() {
    let mut watch = Watch::up().await;
    let attrs = [(".id", "sitepeer-acme"), ("name", "office")];
    watch.world.operator("/interface/wireguard/set", &attrs).await;
    // Nobody says so: our peer is not found under the old name, and looked for by its marker.
    watch.cycle().await;
    let report = watch.cycle().await;
    assert_eq!((codes(&report), report.state), (vec!["rows-drifted"], Degraded), "{report:#?}");
    assert!(report.findings[0].evidence.contains("office"), "{report:#?}");
    for _ in 0..4 {
        let report = watch.cycle().await;
        assert_eq!((codes(&report), report.state), (vec!["rows-drifted"], Degraded), "{report:#?}");
    }
}

async fn the_router_started_anew() {
    let mut watch = Watch::up().await;
    watch.world.router.advance(std::time::Duration::from_hours(1));
    watch.reconnect().await;
    watch.cycle().await;
    watch.world.router.reboot().await;
    watch.reconnect().await;
    let report = watch.until(|report| !report.findings.is_empty()).await;
    assert_eq!((codes(&report), report.state), (vec!["router-rebooted"], Up), "{report:#?}");
}

/// Each has a world of its own.
#[tokio::test]
async fn each_cause_of_a_part_that_is_missing_has_its_code_and_none_beside_it() {
    let cases: Vec<(&str, LocalBoxFuture<'_, ()>)> = vec![
        ("mtu", long_packets_vanish().boxed_local()),
        ("route", a_narrower_route_wins().boxed_local()),
        ("allowed", the_peer_lets_less_in().boxed_local()),
        ("nat", source_nat_comes_first().boxed_local()),
        ("fasttrack", fasttrack_comes_first().boxed_local()),
        ("drop", a_drop_comes_first().boxed_local()),
        ("overlap", the_lan_gets_an_address_of_the_other_site().boxed_local()),
        ("drift", a_row_of_ours_is_gone().boxed_local()),
        ("twice", the_marker_is_there_twice().boxed_local()),
        ("service", both_services_are_switched_off().boxed_local()),
        ("service, limited", the_services_are_open_to_others_only().boxed_local()),
        ("renamed", our_interface_is_called_otherwise().boxed_local()),
        ("reboot", the_router_started_anew().boxed_local()),
    ];
    let caught = cases
        .into_iter()
        .map(|(name, case)| async move { AssertUnwindSafe(case).catch_unwind().await.err().map(|_| name) });
    let failed: Vec<&str> = join_all(caught).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "see above why: {failed:?}");
}
