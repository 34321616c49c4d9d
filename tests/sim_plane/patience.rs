//! What only shows after minutes. Run with `--ignored`.

use std::time::{Duration, Instant};

use crate::world::{HOST_A, HOST_B, World, ip};

#[tokio::test]
#[ignore = "takes more than three minutes: gotatun forgets a session after 180 s"]
async fn a_hub_that_was_away_for_three_minutes_is_found_again_and_the_last_handshake_was_not_forgotten() {
    let world = World::start().await;
    world.b.handshake().await;
    world.a.handshake().await;
    world.hub.set_black_hole(true);
    let silence = Duration::from_secs(210);
    let state =
        world.a.within(silence, "an age of 200 s", |state| state.last_handshake > Some(Duration::from_secs(200))).await;
    println!("after 200 s of silence: {state:?}");
    world.hub.set_black_hole(false);
    let back = Instant::now();
    world.a.until("a new handshake", |state| state.last_handshake < Some(Duration::from_secs(100))).await;
    println!("found again after {:?}", back.elapsed());
    assert_eq!(world.a.plane.lan_ping(ip(HOST_A), ip(HOST_B), 1).await.received, 1);
}

#[tokio::test]
#[ignore = "takes more than 90 seconds: so long gotatun tries by itself"]
async fn a_peer_with_keepalive_never_gives_up_its_first_handshake() {
    let mut world = World::start().await;
    world.hub.set_black_hole(true);
    world.a.peer().up = false;
    world.a.apply().await;
    world.a.peer().up = true;
    world.a.apply().await;
    // One initiation of 148 bytes every 5 s or more: in 90 s there are 19 at most.
    let patience = Duration::from_secs(150);
    world.a.within(patience, "a 21st initiation", |state| state.tx >= 21 * 148).await;
    world.hub.set_black_hole(false);
    world.a.handshake().await;
}
