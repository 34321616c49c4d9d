//! Links and routers that are slow, odd or broken.

use std::time::{Duration, Instant};

use crate::run::Run;
use crate::world::{World, assert_same, foreign};

/// Links and routers that are odd, and yet right: every run over them converges.
const ODD: [&str; 7] = [
    "slow=150000",
    "one-byte-segments",
    "tag-last",
    "non-utf8-comment",
    "drop-session-on-set",
    "clock-jump=epoch",
    "latency=20",
];

#[tokio::test]
async fn a_router_that_is_odd_but_right_converges_and_keeps_the_rows_of_others() {
    for fault in ODD {
        let world = World::faulty(&[fault]).await;
        let theirs = foreign(&world);
        let begun = Instant::now();
        world.provision(&world.site()).await.assert_result("converged");
        eprintln!("{fault}: {:?}", begun.elapsed());
        let second = world.provision(&world.site()).await;
        assert_eq!((second.exit(), second.writes()), (0, 0), "{fault}: {second:?}");
        assert_same(&theirs, &foreign(&world), fault);
        world.remove(sitepeer::cli::args::Subject::Only).await.assert_result("removed");
        assert_same(&theirs, &foreign(&world), fault);
    }
}

#[tokio::test]
async fn ten_thousand_rows_of_others_are_read_and_left_alone() {
    // Rows only: the simulated firewall would sort them anew after each write.
    let world = World::start_with(|options| {
        options.plane = false;
        options.foreign_rows = 10_000;
    })
    .await;
    let theirs = foreign(&world);
    assert!(theirs["/ip/firewall/address-list"].len() >= 10_000);
    world.apply_only(&world.site()).await.assert_result("unproven");
    let second = world.apply_only(&world.site()).await;
    assert_eq!(second.writes(), 0, "{second:?}");
    world.remove(sitepeer::cli::args::Subject::Only).await.assert_result("removed");
    assert_same(&theirs, &foreign(&world), "after all");
}

#[tokio::test]
async fn everything_odd_at_once_converges() {
    let world = World::faulty(&["one-byte-segments", "tag-last", "non-utf8-comment", "latency=5"]).await;
    world.provision(&world.site()).await.assert_result("converged");
}

/// Routers that cannot be worked with.
const BROKEN: [&str; 9] = [
    "no-answer",
    "garbage=1",
    "garbage=5",
    "huge-length=1",
    "huge-length=5",
    "refuse-login",
    "no-api-policy",
    "session-limit",
    "close-before=1",
];

/// How long the tests let each step of connecting take, and each command.
const DEADLINE: Duration = Duration::from_secs(1);

/// What a run said at its end, without what differs from run to run.
fn last_words(world: &World, run: &Run) -> String {
    let text = |name: &str| run.result[name].as_str().unwrap_or("-").to_owned();
    let words =
        format!("{} {} {}\n  {}\n  hint: {}", run.exit(), text("result"), text("code"), text("message"), text("hint"));
    words.replace(&world.router.api_addr().to_string(), "[router]")
}

#[tokio::test]
async fn a_router_that_is_broken_is_told_in_clear_words_within_the_deadline() {
    let mut told = String::new();
    for fault in BROKEN {
        let world = World::faulty(&[fault]).await;
        let deadlines = sitepeer::routeros::target::Deadlines {
            connect: DEADLINE,
            tls: DEADLINE,
            login: DEADLINE,
            command: DEADLINE,
        };
        let site = world.site();
        let run = world.provision_as(&site, |command| command.access.deadlines = deadlines);
        let run = tokio::time::timeout(4 * DEADLINE, run);
        let run = run.await.unwrap_or_else(|_| panic!("{fault}: no end"));
        assert_eq!((run.exit(), run.writes()), (4, 0), "{fault}: {run:?}");
        told += &format!("{fault}: {}\n", last_words(&world, &run));
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_router_that_stops_answering_in_the_middle_is_given_up_within_the_deadline() {
    let world = World::start().await;
    let deadlines = sitepeer::routeros::target::Deadlines { command: DEADLINE, ..Default::default() };
    world.router.inject("slow=300".parse().unwrap()).await;
    let site = world.site();
    let run = world.provision_as(&site, |command| command.access.deadlines = deadlines);
    let run = tokio::time::timeout(Duration::from_secs(20), run).await.expect("it ends");
    assert_eq!(run.failed(), (4, "no-answer"), "{run:?}");
}
