//! A day of a tunnel's ordinary life, simulated: re-keys, hubs that restart, packets that are lost. Nothing of it is news.

use std::time::Duration;

use super::site;
use crate::api::TunnelState;
use crate::health::measured::{Dated, Echo, Measured, Moment};
use crate::health::monitor::{Monitor, Settings};
use crate::health::probe::Question;
use crate::health::state::{PERIOD, QUICK};
use crate::reconcile::entry::tests::entry;
use crate::routeros::client::Usage;
use crate::routeros::menu::format_duration;

const DAY: Duration = Duration::from_hours(24);
/// WireGuard makes new keys after this time. *Source:* the whitepaper, section 6.1: `REKEY_AFTER_TIME`.
const REKEY_AFTER: f64 = 120.0;
/// It takes a peer that does not answer for gone after this: `KEEPALIVE_TIMEOUT + REKEY_TIMEOUT`.
const NOTICES_AFTER: f64 = 15.0;
/// It tries a handshake again after this: `REKEY_TIMEOUT`.
const TRIES_AFTER: f64 = 5.0;

/// Numbers that are the same in every run of a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// Both ends and the line between, by the second.
struct Line {
    dice: Dice,
    /// How likely a packet is lost.
    loss: f64,
    /// When the present session was made, and whether the hub still knows it.
    session: f64,
    known: bool,
    /// When the hub restarts next, and until when it is away.
    restarts: f64,
    away_until: f64,
    /// When the router tries a handshake, if it noticed something.
    tries: Option<f64>,
    handshakes: u32,
    hub_restarts: u32,
    lost_pings: u32,
    rx: u64,
}

impl Line {
    fn new(seed: u64, loss: f64) -> Self {
        let mut dice = Dice(seed);
        let restarts = 600.0 + dice.next() * 3600.0;
        Self {
            dice,
            loss,
            session: 0.0,
            known: true,
            restarts,
            away_until: 0.0,
            tries: None,
            handshakes: 1,
            hub_restarts: 0,
            lost_pings: 0,
            rx: 0,
        }
    }

    fn passes(&mut self) -> bool {
        self.dice.next() >= self.loss
    }

    /// Lets all happen that is due up to a second.
    fn go(&mut self, now: f64) {
        if now >= self.restarts {
            self.hub_restarts += 1;
            self.known = false;
            self.away_until = self.restarts + 1.0 + self.dice.next() * 2.0;
            self.restarts += 1200.0 + self.dice.next() * 4800.0;
        }
        if self.tries.is_none() && self.known && now - self.session >= REKEY_AFTER {
            self.tries = Some(self.session + REKEY_AFTER);
        }
        while let Some(at) = self.tries.filter(|at| *at <= now) {
            if at >= self.away_until && self.passes() && self.passes() {
                (self.session, self.known, self.tries) = (at, true, None);
                self.handshakes += 1;
            } else {
                self.tries = Some(at + TRIES_AFTER);
            }
        }
    }

    /// One ping; a router whose data is not answered notices it after a while.
    fn ping(&mut self, now: f64) -> bool {
        self.go(now);
        let came = self.known && now >= self.away_until && self.passes() && self.passes();
        if came {
            self.rx += 96;
        } else {
            self.lost_pings += 1;
            if !self.known {
                self.tries.get_or_insert(now + NOTICES_AFTER);
            }
        }
        came
    }

    fn echo(&mut self, now: f64, count: u32) -> Echo {
        let came = (0..count).filter(|n| self.ping(now + f64::from(*n)));
        let rtts = came.map(|_| Duration::from_millis(40)).collect();
        Echo { sent: count, rtts, ..Echo::default() }
    }

    /// Answers what a cycle asks.
    fn answer(&mut self, questions: &[Question], measured: &mut Measured, at: Moment, second: f64) {
        for question in questions {
            match question {
                Question::Small(count) => measured.small = Some(Dated { at, value: self.echo(second, *count) }),
                Question::Full(count) => measured.full = Some(Dated { at, value: self.echo(second, *count) }),
                Question::Reach(address) => {
                    let value = self.echo(second, 1);
                    measured.reach.insert(*address, Dated { at, value });
                }
                Question::Peer => {
                    self.go(second);
                    let age = Duration::from_secs_f64((second - self.session).max(0.0).floor());
                    let handshake = format!("last-handshake={}", format_duration(age));
                    let row =
                        entry(&[".id=*1", "persistent-keepalive=25s", &handshake, &format!("rx={}", self.rx), "tx=1"]);
                    measured.peer = Some(Dated { at, value: Some(row) });
                }
                _ => {}
            }
        }
    }
}

/// A day, and what came of it: the line with its figures, transitions after the first, codes that were shown, looks.
fn day(seed: u64, loss: f64) -> (Line, Vec<String>, Vec<String>, u32) {
    let start = Moment { mono: Duration::from_secs(1), unix: 1_800_000_000 };
    let mut monitor = Monitor::new(site(), Settings::default(), start);
    let mut line = Line::new(seed, loss);
    let (mut now, mut looks) = (start, 0);
    let (mut transitions, mut shown) = (Vec::new(), Vec::new());
    while now.after(start) < DAY {
        let second = now.after(start).as_secs_f64();
        let before = monitor.measured.peer.clone();
        let questions = monitor.questions_of_turn();
        line.answer(&questions, &mut monitor.measured, now, second);
        if monitor.long_ping_is_lost(now) {
            line.answer(&[Question::Small(2), Question::Peer], &mut monitor.measured, now, second + 1.0);
        }
        let (_, phase) = monitor.judge(before.as_ref(), now);
        let report = monitor.settle(phase, Usage::default(), now);
        transitions.extend(report.transition.map(|t| format!("{second}: {:?} to {:?}", t.from, t.to)));
        shown.extend(report.findings.into_iter().map(|finding| format!("{second}: {}", finding.code)));
        assert!((QUICK..=PERIOD).contains(&report.next_in));
        monitor.turn += 1;
        looks += 1;
        now = now.plus(report.next_in);
    }
    assert_eq!(monitor.state(), TunnelState::Up);
    (line, transitions, shown, looks)
}

#[test]
fn a_day_of_re_keys_hub_restarts_and_lost_packets_is_no_news() {
    for seed in 1..=20 {
        let (line, transitions, shown, looks) = day(seed * 7919, 0.002);
        assert_eq!(transitions, ["0: Unknown to Up"], "seed {seed}");
        assert_eq!(shown, [""; 0], "seed {seed}");
        // The day was not an empty one.
        assert!(
            line.handshakes > 500 && line.hub_restarts > 10 && line.lost_pings > 50,
            "{} {} {}",
            line.handshakes,
            line.hub_restarts,
            line.lost_pings
        );
        assert!(looks < 3200, "{looks} looks: what is ordinary must not make the monitor look more often");
    }
}

#[test]
fn a_line_that_loses_a_tenth_of_its_packets_is_no_dead_tunnel() {
    let (_, transitions, _, _) = day(4242, 0.05);
    assert!(transitions.iter().all(|transition| !transition.contains("Down")), "{transitions:?}");
}
