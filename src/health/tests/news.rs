//! What a monitor says of measurements: each test makes them by hand, and time goes on as it is told.

use std::time::Duration;

use super::site;
use crate::api::{Severity, TunnelState};
use crate::health::assess::HubView;
use crate::health::measured::{Dated, Echo, Moment};
use crate::health::monitor::{Monitor, Report, Settings};
use crate::reconcile::entry::tests::entry;
use crate::routeros::client::Usage;

const START: Moment = Moment { mono: Duration::from_secs(1), unix: 1_800_000_000 };
const REACHED: &str = "192.168.89.1";

fn came(count: u32) -> Echo {
    Echo { sent: count, rtts: (0..count).map(|_| Duration::from_millis(40)).collect(), ..Echo::default() }
}

fn lost(count: u32) -> Echo {
    Echo { sent: count, status: Some("timeout".into()), ..Echo::default() }
}

/// A monitor whose measurements are made here.
struct Desk {
    monitor: Monitor,
    now: Moment,
}

impl Desk {
    fn new() -> Self {
        Self { monitor: Monitor::new(site(), Settings::default(), START), now: START }
    }

    /// A look in which so many small pings came back, of three.
    fn look(&mut self, back: u32) -> Report {
        self.look_with(Echo { sent: 3, ..came(back) }, |_, _| {})
    }

    fn look_with(&mut self, small: Echo, change: impl FnOnce(&mut Monitor, Moment)) -> Report {
        let (now, before) = (self.now, self.monitor.measured.peer.clone());
        self.monitor.measured.small = Some(Dated { at: now, value: small });
        change(&mut self.monitor, now);
        let (_, phase) = self.monitor.judge(before.as_ref(), now);
        let report = self.monitor.settle(phase, Usage::default(), now);
        self.now = now.plus(report.next_in);
        report
    }
}

fn peer(monitor: &mut Monitor, at: Moment, handshake: &str, rx: u64) {
    let handshake = format!("last-handshake={handshake}");
    let row = entry(&[".id=*1", "persistent-keepalive=25s", &handshake, &format!("rx={rx}")]);
    monitor.measured.peer = Some(Dated { at, value: Some(row) });
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn a_third_of_the_pings_lost_for_a_minute_is_a_finding_and_clears_when_it_is_over() {
    let mut desk = Desk::new();
    let begun = desk.now;
    let report = loop {
        let report = desk.look(2);
        if !report.findings.is_empty() {
            break report;
        }
        assert!(desk.now.after(begun) < Duration::from_mins(5), "{report:?}");
    };
    assert_eq!((codes(&report), report.state), (vec!["packet-loss"], TunnelState::Degraded));
    assert!(desk.now.after(begun) > Duration::from_mins(2), "two looks prove nothing");
    for _ in 0..40 {
        desk.look(3);
    }
    assert_eq!(desk.look(3).state, TunnelState::Up);
}

#[test]
fn a_probe_that_is_silent_in_a_tunnel_that_lives_is_no_dead_tunnel() {
    let mut desk = Desk::new();
    let mut rx = 100;
    let mut last = Vec::new();
    for _ in 0..30 {
        // What comes in shows that the other end lives: keepalives, or others' traffic.
        rx += 32;
        let report = desk.look_with(lost(3), |monitor, at| peer(monitor, at, "30s", rx));
        assert_ne!(report.state, TunnelState::Down, "{report:?}");
        last = codes(&report).into_iter().map(str::to_owned).collect();
    }
    assert_eq!((last, desk.monitor.state()), (vec!["no-answer".to_owned()], TunnelState::Degraded));
}

#[test]
fn a_router_that_may_not_ping_is_judged_by_its_handshake() {
    let refused = || Echo { sent: 3, refused: Some("not enough permissions (9)".into()), ..Echo::default() };
    let mut desk = Desk::new();
    let report = desk.look_with(refused(), |monitor, at| peer(monitor, at, "170s", 5));
    assert_eq!((codes(&report), report.state), (vec!["ping-refused"], TunnelState::Degraded), "{report:?}");
    for _ in 0..10 {
        desk.look_with(refused(), |monitor, at| peer(monitor, at, "190s", 5));
    }
    assert_eq!(
        desk.monitor.state(),
        TunnelState::Down,
        "no handshake for so long, and keepalives should have made one"
    );
}

#[test]
fn an_address_beyond_the_hub_is_missed_only_if_it_answered_and_after_three_times() {
    let mut desk = Desk::new();
    let reach = |monitor: &mut Monitor, at, value| {
        drop(monitor.measured.reach.insert(REACHED.parse().unwrap(), Dated { at, value }));
    };
    for _ in 0..20 {
        let report = desk.look_with(came(3), |monitor, at| reach(monitor, at, lost(1)));
        assert_eq!((codes(&report), report.state), (vec![], TunnelState::Up), "it never answered: {report:?}");
    }
    desk.look_with(came(3), |monitor, at| reach(monitor, at, came(1)));
    let report = desk.look_with(came(3), |monitor, at| reach(monitor, at, lost(1)));
    assert_eq!(codes(&report), [""; 0], "once is bad luck");
    for _ in 0..12 {
        desk.look_with(came(3), |monitor, at| reach(monitor, at, lost(1)));
    }
    let report = desk.look_with(came(3), |monitor, at| reach(monitor, at, lost(1)));
    assert_eq!((codes(&report), report.state), (vec!["subnet-unreachable"], TunnelState::Degraded));
    assert!(report.findings[0].evidence.contains(REACHED));
    let mut report = report;
    for _ in 0..12 {
        report = desk.look_with(came(3), |monitor, at| reach(monitor, at, came(1)));
    }
    assert_eq!((codes(&report), report.state), (vec![], TunnelState::Up));
}

#[test]
fn another_wan_address_is_news_for_a_while_and_no_fault() {
    let mut desk = Desk::new();
    let wan = |monitor: &mut Monitor, at, address: &str| {
        let route = entry(&["dst-address=0.0.0.0/0", "gateway=203.0.113.1", "active=true"]);
        monitor.measured.routes = Some(Dated { at, value: vec![route] });
        monitor.measured.addresses = Some(Dated { at, value: vec![entry(&[&format!("address={address}/24")])] });
    };
    desk.look_with(came(3), |monitor, at| wan(monitor, at, "203.0.113.10"));
    let report = desk.look_with(came(3), |monitor, at| wan(monitor, at, "203.0.113.77"));
    assert_eq!((codes(&report), report.state), (vec!["wan-changed"], TunnelState::Up));
    assert_eq!((report.findings[0].severity, report.sample.wan), (Severity::Info, "203.0.113.77".parse().ok()));
    for _ in 0..25 {
        desk.look(3);
    }
    assert_eq!(codes(&desk.look(3)), [""; 0]);
}

#[test]
fn a_processor_that_is_busy_for_a_minute_is_a_finding() {
    let mut desk = Desk::new();
    let load = |monitor: &mut Monitor, at, percent: u8| {
        let row = entry(&[&format!("cpu-load={percent}"), "uptime=1d"]);
        monitor.measured.resource = Some(Dated { at, value: row });
    };
    let report = desk.look_with(came(3), |monitor, at| load(monitor, at, 100));
    assert_eq!(codes(&report), [""; 0], "a moment is nothing");
    for _ in 0..30 {
        desk.look_with(came(3), |monitor, at| load(monitor, at, 99));
    }
    let report = desk.look_with(came(3), |monitor, at| load(monitor, at, 99));
    assert_eq!((codes(&report), report.state), (vec!["router-overloaded"], TunnelState::Degraded));
}

#[test]
fn what_goes_to_the_hub_says_the_same_in_the_old_words() {
    let mut desk = Desk::new();
    let report = desk.look_with(came(3), |monitor, at| peer(monitor, at, "12s", 5)).for_hub(7, START.unix);
    assert_eq!((report.number, report.at, report.state), (7, START.unix, Some(TunnelState::Up)));
    assert_eq!((report.tunnel.verdict.as_str(), report.tunnel.handshake_age_secs), ("proven", Some(12)));
    assert_eq!(report.tunnel.rtt_us, Some(40_000));
    for _ in 0..20 {
        desk.look(0);
    }
    let report = desk.look(0).for_hub(8, START.unix);
    assert_eq!((report.tunnel.verdict.as_str(), report.findings[0].code.as_str()), ("unproven:no-reply", "no-reply"));
    desk.monitor.set_hub(HubView { enabled: Some(false), ..HubView::default() });
    let report = desk.look(0);
    assert_eq!((codes(&report), report.state), (vec!["peer-disabled-at-hub"], TunnelState::Disabled));
    assert_eq!(report.for_hub(9, START.unix).tunnel.verdict, "unknown");
    // An agent of before has none of it, and a hub of before reads none of it.
    let old = serde_json::json!({"number": 1, "at": 2, "tunnel": {"verdict": "proven"}});
    let old: crate::api::AgentReport = serde_json::from_value(old).unwrap();
    assert_eq!((old.state, old.findings.len(), old.sample), (None, 0, None));
}
