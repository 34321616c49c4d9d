//! A tunnel that is well, and one that dies and comes back.

use std::time::Duration;

use sitepeer::api::TunnelState;
use sitepeer::health::probe::{BYTES_PER_MINUTE, COMMANDS_PER_MINUTE};
use sitepeer::health::state::PERIOD;

use crate::watch::{Watch, codes};

#[tokio::test]
async fn a_steady_tunnel_costs_its_router_six_commands_a_minute() {
    let mut watch = Watch::up().await;
    let per_minute = Duration::from_mins(1).as_secs() / PERIOD.as_secs();
    for _ in 0..8 {
        let (mut commands, mut bytes) = (0, 0);
        for _ in 0..per_minute {
            let report = watch.cycle().await;
            assert_eq!((report.state, report.next_in), (TunnelState::Up, PERIOD), "{report:#?}");
            commands += report.usage.commands;
            bytes += report.usage.sent_bytes + report.usage.received_bytes;
        }
        assert!(commands <= COMMANDS_PER_MINUTE, "{commands} commands");
        assert!(bytes <= BYTES_PER_MINUTE, "{bytes} bytes");
    }
}

#[tokio::test]
async fn what_is_measured_is_reported() {
    let mut watch = Watch::up().await;
    let sample = watch.cycle().await.sample;
    assert!(sample.handshake_age_secs.is_some_and(|age| age < 60), "{sample:?}");
    assert!(sample.rx_bytes > Some(0) && sample.tx_bytes > Some(0), "{sample:?}");
    assert_eq!((sample.loss_percent, sample.mtu), (Some(0), Some(1420)), "{sample:?}");
    assert!(sample.rtt_us.is_some_and(|rtt| rtt.min <= rtt.avg && rtt.avg <= rtt.max), "{sample:?}");
    assert_eq!(sample.endpoint, Some(watch.world.hub.endpoint().to_string()));
    assert!(sample.clock_offset_secs.is_some_and(|offset| offset.abs() < 60), "{sample:?}");
    assert_eq!((sample.cpu_percent, sample.memory_free), (Some(1), Some(712_368_128)));
    assert_eq!(sample.wan, Some("203.0.113.10".parse().unwrap()));
    assert!(sample.version.is_some_and(|version| version.starts_with("7.24")));
    assert_eq!(sample.temperature, None, "this device has no sensor");
}

#[tokio::test]
async fn a_tunnel_that_dies_is_down_within_a_minute_and_up_when_it_returns() {
    let mut watch = Watch::up().await;
    watch.world.hub.set_black_hole(true);
    let report = watch.until(|report| report.state == TunnelState::Down).await;
    let transition = report.transition.unwrap();
    assert_eq!((transition.from, transition.to), (TunnelState::Up, TunnelState::Down));
    watch.world.hub.set_black_hole(false);
    let report = watch.until(|report| report.state == TunnelState::Up).await;
    assert_eq!(codes(&report), [""; 0], "{report:#?}");
}
