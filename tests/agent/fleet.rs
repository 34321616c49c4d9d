//! Many routers in one supervisor: the dead cost the living nothing.
#![cfg(feature = "proxy")]

use std::time::{Duration, Instant};

use sitepeer::agent::standing::{Phase, Roll};
use sitepeer::agent::{Gates, Member, Settings, Source, Supervisor};
use sitepeer::sim::{Fault, SimOptions, SimRouter, StateOptions};
use tokio::net::TcpListener;

use crate::run::access;
use crate::running::Running;
use crate::site::SiteText;
use crate::world;

/// Routers that answer, and that take connections and say nothing.
const LIVING: usize = 12;
const DEAD: usize = 8;

#[tokio::test]
async fn routers_that_never_answer_hold_up_nobody_and_are_counted_as_away() {
    let hub = world::hub().await;
    // Less than the dead alone would take.
    let gates = Gates::new(DEAD / 2, 2);
    let mut routers = Vec::new();
    let holes = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut members = Vec::new();
    for number in 0..DEAD {
        let mut access = access("admin", "", holes.local_addr().unwrap());
        access.deadlines.login = Duration::from_millis(300);
        members.push(member(&format!("dead {number}"), access, &SiteText::a(&hub)));
    }
    for number in 0..LIVING {
        let options = SimOptions { api_ssl: None, plane: false, ..SimOptions::default() };
        let router = SimRouter::start(options).await.unwrap();
        let site = SiteText { id: format!("k3f9q{number:02}"), ..SiteText::a(&hub) };
        members.push(member(&format!("living {number}"), access("admin", "", router.api_addr()), &site));
        routers.push(router);
    }
    let settings = Settings {
        period: Duration::from_mins(15),
        max_removals: 10,
        start_within: Duration::ZERO,
        gates,
        epoch: "e1".to_owned(),
    };
    let supervisor = Supervisor::new(members, settings);
    let roll = supervisor.roll();
    let (_nobody, fleets) = tokio::sync::mpsc::channel(1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(supervisor.run(async move { drop(stopped.await) }, fleets));
    wait("the living are kept", || of(&roll, "living", |one| one.phase == Phase::Watching) == LIVING).await;
    wait("the dead are away", || of(&roll, "dead", |one| one.is_away) == DEAD).await;
    assert_eq!(of(&roll, "living", |one| one.failures > 0), 0);
    // One of the living goes: the others do not notice.
    routers[0].inject("no-answer".parse::<Fault>().unwrap()).await;
    routers[0].reboot().await;
    wait("one is gone", || of(&roll, "living", |one| one.failures > 0) == 1).await;
    assert_eq!(of(&roll, "living", |one| one.phase == Phase::Watching), LIVING - 1);
    drop(stop);
    task.await.unwrap();
}

#[tokio::test]
async fn a_fleet_that_is_read_again_lets_go_of_one_begins_with_another_and_does_not_touch_the_third() {
    let hub = world::hub().await;
    let mut routers = Vec::new();
    for _ in 0..3 {
        routers
            .push(SimRouter::start(SimOptions { api_ssl: None, plane: false, ..SimOptions::default() }).await.unwrap());
    }
    let site = |number: usize| SiteText { id: format!("k3f9q{number}"), ..SiteText::a(&hub) };
    let of = |number: usize, site: &SiteText| {
        member(&format!("router {number}"), access("admin", "", routers[number].api_addr()), site)
    };
    let agent = Running::of_members(vec![of(0, &site(0)), of(1, &site(1))]);
    let connects =
        |name: &str| agent.roll.all().iter().find(|one| one.name() == name).map(|one| one.figures().connects);
    let watched = || agent.roll.all().iter().filter(|one| one.figures().phase == Phase::Watching).count();
    wait("two are kept", || watched() == 2).await;
    // Another config for the first, the second as it was, a third.
    let mut changed = site(0);
    changed.keepalive_secs = 30;
    agent.fleets.send(vec![of(0, &changed), of(1, &site(1)), of(2, &site(2))]).await.unwrap();
    wait("three are kept", || watched() == 3).await;
    let peers = routers[0].state(StateOptions::default());
    let is_ours = |row: &&std::collections::BTreeMap<String, Vec<u8>>| {
        row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"))
    };
    let ours = peers.rows("/interface/wireguard/peers").iter().find(is_ours).unwrap();
    assert_eq!(ours["persistent-keepalive"], b"30s");
    assert_eq!((connects("router 0"), connects("router 1")), (Some(1), Some(1)));
    agent.fleets.send(vec![of(1, &site(1))]).await.unwrap();
    wait("one is kept", || agent.roll.all().len() == 1).await;
    wait("the others are left", || routers[0].sessions() + routers[2].sessions() == 0).await;
    assert_eq!((connects("router 1"), routers[1].sessions()), (Some(1), 1));
    agent.stop().await;
}

#[tokio::test]
async fn routers_that_stay_silent_for_longer_than_anybody_waits_leave_their_places_to_others() {
    let hub = world::hub().await;
    let holes = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = |number: usize| {
        let mut access = access("admin", "", holes.local_addr().unwrap());
        // Beyond the patience of this test.
        access.deadlines.login = Duration::from_mins(10);
        member(&format!("dead {number}"), access, &SiteText::a(&hub))
    };
    let router = SimRouter::start(SimOptions { api_ssl: None, plane: false, ..SimOptions::default() }).await.unwrap();
    // They come first, and there is one place.
    let mut members: Vec<Member> = (0..2).map(silent).collect();
    members.push(member("living", access("admin", "", router.api_addr()), &SiteText::a(&hub)));
    let agent = Running::of_members(members);
    let watched = || of(&agent.roll, "living", |one| one.phase == Phase::Watching);
    wait("the living one is kept", || watched() == 1).await;
    agent.stop().await;
}

fn member(name: &str, access: sitepeer::routeros::target::Access, site: &SiteText) -> Member {
    Member { name: name.to_owned(), access, passwords: None, source: Source::File(Box::new(site.load())) }
}

fn of(roll: &Roll, kind: &str, is_so: impl Fn(&sitepeer::agent::standing::Figures) -> bool) -> usize {
    roll.all().iter().filter(|one| one.name().starts_with(kind) && is_so(&one.figures())).count()
}

async fn wait(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
