//! Many routers in one supervisor: the dead cost the living nothing.
#![cfg(feature = "proxy")]

use std::time::{Duration, Instant};

use sitepeer::agent::standing::{Phase, Standing};
use sitepeer::agent::{Gates, Member, Settings, Source, Supervisor};
use sitepeer::sim::{Fault, SimOptions, SimRouter};
use tokio::net::TcpListener;

use crate::run::access;
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
    let standings = supervisor.standings();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(supervisor.run(async move { drop(stopped.await) }));
    wait("the living are kept", || of(&standings, "living", |one| one.phase == Phase::Watching) == LIVING).await;
    wait("the dead are away", || of(&standings, "dead", |one| one.is_away) == DEAD).await;
    assert_eq!(of(&standings, "living", |one| one.failures > 0), 0);
    // One of the living goes: the others do not notice.
    routers[0].inject("no-answer".parse::<Fault>().unwrap()).await;
    routers[0].reboot().await;
    wait("one is gone", || of(&standings, "living", |one| one.failures > 0) == 1).await;
    assert_eq!(of(&standings, "living", |one| one.phase == Phase::Watching), LIVING - 1);
    drop(stop);
    task.await.unwrap();
}

fn member(name: &str, access: sitepeer::routeros::target::Access, site: &SiteText) -> Member {
    Member { name: name.to_owned(), access, passwords: None, source: Source::File(Box::new(site.load())) }
}

fn of(standings: &[Standing], kind: &str, is_so: impl Fn(&sitepeer::agent::standing::Figures) -> bool) -> usize {
    standings.iter().filter(|one| one.name().starts_with(kind) && is_so(&one.figures())).count()
}

async fn wait(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
