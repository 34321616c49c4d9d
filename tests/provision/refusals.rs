//! What is refused before the first write.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use ipnet::{IpNet, Ipv4Net};
use sitepeer::cli::args::Subject;

use crate::run::Run;
use crate::site::{SiteText, texts};
use crate::world::{World, assert_same, with_ids};

/// Plans and provisions: both see the reason, provision refuses by it, and the router stays as it is.
async fn assert_refused(world: &World, site: &SiteText, code: &str, words: &str) -> Run {
    let before = with_ids(world);
    let run = world.provision(site).await;
    assert_eq!((run.failed(), run.writes()), ((5, code), 0), "{run:?}");
    let message = run.result["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
    assert!(run.result["hint"].is_string(), "{run:?}");
    assert_same(&before, &with_ids(world), code);
    run
}

#[tokio::test]
async fn overlaps_with_what_the_router_has_are_refused() {
    let world = World::start().await;
    for (net, other) in [
        ("10.200.0.0/16", "10.200.0.0/16"),
        ("10.200.7.0/24", "10.200.0.0/16"),
        ("172.16.0.0/12", "172.16.50.0/24"),
        ("203.0.113.0/24", "203.0.113.0/24"),
    ] {
        let mut site = world.site();
        site.reach.push(net.into());
        assert_refused(&world, &site, "overlap", &format!("reach has {net}, which overlaps {other}")).await;
    }
    let site = SiteText { addresses: texts(&["172.16.50.9/24"]), ..world.site() };
    assert_refused(&world, &site, "overlap", "the tunnel's network has 172.16.50.0/24").await;
}

#[tokio::test]
async fn a_subnet_that_the_router_does_not_have_is_not_offered() {
    let world = World::start().await;
    let site = SiteText { advertise: texts(&["192.168.55.0/24"]), ..world.site() };
    assert_refused(&world, &site, "subnet-missing", "advertise has 192.168.55.0/24").await;
}

#[tokio::test]
async fn names_and_ports_in_use_are_not_taken_over() {
    let world = World::start().await;
    world.operator("/interface/wireguard/add", &[("name", "sitepeer-acme"), ("listen-port", "14000")]).await;
    assert_refused(&world, &world.site(), "name-taken", "already has an interface \"sitepeer-acme\"").await;

    let world = World::start().await;
    let site = SiteText { listen_port: Some(51820), ..world.site() };
    assert_refused(&world, &site, "port-taken", "UDP port 51820 is in use by the WireGuard interface \"wg-office\"")
        .await;

    let world = World::start().await;
    world.operator("/interface/list/add", &[("name", "sitepeer-k3f9q2")]).await;
    assert_refused(&world, &world.site(), "name-taken", "interface list \"sitepeer-k3f9q2\"").await;

    let world = World::start().await;
    let entry = [("list", "sitepeer-k3f9q2-theirs"), ("address", "10.1.2.0/24")];
    world.operator("/ip/firewall/address-list/add", &entry).await;
    assert_refused(&world, &world.site(), "name-taken", "10.1.2.0/24 in our list").await;
}

/// An address of this machine that is neither loopback nor public; nothing is sent to find it.
fn address_of_this_machine() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if address.is_private() => Some(address),
        _ => None,
    }
}

#[tokio::test]
async fn a_prefix_that_this_session_comes_from_is_not_routed_into_the_tunnel() {
    let Some(address) = address_of_this_machine() else {
        eprintln!("skipped: this machine has no private address");
        return;
    };
    let world = World::start_with(|options| options.api = "0.0.0.0:0".parse().unwrap()).await;
    let mut site = world.site();
    let net = IpNet::from(Ipv4Net::new(address, 30).unwrap().trunc()).to_string();
    site.reach.push(net.clone());
    let access = crate::run::access("admin", "", (address, world.router.api_addr().port()).into());
    let run = world.provision_as(&site, |command| command.access = access).await;
    assert_eq!((run.failed(), run.writes()), ((5, "session-in-reach"), 0), "{run:?}");
    let words = format!("{net} covers {address}, which this session comes from");
    assert!(run.result["message"].as_str().unwrap().contains(&words), "{run:?}");
}

#[tokio::test]
async fn more_removals_than_allowed_are_refused_and_may_be_allowed() {
    let world = World::start().await;
    let mut site = world.site();
    site.reach.extend((0..6).map(|n| format!("10.77.{n}.0/24")));
    world.provision(&site).await.assert_result("converged");
    site.reach.truncate(2);
    let refused = assert_refused(&world, &site, "too-many-removals", "removes 12 rows, and the limit is 10").await;
    assert!(refused.result["hint"].as_str().unwrap().contains("--max-removals"));
    assert_eq!(world.plan(&site).await.planned().len(), 13, "a plan shows it whatever the number");
    let allowed = world.provision_as(&site, |command| command.max_removals = 12).await;
    allowed.assert_result("converged");
    world.remove(Subject::Only).await.assert_result("removed");
}

#[tokio::test]
async fn a_user_who_may_not_write_is_told_before_the_first_write() {
    let world = World::start_with(|options| {
        options.groups.push(("lookers".into(), "read,test,api".into()));
        options.users[0].group = "lookers".into();
    })
    .await;
    let access = crate::run::access(crate::world::INSTALLER, "secret", world.router.api_addr());
    let run = world.provision_as(&world.site(), |command| command.access = access.clone()).await;
    assert_eq!((run.failed(), run.writes()), ((5, "policy"), 0), "{run:?}");
    assert!(run.result["message"].as_str().unwrap().contains("lacks the policies write"), "{run:?}");
    assert_eq!(world.router.writes(), 0);
    let site = world.site().load();
    let plan = crate::run::plan(sitepeer::cli::args::Plan { access, source: crate::run::from_file(site) }).await;
    plan.assert_result("pending");
    assert!(plan.warnings().contains(&"policy"), "{plan:?}");
}

#[tokio::test]
async fn the_api_in_the_clear_to_a_public_address_is_refused() {
    let world = World::start().await;
    // TEST-NET-2: nothing is sent there, or the deadline would tell.
    let public = crate::run::access("admin", "", "198.51.100.1:8728".parse().unwrap());
    let run = world.provision_as(&world.site(), |command| command.access = public).await;
    assert_eq!(run.failed(), (5, "plaintext-refused"), "{run:?}");
}
