use super::*;

const START: Duration = Duration::from_hours(100);
/// How often a look is taken of a tunnel that is down.
const LOOK_EVERY: Duration = Duration::from_secs(15);

fn finding(code: &str, severity: Severity) -> HealthFinding {
    HealthFinding { code: code.to_owned(), severity, since: 0, evidence: "seen".to_owned(), hint: String::new() }
}

fn down(findings: &[HealthFinding]) -> Look<'_> {
    Look {
        now: START,
        state: TunnelState::Down,
        for_long: Duration::from_mins(10),
        findings,
        handshake: Some(Duration::from_mins(11)),
        sends: true,
        is_elsewhere: false,
        is_named: true,
        endpoints: 2,
    }
}

/// Goes on for so long with a tunnel that nothing heals, and says when which step was taken.
fn unhealed(healer: &mut Healer, look: Look<'_>, long: Duration) -> Vec<(Duration, Step)> {
    let mut taken = Vec::new();
    let mut passed = Duration::ZERO;
    while passed < long {
        let now = Look {
            now: look.now + passed,
            for_long: look.for_long + passed,
            handshake: look.handshake.map(|age| age + passed),
            ..look
        };
        assert!(healer.ended(&now).is_none_or(|ended| !ended.helped));
        if let Some(due) = healer.due(&now) {
            taken.push((passed, due.step));
            healer.take(due, now.now);
        }
        passed += LOOK_EVERY;
    }
    taken
}

/// What a router's note says.
fn noted(step: Step, at: i64, of_day: u16) -> Healed {
    Healed { step, at, of_day }
}

fn steps(taken: &[(Duration, Step)]) -> Vec<Step> {
    taken.iter().map(|(_, step)| *step).collect()
}

#[test]
fn steps_come_in_turn_the_mildest_first_and_each_has_its_time() {
    use Step::{Bounce, Endpoint, Port};
    let findings = [finding("no-reply", Severity::Critical)];
    let taken = unhealed(&mut Healer::default(), down(&findings), Duration::from_mins(6));
    assert_eq!(steps(&taken), [Bounce, Port, Endpoint, Bounce, Port, Endpoint]);
    assert!(taken.windows(2).all(|two| two[1].0 >= two[0].0 + STEP_TIME), "{taken:?}");
}

#[test]
fn a_step_for_which_nothing_was_written_has_no_part_in_what_follows_and_counts_all_the_same() {
    let findings = [finding("no-reply", Severity::Critical)];
    let (mut healer, look) = (Healer::default(), down(&findings));
    let due = healer.due(&look).unwrap();
    healer.take(due.clone(), look.now);
    healer.passed_over();
    let back = Look { state: TunnelState::Up, findings: &[], ..look };
    assert_eq!((healer.ended(&back), healer.of_day(look.now)), (None, 1));
    let later = Look { now: look.now + STEP_TIME, ..look };
    assert!(healer.due(&later).is_some_and(|next| next.step == due.step), "it is up meanwhile: from the mildest on");
}

#[test]
fn a_tunnel_that_cannot_be_healed_is_left_alone_beyond_the_limits() {
    let findings = [finding("no-udp-egress", Severity::Critical)];
    let taken = unhealed(&mut Healer::default(), down(&findings), DAY * 2);
    for from in 0..48 * 60 {
        let from = Duration::from_mins(from);
        let of_hour: Vec<Step> =
            taken.iter().filter(|(at, _)| (from..from + HOUR).contains(at)).map(|(_, step)| *step).collect();
        for step in Step::ALL {
            assert!(of_hour.iter().filter(|taken| **taken == step).count() <= limit(step), "{step:?} at {from:?}");
        }
        assert!(taken.iter().filter(|(at, _)| (from..from + DAY).contains(at)).count() <= MOST_A_DAY);
    }
    assert!(taken.len() > MOST_A_DAY, "it is tried again on the second day");
}

#[test]
fn a_name_that_stands_for_another_address_is_set_again_at_once_and_once() {
    let findings = [finding("stale-endpoint", Severity::Critical)];
    let fresh = Look { handshake: Some(Duration::from_secs(70)), for_long: Duration::ZERO, ..down(&findings) };
    let until_stuck = STUCK_AFTER.saturating_sub(Duration::from_secs(71));
    let taken = unhealed(&mut Healer::default(), fresh, until_stuck);
    assert_eq!(steps(&taken), [Step::Resolve], "nothing else is done to a session that may live");
    let literal = Look { is_named: false, ..fresh };
    assert_eq!(Healer::default().due(&literal), None);
}

#[test]
fn where_setting_the_name_again_does_not_help_the_other_steps_follow() {
    use Step::{Bounce, Endpoint, Port, Resolve};
    let findings = [finding("stale-endpoint", Severity::Critical)];
    let fresh = Look { handshake: Some(Duration::from_secs(70)), for_long: Duration::ZERO, ..down(&findings) };
    let taken = unhealed(&mut Healer::default(), fresh, Duration::from_mins(10));
    assert_eq!(steps(&taken), [Resolve, Bounce, Port, Endpoint, Resolve, Bounce, Port, Endpoint, Resolve]);
    assert!(taken[1].0 + Duration::from_secs(70) >= STUCK_AFTER, "{taken:?}");
    let quiet = Look { sends: false, ..fresh };
    assert!(steps(&unhealed(&mut Healer::default(), quiet, HOUR)).iter().all(|step| *step == Resolve));
}

#[test]
fn a_name_that_moves_all_the_time_is_followed_up_to_the_limit_and_the_other_steps_follow() {
    use Step::{Bounce, Endpoint, Port, Resolve};
    let mut healer = Healer::default();
    let mut taken = Vec::new();
    for minute in 0..12 {
        let moved =
            HealthFinding { evidence: format!("sent to {minute}"), ..finding("stale-endpoint", Severity::Critical) };
        let findings = [moved];
        let look = Look { now: START + STEP_TIME * minute, ..down(&findings) };
        healer.ended(&look);
        if let Some(due) = healer.due(&look) {
            taken.push(due.step);
            healer.take(due, look.now);
        }
    }
    assert_eq!(taken, [Resolve, Resolve, Resolve, Bounce, Port, Endpoint, Bounce, Port, Endpoint, Endpoint, Endpoint]);
}

#[test]
fn a_session_that_may_still_live_is_not_disturbed() {
    let findings = [finding("no-reply", Severity::Critical)];
    let young = Look { handshake: Some(Duration::from_secs(179)), ..down(&findings) };
    assert_eq!(Healer::default().due(&young), None);
    let never = Look { handshake: None, for_long: Duration::from_secs(179), ..down(&findings) };
    assert_eq!(Healer::default().due(&never), None);
    let quiet = Look { sends: false, ..down(&findings) };
    assert_eq!(Healer::default().due(&quiet), None);
}

#[test]
fn what_healing_cannot_mend_is_left_alone() {
    for code in ["wan-down", "wrong-key", "clock-behind", "peer-disabled", "endpoint-in-reach", "router-unreachable"] {
        let findings = [finding(code, Severity::Critical)];
        assert_eq!(Healer::default().due(&down(&findings)), None, "{code}");
        let both = [finding("no-reply", Severity::Critical), finding(code, Severity::Critical)];
        assert_eq!(Healer::default().due(&down(&both)), None, "{code} beside another");
    }
    let findings = [finding("no-udp-egress", Severity::Critical)];
    assert_eq!(Healer::default().due(&Look { is_elsewhere: true, ..down(&findings) }), None);
    for state in
        [TunnelState::Up, TunnelState::Degraded, TunnelState::Stale, TunnelState::Disabled, TunnelState::Unknown]
    {
        assert_eq!(Healer::default().due(&Look { state, ..down(&findings) }), None, "{state:?}");
    }
}

#[test]
fn a_hub_that_is_down_is_left_for_its_next_endpoint_and_where_there_is_none_nothing_is_done() {
    let findings = [finding("hub-down", Severity::Critical)];
    let taken = unhealed(&mut Healer::default(), down(&findings), HOUR);
    assert_eq!(steps(&taken), [Step::Endpoint; 4]);
    assert_eq!(unhealed(&mut Healer::default(), Look { endpoints: 1, ..down(&findings) }, HOUR), []);
}

#[test]
fn a_step_that_helped_is_told_once_and_the_next_trouble_begins_with_the_mildest_again() {
    let findings = [finding("no-reply", Severity::Critical)];
    let (mut healer, look) = (Healer::default(), down(&findings));
    for step in [Step::Bounce, Step::Port] {
        let at = look.now + STEP_TIME * u32::from(step == Step::Port);
        let now = Look { now: at, ..look };
        if step == Step::Port {
            assert!(!healer.ended(&now).unwrap().helped);
        }
        let due = healer.due(&now).unwrap();
        assert_eq!(due.step, step);
        healer.take(due, at);
    }
    // A handshake came, but the state waits for a second sign: no next step meanwhile.
    let coming = Look { now: look.now + STEP_TIME * 3, handshake: Some(Duration::from_secs(5)), ..look };
    assert_eq!((healer.ended(&coming), healer.due(&coming)), (None, None));
    let up = Look { state: TunnelState::Up, findings: &[], ..coming };
    let ended = healer.ended(&up).unwrap();
    assert!(ended.helped && ended.step == Step::Port && ended.evidence.contains("no-reply"), "{ended:?}");
    assert_eq!(healer.ended(&up), None);
    let again = Look { now: look.now + STEP_TIME * 30, ..look };
    assert_eq!(healer.due(&again).unwrap().step, Step::Bounce);
}

#[test]
fn an_agent_that_begins_again_counts_the_step_that_the_router_tells_of() {
    let findings = [finding("no-reply", Severity::Critical)];
    let look = down(&findings);
    let mut healer = Healer::default();
    healer.know(Some(noted(Step::Bounce, 1_000, 1)), 1_030, look.now);
    assert_eq!(healer.due(&look), None, "its time is not over");
    let later = Look { now: look.now + STEP_TIME, ..look };
    assert_eq!(healer.due(&later).unwrap().step, Step::Port, "the next in turn");
    // Told again after the next reading, it is not counted again.
    healer.know(Some(noted(Step::Bounce, 1_000, 1)), 1_060, later.now);
    assert_eq!(healer.taken.len(), 1);
    let mut old = Healer::default();
    old.know(Some(noted(Step::Bounce, 1_000, 1)), 1_000_000, look.now);
    assert_eq!(old.due(&look).unwrap().step, Step::Bounce);
}

#[test]
fn another_wish_ends_the_turn_and_not_the_limits() {
    let findings = [finding("no-reply", Severity::Critical)];
    let look = down(&findings);
    let mut healer = Healer::default();
    let taken = unhealed(&mut healer, look, Duration::from_mins(4));
    healer.forget();
    let later = Look { now: look.now + Duration::from_mins(5), ..look };
    assert_eq!(healer.due(&later).map(|due| due.step), Some(Step::Port), "bounced twice in this hour: {taken:?}");
}

#[test]
fn a_step_that_the_router_undid_is_not_taken_again_and_the_others_are() {
    use Step::{Bounce, Port};
    let findings = [finding("no-reply", Severity::Critical)];
    let mut healer = Healer::default();
    healer.undone(Step::Endpoint, START);
    let taken = unhealed(&mut healer, down(&findings), BARRED);
    assert!(steps(&taken).starts_with(&[Bounce, Port, Bounce, Port]), "{taken:?}");
    assert!(!steps(&taken).contains(&Step::Endpoint), "{taken:?}");
    let mut healer = Healer::default();
    healer.undone(Step::Endpoint, START);
    let findings = [finding("hub-down", Severity::Critical)];
    let look = down(&findings);
    assert_eq!(healer.due(&Look { now: (START + BARRED).saturating_sub(LOOK_EVERY), ..look }), None);
    assert_eq!(healer.due(&Look { now: START + BARRED, ..look }).map(|due| due.step), Some(Step::Endpoint));
    healer.undone(Step::Endpoint, START + BARRED);
    healer.forget();
    assert!(healer.due(&Look { now: START + BARRED, ..look }).is_some(), "another wish is another step");
}

#[test]
fn an_agent_that_is_started_again_and_again_heals_no_more_often_in_a_day() {
    let findings = [finding("no-reply", Severity::Critical)];
    let (mut note, mut unix, mut taken) = (None, 1_000_000, 0);
    // An agent that dies two minutes after each start.
    for _ in 0..12 * 60 {
        let mut healer = Healer::default();
        healer.know(note, unix, START);
        if let Some(due) = healer.due(&down(&findings)) {
            healer.take(due.clone(), START);
            note = Some(noted(due.step, unix, u16::try_from(healer.of_day(START)).unwrap()));
            taken += 1;
        }
        unix += 120;
    }
    assert_eq!(taken, MOST_A_DAY);
    let mut healer = Healer::default();
    healer.know(note, unix + 24 * 60 * 60, START);
    assert!(healer.due(&down(&findings)).is_some(), "it is tried again on the next day");
}
