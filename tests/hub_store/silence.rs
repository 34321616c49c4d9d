//! Whose silence is judged: that of agents, and never what the hub itself missed.

use std::time::Duration;

use sitepeer::api::*;

use crate::health::Place;
use crate::world::*;

/// A machine that was paused, or a clock that was set forward: the agents had no time to speak.
#[tokio::test]
async fn after_a_gap_in_the_hubs_own_time_agents_have_their_whole_time_to_speak() {
    let databases = Databases::new();
    for config in databases.configs("gap") {
        let place = Place::open(&config).await;
        place.report(1, TunnelState::Up).await;
        place.world.watch(Duration::from_mins(1)).await;
        place.world.pass(Duration::from_hours(1)).await;
        place.world.watch(Duration::from_secs(160)).await;
        assert_eq!(place.course().await, [], "the hub was away itself");
        place.world.watch(Duration::from_secs(40)).await;
        assert_eq!(place.course().await, [TunnelState::Stale], "now it was there all the while");
    }
}

#[tokio::test]
async fn while_the_database_is_away_nobody_is_silent_and_after_it_agents_have_their_whole_time_to_speak() {
    let databases = Databases::new();
    for config in databases.configs("database-away") {
        let place = Place::open(&config).await;
        place.report(1, TunnelState::Up).await;
        place.world.watch(Duration::from_mins(1)).await;
        // Nothing can be read or written of agents: longer than silence is, so that no look without an answer may count.
        Raw::all(&config, &["ALTER TABLE agent RENAME TO agent_away"]).await;
        for _ in 0..15 {
            place.world.clock.advance(Duration::from_secs(20));
            assert!(place.world.store.tick().await.is_err());
        }
        Raw::all(&config, &["ALTER TABLE agent_away RENAME TO agent"]).await;
        place.world.watch(Duration::from_secs(160)).await;
        assert_eq!(place.course().await, [], "they could not be heard");
        place.world.watch(Duration::from_secs(40)).await;
        assert_eq!(place.course().await, [TunnelState::Stale]);
    }
}

#[tokio::test]
async fn a_part_of_housekeeping_that_fails_keeps_no_other_from_running() {
    let databases = Databases::new();
    for config in databases.configs("parts") {
        let place = Place::open(&config).await;
        place.report(1, TunnelState::Up).await;
        // Whatever is done for rotations fails.
        Raw::all(&config, &["ALTER TABLE device RENAME TO device_away"]).await;
        for _ in 0..10 {
            place.world.clock.advance(Duration::from_secs(20));
            assert!(place.world.store.tick().await.is_err(), "and it is told");
        }
        Raw::all(&config, &["ALTER TABLE device_away RENAME TO device"]).await;
        assert_eq!(place.course().await, [TunnelState::Stale]);
    }
}
