//! Taking everything out again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sitepeer::cli::args::Subject;
use sitepeer::wireguard::keys;

use crate::site::SiteText;
use crate::world::{World, assert_same};

#[tokio::test]
async fn after_remove_the_router_is_as_it_was_before() {
    let world = World::start().await;
    let before = world.state_with_ids();
    let mut site = world.site().with_ipv6();
    site.preshared_key = Some([7; 32]);
    site.listen_port = Some(13231);
    world.operator("/ipv6/address/add", &[("address", "fd88::1/64"), ("interface", "bridge")]).await;
    let with_ipv6 = world.state_with_ids();
    assert_ne!(before, with_ipv6);
    world.provision(&site).await.assert_result("converged");
    assert_ne!(world.state_with_ids(), with_ipv6);
    let removed = world.remove(Subject::Site(Box::new(site.load()))).await;
    removed.assert_result("removed");
    assert_eq!(removed.exit(), 0);
    assert_same(&with_ipv6, &world.state_with_ids(), "after remove");
}

#[tokio::test]
async fn a_second_remove_has_nothing_to_do() {
    let world = World::start().await;
    let before = world.state();
    world.provision(&world.site()).await.assert_result("converged");
    world.remove(Subject::Only).await.assert_result("removed");
    let writes = world.router.writes();
    for subject in [Subject::Only, Subject::Site(Box::new(world.site().load()))] {
        let again = world.remove(subject).await;
        again.assert_result("removed");
        assert_eq!((again.writes(), &again.result["changes"]), (0, &0.into()));
    }
    assert_eq!(world.router.writes(), writes);
    assert_same(&before, &world.state(), "after two removals");
}

/// More rows than are written at once.
const PREFIXES: usize = 150;

#[tokio::test]
async fn remove_takes_out_any_number_of_rows() {
    // Rows only: the data plane has no part in it.
    let world = World::start_with(|options| options.plane = false).await;
    let before = world.state();
    let mut site = world.site();
    site.reach.extend((0..PREFIXES).map(|n| format!("10.100.{n}.0/24")));
    let made = world.apply_only(&site).await;
    made.assert_result("unproven");
    assert!(made.written().len() > 2 * PREFIXES, "a list entry and a route each: {}", made.written().len());
    let removed = world.remove(Subject::Only).await;
    removed.assert_result("removed");
    assert_eq!(removed.written().len(), made.written().len());
    assert_same(&before, &world.state(), "after remove");
}

/// Another site on the same router: other networks, and a hub that is not there.
fn second_site(world: &World) -> SiteText {
    SiteText {
        hub_key: STANDARD.encode(keys::generate_private().unwrap().public()),
        id: "zz99zz".into(),
        instance: "beta".into(),
        addresses: vec!["10.98.0.2/24".into()],
        probe: vec!["10.98.0.1".into()],
        reach: vec!["10.98.0.0/24".into(), "192.168.77.0/24".into()],
        ..world.site()
    }
}

#[tokio::test]
async fn of_several_sites_on_a_router_one_must_be_named() {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    let only_first = world.state_with_ids();
    let second = second_site(&world);
    // In place, but not proven.
    world.apply_only(&second).await.assert_result("unproven");
    let both = world.state_with_ids();
    let refused = world.remove(Subject::Only).await;
    assert_eq!(refused.failed(), (2, "several-sites"));
    assert_eq!(world.status(Subject::Only).await.failed(), (2, "several-sites"));
    assert_same(&both, &world.state_with_ids(), "after a refusal");
    let gone = world.remove(Subject::Instance("gamma".parse().unwrap())).await;
    assert_eq!(gone.failed(), (3, "no-site"));
    world.remove(Subject::Instance("beta".parse().unwrap())).await.assert_result("removed");
    assert_same(&only_first, &world.state_with_ids(), "the other site's rows stay");
}

#[tokio::test]
async fn foreign_rows_with_names_like_ours_are_not_touched() {
    let world = World::start().await;
    world.operator("/interface/list/add", &[("name", "sitepeer-old"), ("comment", "see sitepeer:k3f9q2:iflist")]).await;
    let entry = [("list", "sitepeer-k3f9q2"), ("address", "10.55.0.0/24"), ("comment", "sitepeer:k3f9q2")];
    world.operator("/ip/firewall/address-list/add", &entry).await;
    let wireguard = [("name", "sitepeer-karl"), ("comment", "sitepeer")];
    world.operator("/interface/wireguard/add", &wireguard).await;
    let before = world.state_with_ids();
    world.provision(&world.site()).await.assert_result("converged");
    world.remove(Subject::Only).await.assert_result("removed");
    assert_same(&before, &world.state_with_ids(), "after remove");
}
