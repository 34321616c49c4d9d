//! A router that is kept as a file says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sitepeer::agent::standing::Phase;
use sitepeer::agent::{Member, Source, freeze};

use crate::meddler::{Fate, Meddler, Said};
use crate::run::access;
use crate::running::{Running, until};
use crate::world::{World, assert_same, foreign, shape};

/// A route that the site reaches.
const ROUTE: &str = "192.168.89.0/24";

#[tokio::test]
async fn a_clean_router_is_brought_to_what_is_wanted_and_left_alone_then() {
    let world = World::start().await;
    let before = foreign(&world);
    let agent = Running::of_file(world.access(), world.site().load());
    let figures = agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    assert!(figures.writes > 0 && figures.drifts == 0, "{figures:?}");
    let (as_wanted, writes) = (shape(&world), world.router.writes());
    let figures = agent.stop().await;
    assert_eq!(figures.trouble, None);
    assert_eq!(world.router.writes(), writes, "it wrote where nothing was to be done");
    until("its session is over", || world.router.sessions() == 0).await;
    assert_same(&before, &foreign(&world), "rows of others");
    // The one-shot command finds nothing to do.
    world.plan(&world.site()).await.assert_result("converged");
    assert_same(&as_wanted, &shape(&world), "after the agent stopped");
}

#[tokio::test]
async fn what_somebody_takes_out_is_back_within_seconds_and_counted_as_drift() {
    let world = World::start().await;
    let agent = Running::of_file(world.access(), world.site().load());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    let as_wanted = shape(&world);
    for (count, (menu, field, begins)) in
        (1u64..).zip([("/ip/route", "dst-address", ROUTE), ("/interface/wireguard/peers", "comment", "sitepeer:")])
    {
        let ids: Vec<_> = world
            .state_with_ids()
            .rows(menu)
            .iter()
            .filter(|row| row.get(field).is_some_and(|value| value.starts_with(begins.as_bytes())))
            .map(|row| String::from_utf8(row[".id"].clone()).unwrap())
            .collect();
        assert!(!ids.is_empty(), "{menu} has no {begins}");
        world.operator(&format!("{menu}/remove"), &[(".id", &ids[0])]).await;
        let figures =
            agent.until("put back", |figures| figures.drifts == count && figures.phase == Phase::Watching).await;
        assert_eq!(figures.trouble, None, "{menu}");
        assert_same(&as_wanted, &shape(&world), menu);
    }
    agent.stop().await;
}

#[tokio::test]
async fn nothing_is_put_back_while_the_site_is_frozen_on_this_host_and_all_of_it_afterwards() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let site = world.site().load();
    let source = Source::File(Box::new(site.clone()));
    let member = Member { name: "router".to_owned(), access: world.access(), passwords: None, source };
    let agent = Running::freezing(vec![member], folder.path());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    let as_wanted = shape(&world);
    freeze::begin(folder.path(), &site.id, Duration::from_hours(2), "new uplink").unwrap();
    let id = world.id_of("/interface/wireguard/peers", "comment", "sitepeer:k3f9q2:hub");
    world.operator("/interface/wireguard/peers/set", &[(".id", &id), ("persistent-keepalive", "7s")]).await;
    let writes = world.router.writes();
    let figures = agent.until("frozen", |figures| figures.phase == Phase::Frozen).await;
    assert_eq!((figures.drifts, world.router.writes()), (0, writes), "{figures:?}");
    assert!(freeze::end(folder.path(), &site.id).unwrap());
    agent.until("put back", |figures| figures.phase == Phase::Watching && figures.drifts == 1).await;
    assert_same(&as_wanted, &shape(&world), "after the freeze");
    agent.stop().await;
}

#[tokio::test]
async fn it_listens_before_it_reads_so_that_no_change_falls_between() {
    let world = World::start().await;
    world.apply_only(&world.site()).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let note = move |command: &Said| {
        log.lock().unwrap().push(String::from_utf8_lossy(&command[0]).into_owned());
        Fate::Pass
    };
    let meddler = Meddler::start(&world.router, note, |_, said| vec![said]).await;
    let agent = Running::of_file(access("admin", "", meddler.address), world.site().load());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    agent.stop().await;
    let heard = heard.lock().unwrap();
    let first = |path: &str| heard.iter().position(|command| command == path).unwrap();
    assert!(first("/ip/route/listen") < first("/ip/route/print"), "{heard:?}");
    assert!(first("/interface/wireguard/peers/listen") < first("/interface/wireguard/peers/print"), "{heard:?}");
}

#[tokio::test]
async fn a_row_of_somebody_else_is_no_drift() {
    let world = World::start().await;
    let agent = Running::of_file(world.access(), world.site().load());
    let settled = agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    world.operator("/ip/address/add", &[("address", "172.20.0.1/24"), ("interface", "bridge")]).await;
    // A rule may stand in the way of ours: the router is looked at, and nothing is found.
    world.operator("/ip/firewall/filter/add", &[("chain", "forward"), ("action", "log")]).await;
    let looked =
        agent.until("looked at", |figures| figures.rounds > settled.rounds && figures.phase == Phase::Watching).await;
    assert_eq!((looked.drifts, looked.writes), (0, settled.writes));
    agent.stop().await;
}

#[tokio::test]
async fn a_router_that_reboots_is_found_again() {
    let world = World::start().await;
    let agent = Running::of_file(world.access(), world.site().load());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    let as_wanted = shape(&world);
    world.router.reboot().await;
    let figures =
        agent.until("connected again", |figures| figures.connects == 2 && figures.phase == Phase::Watching).await;
    assert_eq!((figures.failures >= 1, figures.is_away), (true, false), "{figures:?}");
    assert_same(&as_wanted, &shape(&world), "after the reboot");
    agent.stop().await;
}

#[tokio::test]
async fn a_router_that_speaks_against_what_is_wanted_is_not_written_to_and_the_reason_is_kept() {
    let world = World::start().await;
    let mut site = world.site();
    site.advertise = vec!["192.168.88.0/24".to_owned(), "172.31.0.0/16".to_owned()];
    let before = world.router.writes();
    let agent = Running::of_file(world.access(), site.load());
    let figures = agent.until("refused", |figures| figures.phase == Phase::Refused).await;
    assert!(
        figures.trouble.as_ref().is_some_and(|why| why.contains("subnet-missing: advertise has 172.31.0.0/16")),
        "{figures:?}"
    );
    assert_eq!(world.router.writes(), before, "it wrote to a router that speaks against it");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_at_any_moment_leaves_what_the_next_one_completes() {
    let wanted = {
        let world = World::start().await;
        world.apply_only(&world.site()).await;
        shape(&world)
    };
    for moment in 0..12 {
        let world = World::start().await;
        let before = foreign(&world);
        let agent = Running::of_file(world.access(), world.site().load());
        tokio::time::sleep(Duration::from_millis(3 * moment)).await;
        agent.kill().await;
        let agent = Running::of_file(world.access(), world.site().load());
        agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
        agent.stop().await;
        let peer = |rows: &crate::world::Rows| rows.clone();
        assert_same(
            &without_endpoint(peer(&wanted)),
            &without_endpoint(shape(&world)),
            &format!("killed after {} ms", 3 * moment),
        );
        assert_same(&before, &foreign(&world), "rows of others");
    }
}

/// Two worlds have two hubs: keys and ports differ.
fn without_endpoint(mut rows: crate::world::Rows) -> crate::world::Rows {
    for row in rows.get_mut("/interface/wireguard/peers").unwrap() {
        *row = row.split(' ').filter(|word| !word.starts_with("current-endpoint")).collect::<Vec<_>>().join(" ");
    }
    rows
}
