//! Routers that let us in and behave oddly then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sitepeer::agent::standing::Phase;
use sitepeer::api::TunnelState;

use crate::away::Stepped;
use crate::meddler::{Fate, Meddler, Said};
use crate::run::access;
use crate::running::Running;
use crate::world::{World, shape};

/// A route that the site reaches.
const ROUTE: &str = "192.168.89.0/24";

#[tokio::test]
async fn one_that_takes_logins_and_answers_nothing_else_counts_as_stale_and_then_as_up_again() {
    let world = World::start().await;
    assert_eq!(world.provision(&world.site()).await.exit(), 0);
    let is_mute = Arc::new(AtomicBool::new(false));
    let mute = Arc::clone(&is_mute);
    let on_command = move |command: &Said| {
        if mute.load(Ordering::Relaxed) && command[0] != b"/login" { Fate::Answer(Vec::new()) } else { Fate::Pass }
    };
    let meddler = Meddler::start(&world.router, on_command, |_, said| vec![said]).await;
    let agent = Running::of_file(access("admin", "", meddler.address), world.site().load());
    agent.until("up", |figures| figures.state == Some(TunnelState::Up)).await;
    let clock = Stepped::begin();
    for (is_on, wanted) in [(true, TunnelState::Stale), (false, TunnelState::Up)] {
        is_mute.store(is_on, Ordering::Relaxed);
        let mut steps = 0;
        while agent.figures().state != Some(wanted) {
            clock.step().await;
            steps += 1;
            // Three minutes, a deadline of half a minute on either side, and the longest pause after so many failures.
            assert!(steps < 4 * 60 * 12, "{:?}", agent.figures());
        }
    }
    tokio::time::resume();
    drop(clock);
    agent.stop().await;
}

#[tokio::test]
async fn one_whose_rules_change_all_the_time_is_looked_at_all_the_same() {
    let world = World::start().await;
    let agent = Running::of_file(world.access(), world.site().load());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    let portal = [("chain", "forward"), ("action", "accept"), ("comment", "portal")];
    world.operator("/ip/firewall/filter/add", &portal).await;
    let rule = world.id_of("/ip/firewall/filter", "comment", "portal");
    let clock = Stepped::begin();
    let before = agent.figures().looks;
    for step in 0..4 * 60 {
        let comment = format!("portal {step}");
        let attrs = [(".id", rule.as_str()), ("comment", comment.as_str())];
        let mut set = std::pin::pin!(world.operator("/ip/firewall/filter/set", &attrs));
        let mut is_set = false;
        // The simulated router takes its time as well.
        while !is_set {
            tokio::select! {
                _row = &mut set => is_set = true,
                () = clock.step() => {}
            }
        }
        clock.step().await;
    }
    let looks = agent.figures().looks - before;
    assert!(looks >= 3, "{looks} looks in a minute");
    tokio::time::resume();
    drop(clock);
    agent.stop().await;
}

#[tokio::test]
async fn what_changed_while_the_session_was_away_is_drift_as_well() {
    let world = World::start().await;
    let agent = Running::of_file(world.access(), world.site().load());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    let as_wanted = shape(&world);
    let route = world.id_of("/ip/route", "dst-address", ROUTE);
    // Both before the agent can do anything: the row goes, and the session with it.
    let attrs = [(".id", route.as_str())];
    tokio::join!(world.operator("/ip/route/remove", &attrs), world.router.reboot());
    let figures = agent.until("put back", |figures| figures.drifts > 0 && figures.phase == Phase::Watching).await;
    assert_eq!(figures.drifts, 1);
    crate::world::assert_same(&as_wanted, &shape(&world), "after it");
    agent.stop().await;
}

#[tokio::test]
async fn a_time_longer_than_any_router_lives_is_no_time_and_ends_nothing() {
    let world = World::start().await;
    let on_reply = |path: &str, said: Said| {
        let odd = |word: Vec<u8>| match path {
            "/system/resource/print" if word.starts_with(b"=uptime=") => format!("=uptime={}s", u64::MAX).into_bytes(),
            _ if word.starts_with(b"=last-handshake=") => format!("=last-handshake={}s", u64::MAX).into_bytes(),
            _ => word,
        };
        vec![said.into_iter().map(odd).collect()]
    };
    assert_eq!(world.provision(&world.site()).await.exit(), 0);
    let meddler = Meddler::replies(&world.router, on_reply).await;
    let agent = Running::of_file(access("admin", "", meddler.address), world.site().load());
    agent.until("as wanted", |figures| figures.phase == Phase::Watching).await;
    world.hub.set_black_hole(true);
    let clock = Stepped::begin();
    let before = agent.figures().looks;
    let mut steps = 0;
    while agent.figures().looks < before + 10 {
        clock.step().await;
        steps += 1;
        assert!(steps < 4 * 60 * 10, "{:?}", agent.figures());
    }
    tokio::time::resume();
    drop(clock);
    agent.stop().await;
}
