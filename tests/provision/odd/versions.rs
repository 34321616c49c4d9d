//! Every version of RouterOS that the simulator knows: there and back again.

use sitepeer::cli::args::Subject;

use crate::site::SiteText;
use crate::world::{World, assert_same};

const VERSIONS: [&str; 13] = [
    "7.12.2", "7.13.5", "7.14.3", "7.15.3", "7.16.2", "7.17.1", "7.18.2", "7.19.6", "7.20.8", "7.21.5", "7.22.3",
    "7.23.3", "7.24",
];

async fn of_version(version: &str) -> World {
    let world = World::start_with(|options| options.version = version.parse().unwrap()).await;
    world.operator("/ipv6/address/add", &[("address", "fd88::1/64"), ("interface", "bridge")]).await;
    world
}

/// Provisions, finds nothing to do, removes, and finds the router as before.
async fn there_and_back(world: &World, site: &SiteText) {
    let before = world.state_with_ids();
    world.provision(site).await.assert_result("converged");
    let second = world.provision(site).await;
    assert_eq!((second.exit(), second.writes(), second.round_trips("read")), (0, 0, 1), "{second:?}");
    world.remove(Subject::Site(Box::new(site.load()))).await.assert_result("removed");
    assert_same(&before, &world.state_with_ids(), "after remove");
}

#[tokio::test]
async fn every_supported_version_converges_stays_and_is_left_as_it_was() {
    for version in VERSIONS {
        eprintln!("RouterOS {version}");
        let world = of_version(version).await;
        let mut site = world.site();
        site.preshared_key = Some([7; 32]);
        there_and_back(&world, &site).await;
        there_and_back(&world, &site.with_ipv6()).await;
    }
}

#[tokio::test]
async fn a_site_of_ipv6_alone_converges() {
    let world = of_version("7.24").await;
    let both = world.site().with_ipv6();
    let only = |all: &[String]| all.iter().filter(|text| text.contains(':')).cloned().collect::<Vec<_>>();
    let site = SiteText {
        addresses: only(&both.addresses),
        probe: only(&both.probe),
        advertise: only(&both.advertise),
        reach: only(&both.reach),
        ..both
    };
    there_and_back(&world, &site).await;
}

#[tokio::test]
async fn a_router_without_wireguard_is_told_as_that_and_nothing_is_written() {
    let old = World::start_with(|options| options.version = "6.49.10".parse().unwrap()).await;
    let without = World::start_with(|options| options.wireguard = false).await;
    for (world, code, words) in [
        (old, "version-without-wireguard", "RouterOS 6.49.10 has no WireGuard"),
        (without, "no-wireguard", "RouterOS 7.24 has no /interface/wireguard here"),
    ] {
        for run in [world.provision(&world.site()).await, world.plan(&world.site()).await] {
            assert_eq!((run.failed(), run.writes()), ((5, code), 0), "{run:?}");
            assert!(run.result["message"].as_str().unwrap().contains(words), "{run:?}");
        }
        assert_eq!(world.router.writes(), 0);
    }
}
