//! Endpoints that move, gateways that start again, keys that change: under 2 x 20 pings a second.
//!
//! A name that leads elsewhere while the gateway cannot call, because of a NAT, is healed by the agent: `tests/agent/heals.rs`.

use std::time::Duration;

use sitepeer::api::{InstanceEdit, TunnelState};

use crate::stage::{Pinged, Stage};
use crate::world::{assert_same, foreign, ip};

/// A gateway without root that starts again has lost its sessions: it calls who was there, so that nobody waits for a timer of
/// WireGuard's (15 s) to find out. Pings lost in longer than this would mean that it does not.
const RESTART_WITHIN: Duration = Duration::from_secs(5);

/// Nothing that was announced costs a ping.
fn assert_none(pinged: &Pinged) {
    assert!(pinged.sent > 40, "{}: only {} pings", pinged.what, pinged.sent);
    assert_eq!(pinged.lost, 0, "{}", pinged.what);
}

#[tokio::test]
async fn what_is_announced_costs_no_ping_and_a_gateway_that_starts_again_costs_few() {
    let mut stage = Stage::up().await;

    let was = stage.shown().await;
    let work = async |stage: &mut Stage| {
        stage.far.store.rotate_peer(&stage.far.admin, &stage.peer).await.unwrap();
        stage.moved_from(&was).await;
    };
    assert_none(&stage.under_pings("announced: another key of the router", work).await);

    let (was, key) = (stage.shown().await, stage.instance_shown().await.public_key);
    let work = async |stage: &mut Stage| {
        stage.far.store.rotate_instance(&stage.far.admin, &stage.instance).await.unwrap();
        stage.moved_from(&was).await;
    };
    assert_none(&stage.under_pings("announced: another key of the gateway", work).await);
    assert_ne!(stage.instance_shown().await.public_key, key);

    let was = stage.shown().await;
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let work = async |stage: &mut Stage| {
        let edit = InstanceEdit { listen_port: Some(port), ..InstanceEdit::default() };
        stage.far.store.edit_instance(&stage.far.admin, &stage.instance, None, edit).await.unwrap();
        stage.moved_from(&was).await;
    };
    assert_none(&stage.under_pings("announced: another port of the endpoint", work).await);
    assert_eq!(stage.instance_shown().await.listen_port, Some(port));

    let restart = stage
        .under_pings("the gateway is killed and starts again", async |stage| {
            stage.far.restart_gateway().await;
            stage.answers().await;
        })
        .await;
    assert!(restart.took < RESTART_WITHIN, "{:?}", restart.took);

    let was = stage.shown().await;
    let in_the_midst = async |stage: &mut Stage| {
        stage.far.store.rotate_peer(&stage.far.admin, &stage.peer).await.unwrap();
        stage.until("in the midst of it", |_, figures| figures.beside.is_some()).await;
        stage.far.restart_gateway().await;
        stage.moved_from(&was).await;
    };
    stage.under_pings("the same in the midst of a change of key", in_the_midst).await;

    // The gateway calls from where it is now, and the router's end follows it: nobody has to find out first.
    let elsewhere = stage
        .under_pings("the gateway is killed and starts at another address", async |stage| {
            stage.move_gateway(ip("127.0.0.2")).await;
            stage.answers().await;
        })
        .await;
    assert!(elsewhere.took < RESTART_WITHIN, "{:?}", elsewhere.took);
    stage.until("up", |_, figures| figures.state == Some(TunnelState::Up)).await;

    assert_same(&stage.before, &foreign(&stage.world), "rows of others");
    let figures = stage.agent.stop().await;
    assert_eq!((figures.drifts, figures.heals, figures.trouble), (0, 0, None));
}
