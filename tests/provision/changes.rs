//! A config that changes, and hands that change what we made.

use std::time::{Duration, Instant};

use sitepeer::cli::args::Subject;
use tokio::sync::oneshot;

use crate::run::{Run, access};
use crate::site::SiteText;
use crate::world::{INSTALLER, LONG_PROOF, SHORT_PROOF, World, assert_same, ip, shape, with_ids};

async fn provisioned(site: impl FnOnce(&World) -> SiteText) -> (World, SiteText) {
    let world = World::start().await;
    let site = site(&world);
    world.provision(&site).await.assert_result("converged");
    (world, site)
}

/// Provisions a changed config and returns what was written; the router then is as one that never had the other config.
async fn change(edit: impl FnOnce(&mut SiteText)) -> Vec<String> {
    let (world, mut site) = provisioned(World::site).await;
    edit(&mut site);
    let run = world.provision(&site).await;
    run.assert_result("converged");
    let fresh = World::start_with(|options| options.plane = false).await;
    fresh.apply_only(&site).await.assert_result("unproven");
    assert_same(&shape(&fresh), &shape(&world), "a fresh router and the changed one");
    run.written()
}

#[tokio::test]
async fn one_more_prefix_to_reach_is_one_entry_one_route_and_one_set() {
    let written = change(|site| site.reach.push("192.168.90.0/24".into())).await;
    assert_eq!(
        written,
        [
            "add /ip/firewall/address-list theirs:192.168.90.0/24 list,address",
            "set /interface/wireguard/peers hub allowed-address",
            "add /ip/route route:192.168.90.0/24 dst-address,gateway",
        ]
    );
}

#[tokio::test]
async fn one_prefix_less_to_reach_takes_its_rows_out_last() {
    let written = change(|site| site.reach.retain(|net| net != "192.168.89.0/24")).await;
    assert_eq!(
        written,
        [
            "set /interface/wireguard/peers hub allowed-address",
            "remove /ip/route route:192.168.89.0/24",
            "remove /ip/firewall/address-list theirs:192.168.89.0/24",
        ]
    );
}

#[tokio::test]
async fn another_subnet_to_offer_is_one_entry() {
    let written = change(|site| site.advertise = vec!["192.168.88.0/25".into()]).await;
    assert_eq!(
        written,
        [
            "add /ip/firewall/address-list ours:192.168.88.0/25 list,address",
            "remove /ip/firewall/address-list ours:192.168.88.0/24",
        ]
    );
}

#[tokio::test]
async fn mtu_port_and_name_are_set_on_the_interface() {
    let written = change(|site| site.mtu = Some(1400)).await;
    assert_eq!(written, ["set /interface/wireguard if mtu"]);
    let written = change(|site| site.listen_port = Some(13299)).await;
    let [first, second] = &written[..] else { panic!("{written:?}") };
    assert_eq!(first, "set /interface/wireguard if listen-port");
    assert!(second.starts_with("add /ip/firewall/filter in-wg "), "{second}");
    assert_eq!(change(|site| site.instance = "acme-two".into()).await, ["set /interface/wireguard if name"]);
}

#[tokio::test]
async fn another_keepalive_is_set_on_the_peer() {
    assert_eq!(
        change(|site| site.keepalive_secs = 20).await,
        ["set /interface/wireguard/peers hub persistent-keepalive"]
    );
}

#[tokio::test]
async fn another_length_of_the_tunnel_s_network_is_set_in_place() {
    let written = change(|site| site.addresses = vec!["10.99.0.2/25".into()]).await;
    assert_eq!(
        written,
        [
            "set /ip/address addr:10.99.0.2/25 address,network,comment",
            "add /ip/route route:10.99.0.0/24 dst-address,gateway",
        ]
    );
}

#[tokio::test]
async fn a_renamed_instance_converges_where_references_do_not_follow_the_name() {
    let world = World::start_with(|options| options.rename_follows = false).await;
    let mut site = world.site();
    world.provision(&site).await.assert_result("converged");
    site.instance = "acme-two".into();
    world.provision(&site).await.assert_result("converged");
    let second = world.provision(&site).await;
    assert_eq!((second.exit(), second.writes()), (0, 0), "{second:?}");
    world.remove(Subject::Only).await.assert_result("removed");
}

#[tokio::test]
async fn another_hub_is_proven_by_a_handshake_with_it() {
    let (mut world, mut site) = provisioned(World::site).await;
    until_old_enough(&world).await;
    world.hub = crate::world::hub().await;
    site.endpoints = vec![world.hub.endpoint().to_string()];
    site.hub_key = SiteText::a(&world.hub).hub_key;
    let run = world.provision(&site).await;
    run.assert_result("converged");
    assert_eq!(run.written(), ["set /interface/wireguard/peers hub public-key,endpoint-port"]);
    assert!(world.hub.peers().await.unwrap().remove(0).last_handshake.is_some());
}

#[tokio::test]
async fn a_change_of_reach_loses_no_ping_and_keeps_the_session() {
    let (world, mut site) = provisioned(World::site).await;
    let begun = Instant::now();
    let (stop, mut stopped) = oneshot::channel::<()>();
    let pinging = async {
        let (mut sent, mut lost) = (0, 0);
        while stopped.try_recv().is_err() {
            let summary = world.router.plane().unwrap().lan_ping(ip("192.168.88.10"), ip("10.99.0.1"), 1).await;
            sent += summary.sent;
            lost += summary.sent - summary.received;
        }
        (sent, lost)
    };
    let changing = async {
        for reach in ["192.168.90.0/24", "192.168.91.0/24", "192.168.92.0/24"] {
            site.reach.push(reach.into());
            world.provision(&site).await.assert_result("converged");
        }
        site.reach.truncate(2);
        world.provision(&site).await.assert_result("converged");
        stop.send(()).unwrap();
    };
    let ((sent, lost), ()) = tokio::join!(pinging, changing);
    eprintln!("{sent} pings while reach changed four times, {lost} lost");
    assert!(sent > 10, "{sent}");
    assert_eq!(lost, 0, "of {sent}");
    let age = world.hub.peers().await.unwrap().remove(0).last_handshake.unwrap();
    assert!(age >= begun.elapsed(), "the handshake is that of before: {age:?}");
}

#[tokio::test]
async fn a_peer_that_drops_its_session_on_set_is_proven_again() {
    let world = World::faulty(&["drop-session-on-set"]).await;
    let mut site = world.site();
    world.provision(&site).await.assert_result("converged");
    site.reach.push("192.168.90.0/24".into());
    world.provision(&site).await.assert_result("converged");
}

/// What a hand did to our rows: menu, field and begin of its value, and what was set there.
const DRIFT: [(&str, &str, &str, &str, &str); 9] = [
    ("/interface/wireguard", "comment", "sitepeer:k3f9q2:if", "disabled", "true"),
    ("/interface/wireguard", "comment", "sitepeer:k3f9q2:if", "mtu", "1300"),
    ("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub", "allowed-address", "0.0.0.0/0"),
    ("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub", "disabled", "true"),
    ("/ip/route", "comment", "sitepeer:k3f9q2:route", "distance", "7"),
    ("/ip/route", "comment", "sitepeer:k3f9q2:route", "disabled", "true"),
    ("/ip/firewall/filter", "comment", "sitepeer:k3f9q2:fwd-in", "action", "drop"),
    ("/ip/firewall/filter", "comment", "sitepeer:k3f9q2:fwd-out", "src-address", "192.168.88.7"),
    ("/ip/firewall/mangle", "comment", "sitepeer:k3f9q2:mss", "new-mss", "1200"),
];

#[tokio::test]
async fn a_row_of_ours_that_was_edited_by_hand_is_reported_and_put_back() {
    let (world, site) = provisioned(World::site).await;
    let wanted = with_ids(&world);
    for (menu, by, begins, field, value) in DRIFT {
        let table = if menu == "/interface/wireguard" { "/interface" } else { menu };
        let id = world.id_of(table, by, begins);
        world.operator(&format!("{menu}/set"), &[(".id", &id), (field, value)]).await;
        let plan = world.plan(&site).await;
        assert_eq!((plan.exit(), plan.planned().len()), (3, 1), "{menu} {field}: {:?}", plan.planned());
        assert!(plan.planned()[0].ends_with(field), "{:?}", plan.planned());
        let healed = world.provision(&site).await;
        healed.assert_result("converged");
        assert_eq!(healed.written(), plan.planned());
        assert_same(&wanted, &with_ids(&world), &format!("{menu} {field}={value}"));
    }
}

#[tokio::test]
async fn a_rule_moved_behind_the_drop_and_a_row_removed_by_hand_are_put_back() {
    let (world, site) = provisioned(World::site).await;
    let wanted = shape(&world);
    let id = world.id_of("/ip/firewall/filter", "comment", "sitepeer:k3f9q2:fwd-out");
    world.operator("/ip/firewall/filter/move", &[("numbers", &id)]).await;
    let route = world.id_of("/ip/route", "comment", "sitepeer:k3f9q2:route");
    world.operator("/ip/route/remove", &[(".id", &route)]).await;
    let healed = world.provision(&site).await;
    healed.assert_result("converged");
    assert_eq!(
        healed.written(),
        ["move /ip/firewall/filter fwd-out", "add /ip/route route:192.168.89.0/24 dst-address,gateway"]
    );
    assert_same(&wanted, &shape(&world), "healed");
}

/// Waits until a handshake of now can be told from the last one, in whole seconds.
async fn until_old_enough(world: &World) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.hub.peers().await.unwrap().remove(0).last_handshake.unwrap() < Duration::from_secs(2) {
        assert!(Instant::now() < deadline, "time passes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn as_installer(world: &World, site: &SiteText, proof_timeout: Duration) -> Run {
    let access = access(INSTALLER, "secret", world.router.api_addr());
    world.provision_as(site, |command| (command.access, command.proof_timeout) = (access, proof_timeout)).await
}

#[tokio::test]
async fn a_preshared_key_that_may_not_be_read_is_written_once_and_again_only_when_it_changed() {
    let world = World::start().await;
    let mut site = world.site();
    site.preshared_key = Some([7; 32]);
    as_installer(&world, &site, LONG_PROOF).await.assert_result("converged");
    let second = as_installer(&world, &site, LONG_PROOF).await;
    assert_eq!((second.exit(), second.writes()), (0, 0), "{second:?}");
    site.preshared_key = Some([8; 32]);
    let changed = as_installer(&world, &site, SHORT_PROOF).await;
    assert_eq!(changed.written(), ["set /interface/wireguard/peers hub preshared-key,comment"]);
    // WireGuard goes on with the session of the old key: nothing is proven by that.
    assert_eq!((changed.exit(), changed.causes()[0]), (3, "handshake-old"), "{changed:?}");
    let id = world.id_of("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub");
    for command in ["disable", "enable"] {
        world.operator(&format!("/interface/wireguard/peers/{command}"), &[("numbers", &id)]).await;
    }
    let again = world.provision(&site).await;
    assert_eq!((again.exit(), again.writes()), (0, 0), "who may read it sees that it is right: {again:?}");
    let shown = format!("{changed:?}{again:?}");
    assert!(!shown.contains("CAgICAgI") && !shown.contains("BwcHBwcH"), "a key is shown");
}
