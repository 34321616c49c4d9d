//! Rows whose owner is in doubt, and runs that meet each other.

use std::net::SocketAddr;
use std::time::Duration;

use sitepeer::cli::args::Subject;

use crate::run::{self, Run, access, provision_of};
use crate::world::{Rows, World, assert_same, shape, with_ids};

async fn provisioned() -> World {
    let world = World::start().await;
    world.provision(&world.site()).await.assert_result("converged");
    world
}

/// Every command that could write refuses, and writes nothing.
async fn assert_ambiguous(world: &World, words: &str) {
    let before = with_ids(world);
    let site = Subject::Site(Box::new(world.site().load()));
    let runs = [world.provision(&world.site()).await, world.plan(&world.site()).await, world.remove(site).await];
    for run in &runs {
        assert_eq!(run.failed(), (5, "ambiguous"), "{run:?}");
        assert_eq!(run.writes(), 0);
        assert!(run.result["message"].as_str().unwrap().contains(words), "{run:?}");
    }
    assert_same(&before, &with_ids(world), "after a refusal");
}

#[tokio::test]
async fn two_rows_with_one_marker_are_reported_and_nothing_is_written() {
    let world = provisioned().await;
    let marker = "sitepeer:k3f9q2:route:192.168.89.0/24";
    let copy = [("dst-address", "192.168.89.0/24"), ("gateway", "192.168.88.254"), ("comment", marker)];
    world.operator("/ip/route/add", &copy).await;
    assert_ambiguous(&world, &format!("2 rows of /ip/route carry the marker {marker}")).await;
}

#[tokio::test]
async fn a_marked_row_that_is_something_else_is_reported_and_nothing_is_written() {
    let world = provisioned().await;
    let id = world.id_of("/ip/firewall/address-list", "comment", "sitepeer:k3f9q2:theirs:192.168.89.0/24");
    world.operator("/ip/firewall/address-list/set", &[(".id", &id), ("address", "10.0.0.0/8")]).await;
    assert_ambiguous(&world, "but its address is \"10.0.0.0/8\"").await;
}

#[tokio::test]
async fn a_marker_in_a_menu_where_it_cannot_be_is_reported_and_nothing_is_written() {
    let world = provisioned().await;
    let id = world.id_of("/ip/address", "address", "192.168.88.1");
    world.operator("/ip/address/set", &[(".id", &id), ("comment", "sitepeer:k3f9q2:hub")]).await;
    assert_ambiguous(&world, "which has no place in that menu").await;
}

#[tokio::test]
async fn rows_like_ours_whose_marker_was_taken_off_stop_a_run() {
    let world = provisioned().await;
    let id = world.id_of("/ip/route", "comment", "sitepeer:k3f9q2:route");
    world.operator("/ip/route/set", &[(".id", &id), ("comment", "mine now")]).await;
    let run = world.provision(&world.site()).await;
    assert_eq!((run.exit(), run.writes()), (5, 0), "{run:?}");
}

/// Ways to the same router that two hosts would have: each has a lock of its own.
async fn two_hosts() -> (World, [SocketAddr; 2]) {
    let world = World::start_with(|options| options.api = "0.0.0.0:0".parse().unwrap()).await;
    let port = world.router.api_addr().port();
    (world, ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port)))
}

async fn run_over(world: &World, address: SocketAddr) -> Run {
    let site = world.site();
    let command = provision_of(access("admin", "", address), site.load());
    run::provision(command, async |event| {
        if event["event"] == "public_key" {
            world.hub.set_peer(site.hub_peer(event["public_key"].as_str().unwrap())).await.unwrap();
        }
    })
    .await
}

/// One converged; the other did too, or wrote nothing.
fn assert_one_at_a_time(runs: [&Run; 2], world: &World, wanted: &Rows) {
    assert!(runs.iter().any(|run| run.exit() == 0), "{runs:?}");
    for run in runs {
        let busy = run.exit() == 5 && run.failed().1 == "busy" && run.writes() == 0;
        assert!(run.exit() == 0 || busy, "{run:?}");
    }
    assert_same(wanted, &shape(world), "after two runs at once");
}

#[tokio::test]
async fn of_two_runs_at_once_on_one_host_one_writes() {
    let world = World::start().await;
    let site = world.site();
    let (first, second) = tokio::join!(world.provision(&site), world.provision(&site));
    let alone = World::start().await;
    alone.provision(&alone.site()).await.assert_result("converged");
    assert_one_at_a_time([&first, &second], &world, &shape(&alone));
}

#[tokio::test]
async fn of_two_runs_at_once_from_two_hosts_one_writes() {
    let alone = World::start().await;
    alone.provision(&alone.site()).await.assert_result("converged");
    let wanted = shape(&alone);
    // Each time a little later, so that the second meets the first at every stage.
    for yields in 0..30 {
        let (world, [here, there]) = two_hosts().await;
        let late = async {
            for _ in 0..yields * 10 {
                tokio::task::yield_now().await;
            }
            run_over(&world, there).await
        };
        let (first, second) = tokio::join!(run_over(&world, here), late);
        assert_one_at_a_time([&first, &second], &world, &wanted);
        let written = first.written().len() + second.written().len();
        assert_eq!(written, alone_rows(&wanted), "no row is written twice: {first:?}{second:?}");
    }
}

fn alone_rows(rows: &Rows) -> usize {
    rows.values().flatten().filter(|row| row.contains("comment=sitepeer:")).count()
}

#[tokio::test]
async fn a_lock_left_by_another_host_blocks_until_it_ends_by_itself() {
    let world = World::start().await;
    let lock = [
        ("list", "sitepeer-lock"),
        ("address", "192.0.2.1"),
        ("timeout", "60s"),
        ("comment", "sitepeer:zz99zz:lock:0123456789abcdef"),
    ];
    world.operator("/ip/firewall/address-list/add", &lock).await;
    let before = with_ids(&world);
    for run in [world.provision(&world.site()).await, world.provision(&world.site()).await] {
        assert_eq!((run.failed(), run.writes()), ((5, "busy"), 0), "{run:?}");
        let message = run.result["message"].as_str().unwrap();
        assert!(message.contains("for site zz99zz; its lock ends by itself in "), "{message}");
    }
    assert_same(&before, &with_ids(&world), "while it is locked");
    world.router.advance(Duration::from_secs(61));
    world.provision(&world.site()).await.assert_result("converged");
}

#[tokio::test]
async fn an_entry_in_the_lock_s_place_that_never_ends_is_named_with_its_list() {
    let world = World::start().await;
    let entry = [("list", "sitepeer-lock"), ("address", "192.0.2.1")];
    world.operator("/ip/firewall/address-list/add", &entry).await;
    let before = with_ids(&world);
    let run = world.provision(&world.site()).await;
    assert_eq!((run.failed(), run.writes()), ((5, "busy"), 0), "{run:?}");
    assert!(run.result["hint"].as_str().unwrap().contains("remove the entry of list sitepeer-lock"), "{run:?}");
    assert_same(&before, &with_ids(&world), "after a refusal");
}
