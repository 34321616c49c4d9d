//! Runs that are cut off, and the run after them.

use std::time::{Duration, Instant};

use sitepeer::cli::args::Subject;
use sitepeer::sim::SimOptions;
use tokio::net::TcpStream;

use crate::run::Run;
use crate::site::SiteText;
use crate::world::{Rows, World, assert_same, foreign, shape};

/// More sentences and writes than any run has: a sweep that gets here never ends by itself.
const MAX_SWEEP: u64 = 400;
/// How long a device may be away after a reboot.
const REBOOT_DEADLINE: Duration = Duration::from_secs(20);

/// A site with a row of every kind on a router with the default firewall.
fn site(world: &World) -> SiteText {
    let mut site = world.site().with_ipv6();
    site.listen_port = Some(13231);
    site.preshared_key = Some([7; 32]);
    site
}

async fn start() -> World {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut SimOptions)) -> World {
    let world = World::start_with(change).await;
    world.operator("/ipv6/address/add", &[("address", "fd88::1/64"), ("interface", "bridge")]).await;
    world
}

/// The second run, which proves the tunnel.
async fn prove(world: &World) -> Run {
    let run = world.provision(&site(world)).await;
    run.assert_result("converged");
    run
}

/// The second run, without the proof: WireGuard tries again only after 5 s where the hub did not know the key yet.
async fn complete(world: &World) -> Run {
    world.apply_only(&site(world)).await
}

/// Neighbouring rules of ours without their order: each matches what none of the others does.
fn neighbours_sorted(world: &World) -> Rows {
    let mut rows = shape(world);
    for rules in rows.values_mut() {
        rules.chunk_by_mut(|a, b| is_ours(a) && is_ours(b)).for_each(<[String]>::sort_unstable);
    }
    rows
}

fn is_ours(rule: &str) -> bool {
    rule.contains("comment=sitepeer:")
}

pub async fn until_it_answers(world: &World) {
    let deadline = Instant::now() + REBOOT_DEADLINE;
    while TcpStream::connect(world.router.api_addr()).await.is_err() {
        assert!(Instant::now() < deadline, "the device came back");
        tokio::task::yield_now().await;
    }
}

/// Runs with a fault at each point in turn until a run does not meet it any more, and again without; returns how often.
async fn sweep(
    fault: &str,
    judge: impl Fn(u64, &Run),
    second: impl AsyncFn(&World) -> Run,
    compared: fn(&World) -> Rows,
) -> u64 {
    let undisturbed = start().await;
    undisturbed.provision(&site(&undisturbed)).await.assert_result("converged");
    let wanted = compared(&undisturbed);
    for n in 1..MAX_SWEEP {
        let world = start().await;
        let theirs = foreign(&world);
        world.router.inject(format!("{fault}={n}").parse().unwrap()).await;
        let run = world.provision(&site(&world)).await;
        if world.router.faults_fired() == 0 {
            run.assert_result("converged");
            return n - 1;
        }
        judge(n, &run);
        world.router.clear_faults();
        until_it_answers(&world).await;
        let again = second(&world).await;
        assert!(["converged", "unproven"].contains(&again.result["result"].as_str().unwrap()), "{again:?}");
        assert_same(&wanted, &compared(&world), &format!("{fault}={n}: {run:?}\nand then {again:?}"));
        assert_same(&theirs, &foreign(&world), &format!("foreign rows, {fault}={n}"));
    }
    panic!("{fault} never came to its end");
}

fn is_cut(n: u64, run: &Run) {
    let (exit, code) = run.failed();
    assert_eq!(exit, 4, "sentence {n}: {run:?}");
    assert!(["connection-lost", "turned-away"].contains(&code), "sentence {n}: {run:?}");
}

#[tokio::test]
async fn a_run_cut_off_after_any_sentence_is_completed_by_the_next() {
    let points = sweep("close-after", is_cut, prove, shape).await;
    eprintln!("cut after each of {points} sentences");
    assert!(points > 80, "login, three readings and the writes: {points}");
}

#[tokio::test]
async fn a_run_cut_off_before_any_sentence_is_completed_by_the_next() {
    let points = sweep("close-before", is_cut, prove, shape).await;
    eprintln!("cut before each of {points} sentences");
    assert!(points > 80, "login, three readings and the writes: {points}");
}

#[tokio::test]
async fn a_router_that_reboots_after_any_write_is_completed_by_the_next_run() {
    let points = sweep("reboot-on-write", is_cut, complete, shape).await;
    assert!(points > 20, "the rows and the lock: {points}");
}

#[tokio::test]
async fn a_tunnel_is_proven_after_a_reboot_in_the_last_write() {
    let world = World::faulty(&["reboot-on-write=14"]).await;
    is_cut(14, &world.provision(&world.site()).await);
    until_it_answers(&world).await;
    world.provision(&world.site()).await.assert_result("converged");
}

#[tokio::test]
async fn a_router_that_refuses_any_write_is_quoted_and_completed_by_the_next_run() {
    let is_refused = |n, run: &Run| {
        if run.exit() == 0 {
            // The last write, which takes the lock out: all rows are made, and the lock ends by itself.
            assert_eq!(run.writes(), run.result["changes"].as_u64().unwrap() + 1, "write {n}: {run:?}");
            return;
        }
        assert_eq!(run.failed(), (3, "write-refused"), "write {n}: {run:?}");
        let message = run.result["message"].as_str().unwrap();
        assert!(message.contains("it said: failure: simulated"), "write {n}: {message}");
    };
    let points = sweep("trap-on-write", is_refused, prove, neighbours_sorted).await;
    assert!(points > 20, "the rows and the lock: {points}");
}

#[tokio::test]
async fn a_removal_cut_off_after_any_write_is_completed_by_the_next() {
    for n in 1..MAX_SWEEP {
        // Rows only: the data plane has no part in it.
        let world = start_with(|options| options.plane = false).await;
        let before = world.state_with_ids();
        world.apply_only(&site(&world)).await.assert_result("unproven");
        let sentence = ["close-after", "close-before"][usize::from(n % 2 == 0)];
        world.router.inject(format!("{sentence}={n}").parse().unwrap()).await;
        let cut = world.remove(Subject::Only).await;
        let fired = world.router.faults_fired() > 0;
        world.router.clear_faults();
        if fired {
            is_cut(n, &cut);
            world.remove(Subject::Only).await.assert_result("removed");
        }
        assert_same(&before, &world.state_with_ids(), &format!("{sentence}={n}: {cut:?}"));
        if !fired {
            assert!(n > 40, "{n}");
            return;
        }
    }
    panic!("no removal was left alone");
}
