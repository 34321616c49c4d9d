//! The cause matrix of tunnels that carry nothing: each fault has its own code within a minute, and none beside it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use sitepeer::api::TunnelState::{Disabled, Down};
use sitepeer::health::HubView;
use sitepeer::wireguard::keys;

use crate::site::SiteText;
use crate::watch::Watch;
use crate::world::{World, ip};

/// A name that the simulated router resolves to the hub.
const HUB_NAME: &str = "hub.example.net";

/// A world whose hub is known by name.
async fn by_name() -> Watch {
    let change = |options: &mut sitepeer::sim::SimOptions| options.names = vec![(HUB_NAME.to_owned(), ip("127.0.0.1"))];
    let named = |site: SiteText| {
        let port = site.endpoints[0].rsplit_once(':').unwrap().1.to_owned();
        SiteText { endpoints: vec![format!("{HUB_NAME}:{port}")], ..site }
    };
    Watch::up_with(change, named).await
}

async fn fault(watch: &Watch, fault: &str) {
    watch.world.router.inject(fault.parse().unwrap()).await;
}

async fn udp_is_blocked_and_the_hub_says_that_its_gateway_lives() {
    let mut watch = Watch::up().await;
    let view = watch.hub_view().await;
    watch.monitor.set_hub(view);
    fault(&watch, "no-udp").await;
    watch.until_shown(Down, &["no-udp-egress"]).await;
}

async fn udp_is_blocked_and_no_hub_says_anything() {
    let mut watch = Watch::up().await;
    fault(&watch, "no-udp").await;
    watch.until_shown(Down, &["no-udp-egress"]).await;
}

async fn a_rule_of_the_routers_own_drops_udp() {
    let mut watch = Watch::up().await;
    // The simulated router's WireGuard does not pass its filter: the fault does what the rule would.
    fault(&watch, "no-udp").await;
    let rule = [("chain", "output"), ("action", "drop"), ("protocol", "udp")];
    watch.world.operator("/ip/firewall/filter/add", &rule).await;
    let report = watch.until_shown(Down, &["no-udp-egress"]).await;
    assert!(report.findings[0].evidence.contains("chain=output action=drop protocol=udp"), "{report:#?}");
}

async fn the_hubs_gateway_is_away() {
    let mut watch = Watch::up().await;
    watch.world.hub.set_black_hole(true);
    let view = HubView { gateway_online: Some(false), ..watch.hub_view().await };
    watch.monitor.set_hub(view);
    watch.until_shown(Down, &["hub-down"]).await;
}

async fn the_hubs_host_is_away_and_no_hub_says_anything() {
    let mut watch = Watch::up().await;
    watch.world.hub.set_black_hole(true);
    fault(&watch, "no-icmp").await;
    watch.until_shown(Down, &["hub-down"]).await;
}

async fn the_line_is_dead() {
    let mut watch = Watch::up().await;
    fault(&watch, "no-wan").await;
    watch.until_shown(Down, &["wan-down"]).await;
}

async fn the_hub_has_another_key_for_this_router() {
    let mut watch = Watch::up().await;
    let ours = watch.public_key().await.unwrap().to_string();
    let other = STANDARD.encode(keys::generate_private().unwrap().public());
    let key: [u8; 32] = STANDARD.decode(&ours).unwrap().try_into().unwrap();
    assert!(watch.world.hub.remove_peer(&key).await.unwrap());
    watch.world.hub.set_peer(watch.site.hub_peer(&other)).await.unwrap();
    let view = HubView { public_key: other.parse().ok(), ..watch.hub_view().await };
    watch.monitor.set_hub(view);
    let report = watch.until_shown(Down, &["wrong-key"]).await;
    assert!(report.findings[0].evidence.contains(&other) && report.findings[0].hint.contains(&ours));
}

async fn the_router_has_another_key_for_the_hub() {
    let mut watch = Watch::up().await;
    let other = STANDARD.encode(keys::generate_private().unwrap().public());
    let id = watch.world.id_of("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub");
    watch.world.operator("/interface/wireguard/peers/set", &[(".id", &id), ("public-key", &other)]).await;
    watch.until_shown(Down, &["wrong-key"]).await;
}

async fn the_clock_went_back() {
    let mut watch = Watch::up().await;
    fault(&watch, "clock-jump=-86000").await;
    watch.world.router.reboot().await;
    watch.reconnect().await;
    let report = watch.until_shown(Down, &["clock-behind"]).await;
    assert!(report.findings[0].hint.contains("/system/ntp/client/set"));
}

async fn the_hubs_name_is_not_resolved() {
    let mut watch = by_name().await;
    watch.world.router.set_name(HUB_NAME, None).await.unwrap();
    watch.world.hub.set_black_hole(true);
    let report = watch.until_shown(Down, &["endpoint-unresolved"]).await;
    assert!(report.findings[0].evidence.contains(HUB_NAME));
}

async fn the_hubs_name_stands_for_another_address() {
    let mut watch = by_name().await;
    watch.world.router.set_name(HUB_NAME, Some(ip("127.0.0.2"))).await.unwrap();
    watch.world.hub.set_black_hole(true);
    let report = watch.until_shown(Down, &["stale-endpoint"]).await;
    assert!(report.findings[0].evidence.contains("127.0.0.2"), "{report:#?}");
    assert!(report.findings[0].hint.contains("/interface/wireguard/peers/set"), "{report:#?}");
}

async fn somebody_disabled_the_interface() {
    let mut watch = Watch::up().await;
    watch.world.operator("/interface/wireguard/disable", &[("numbers", "sitepeer-acme")]).await;
    let report = watch.until_shown(Down, &["interface-disabled"]).await;
    assert_eq!(report.findings[0].hint, "/interface/wireguard/enable [find name=\"sitepeer-acme\"]");
}

async fn somebody_removed_the_interface() {
    let mut watch = Watch::up().await;
    watch.world.operator("/interface/wireguard/remove", &[("numbers", "sitepeer-acme")]).await;
    watch.until_shown(Down, &["interface-missing"]).await;
}

async fn somebody_disabled_the_peer() {
    let mut watch = Watch::up().await;
    let id = watch.world.id_of("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub");
    watch.world.operator("/interface/wireguard/peers/disable", &[("numbers", &id)]).await;
    watch.until_shown(Down, &["peer-disabled"]).await;
}

async fn somebody_removed_the_peer() {
    let mut watch = Watch::up().await;
    let id = watch.world.id_of("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub");
    watch.world.operator("/interface/wireguard/peers/remove", &[("numbers", &id)]).await;
    watch.until_shown(Down, &["peer-missing"]).await;
}

async fn the_hub_switched_the_peer_off() {
    let mut watch = Watch::up().await;
    let key = watch.public_key().await.unwrap().to_string();
    let key: [u8; 32] = STANDARD.decode(key).unwrap().try_into().unwrap();
    assert!(watch.world.hub.remove_peer(&key).await.unwrap());
    let view = HubView { enabled: Some(false), ..watch.hub_view().await };
    watch.monitor.set_hub(view);
    watch.until_shown(Disabled, &["peer-disabled-at-hub"]).await;
}

async fn a_hub_that_never_knew_this_router() {
    let world = World::start().await;
    let site = world.site();
    assert_eq!(world.apply_only(&site).await.exit(), 3);
    let mut watch = Watch::over(world, site).await;
    watch.until_shown(Down, &["no-reply"]).await;
}

async fn a_router_without_any_row_of_ours() {
    let world = World::start().await;
    let site = world.site();
    let mut watch = Watch::over(world, site).await;
    watch.until_shown(Down, &["not-provisioned"]).await;
}

/// All wait most of the time, so they run side by side; each has a world of its own.
#[tokio::test]
async fn each_cause_of_silence_has_its_code_within_a_minute_and_none_beside_it() {
    let cases: Vec<(&str, LocalBoxFuture<'_, ()>)> = vec![
        ("udp, with a hub", udp_is_blocked_and_the_hub_says_that_its_gateway_lives().boxed_local()),
        ("udp, alone", udp_is_blocked_and_no_hub_says_anything().boxed_local()),
        ("udp, own rule", a_rule_of_the_routers_own_drops_udp().boxed_local()),
        ("gateway away", the_hubs_gateway_is_away().boxed_local()),
        ("hub's host away", the_hubs_host_is_away_and_no_hub_says_anything().boxed_local()),
        ("line", the_line_is_dead().boxed_local()),
        ("key at the hub", the_hub_has_another_key_for_this_router().boxed_local()),
        ("key here", the_router_has_another_key_for_the_hub().boxed_local()),
        ("clock", the_clock_went_back().boxed_local()),
        ("name unresolved", the_hubs_name_is_not_resolved().boxed_local()),
        ("name elsewhere", the_hubs_name_stands_for_another_address().boxed_local()),
        ("interface disabled", somebody_disabled_the_interface().boxed_local()),
        ("interface removed", somebody_removed_the_interface().boxed_local()),
        ("peer disabled", somebody_disabled_the_peer().boxed_local()),
        ("peer removed", somebody_removed_the_peer().boxed_local()),
        ("peer off at the hub", the_hub_switched_the_peer_off().boxed_local()),
        ("never known", a_hub_that_never_knew_this_router().boxed_local()),
        ("nothing there", a_router_without_any_row_of_ours().boxed_local()),
    ];
    let caught = cases.into_iter().map(|(name, case)| async move {
        let ended = std::panic::AssertUnwindSafe(case).catch_unwind().await;
        ended.err().map(|_| name)
    });
    let failed: Vec<&str> = join_all(caught).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "see above why: {failed:?}");
}

#[tokio::test]
async fn a_router_that_does_not_answer_is_stale_after_three_minutes_and_unknown_if_it_never_did() {
    use sitepeer::api::TunnelState;
    use sitepeer::health::Missed;
    let mut watch = Watch::up().await;
    let lost = watch.now();
    let report = watch.monitor.missed(Missed::Silent, lost.plus(Duration::from_secs(30)));
    assert_eq!((report.state, report.findings[0].code.as_str()), (TunnelState::Up, "router-unreachable"));
    let report = watch.monitor.missed(Missed::Closed, lost.plus(Duration::from_secs(200)));
    assert_eq!((report.state, report.findings[0].code.as_str()), (TunnelState::Stale, "service-closed"));
    let report = watch.monitor.missed(Missed::LoginRefused, lost.plus(Duration::from_secs(1000)));
    assert_eq!(report.findings[0].code, "login-refused");
    assert_eq!(report.sample.handshake_age_secs, None, "what was measured long ago is unknown");
}
