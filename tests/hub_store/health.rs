//! Health: what agents report becomes states, transitions and hours, by the hub's clock; and freezes.

use std::time::Duration;

use sitepeer::api::*;
use sitepeer::hub::store::{Actor, Paging, Scope, StoreConfig};

use crate::world::*;

/// A site peer with a router's key, at a gateway that serves it.
pub struct Place {
    pub world: World,
    account: AccountId,
    gateway: GatewayId,
    site: SiteId,
    instance: InstanceId,
    peer: PeerId,
    key: u64,
}

/// An agent's clock, wrong by years: nothing here may depend on it.
const ODD_CLOCK: i64 = 86_400;

impl Place {
    pub async fn open(config: &StoreConfig) -> Self {
        let world = World::open(config).await;
        let account = world.account("a").await;
        let gateway = world.gateway("gw", "eu").await;
        let site = world.site(&account, "s").await;
        let instance = world.instance(&account, "main").await.id;
        let peer = world.peer(&instance, site_peer(&site, "p", &["10.1.0.0/24"])).await.unwrap().id;
        world.serve(&gateway).await;
        let revision = world.desired(&peer).await.revision;
        let applied = AgentApplied { revision, public_key: key(7), device: DeviceFacts::default(), next: None };
        world.store.agent_applied(&peer, applied).await.unwrap();
        Self { world, account, gateway, site, instance, peer, key: 1 }
    }

    async fn say(&self, batch: AgentReports) -> i64 {
        self.world.store.agent_reports(&self.peer, batch).await.unwrap().number
    }

    /// One report that is sent as it is made.
    pub async fn report(&self, number: i64, state: TunnelState) {
        self.say(batch("e", vec![report(number, ODD_CLOCK + number, state)])).await;
    }

    /// The gateway says how long ago the last handshake was.
    async fn handshake(&mut self, age: Option<i64>) {
        let at = 1_000_000;
        let seen = PeerTraffic {
            peer: self.peer.clone(),
            revision: 1,
            handshake_at: age.map(|age| at - age),
            connected_since: None,
            endpoint: Some("198.51.100.9:4000".parse().unwrap()),
            rx_bytes: 10,
            tx_bytes: 20,
        };
        let number = i64::try_from(self.key).unwrap();
        self.key += 1;
        let report = GatewayReport { epoch: "g".to_owned(), number, at, peers: vec![seen] };
        self.world.store.gateway_report(&self.gateway, report).await.unwrap();
    }

    async fn health(&self) -> SiteHealth {
        self.world.store.site_health(&self.world.admin, &self.site, None).await.unwrap()
    }

    async fn transitions(&self) -> Vec<Transition> {
        self.world.store.site_transitions(&self.world.admin, &self.site, &page(1000)).await.unwrap().items
    }

    async fn hours(&self) -> Vec<HealthHour> {
        self.world.store.site_hours(&self.world.admin, &self.site, &page(1000)).await.unwrap().items
    }

    /// States from the oldest to now.
    pub async fn course(&self) -> Vec<TunnelState> {
        self.transitions().await.into_iter().rev().map(|transition| transition.state).collect()
    }
}

fn report(number: i64, at: i64, state: TunnelState) -> AgentReport {
    let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
    AgentReport { state: Some(state), ..AgentReport::new(number, at, tunnel) }
}

fn batch(epoch: &str, reports: Vec<AgentReport>) -> AgentReports {
    AgentReports { epoch: epoch.to_owned(), reports, dropped: 0, sent_at: None }
}

fn finding(code: &str) -> HealthFinding {
    HealthFinding {
        code: code.to_owned(),
        severity: Severity::Critical,
        since: 5,
        evidence: format!("{code}: it's \"so\""),
        hint: "do something".to_owned(),
    }
}

/// Seconds of all hours in up, degraded and down.
fn sums(hours: &[HealthHour]) -> (u64, u64, u64) {
    let sum = |of: fn(&HealthHour) -> u64| hours.iter().map(of).sum();
    (sum(|hour| hour.up_secs), sum(|hour| hour.degraded_secs), sum(|hour| hour.down_secs))
}

fn codes(health: &SiteHealth) -> Vec<&str> {
    health.peers[0].findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[tokio::test]
async fn what_was_spooled_arrives_once_and_in_order_and_time_counts_where_it_was() {
    let databases = Databases::new();
    for config in databases.configs("spooled") {
        let place = Place::open(&config).await;
        let mut down = report(2, ODD_CLOCK + 60, TunnelState::Down);
        down.findings = vec![finding("no-udp-egress")];
        let rtt_us = Some(RoundTrip { min: 900, avg: 1000, max: 5000 });
        down.sample = Some(HealthSample { rx_bytes: Some(500), loss_percent: Some(50), rtt_us, ..Default::default() });
        let mut up = report(3, ODD_CLOCK + 100, TunnelState::Up);
        let rtt_us = Some(RoundTrip { min: 500, avg: 3000, max: 4000 });
        up.sample = Some(HealthSample { rx_bytes: Some(800), loss_percent: Some(0), rtt_us, ..Default::default() });
        let mut spooled = batch("e", vec![up, report(1, ODD_CLOCK, TunnelState::Up), down]);
        spooled.sent_at = Some(ODD_CLOCK + 130);
        place.world.clock.advance(Duration::from_secs(1000));
        assert_eq!(place.say(spooled.clone()).await, 3);
        let (once, hours) = (place.transitions().await, place.hours().await);
        for again in [spooled.clone(), batch("e", spooled.reports[..1].to_vec())] {
            assert_eq!(place.say(again).await, 3, "it is there already");
        }
        assert_eq!((place.transitions().await, place.hours().await), (once.clone(), hours.clone()), "taken twice");

        assert_eq!(place.course().await, [TunnelState::Down, TunnelState::Up]);
        assert_eq!((once[1].cause.as_deref(), once[0].cause.as_deref()), (Some("no-udp-egress"), None));
        assert_eq!(once[1].evidence.as_deref(), Some("no-udp-egress: it's \"so\""));
        assert_eq!((once[0].at - once[1].at, once[0].was), (40, TunnelState::Down));
        assert_eq!(sums(&hours), (60, 0, 40));
        let points: Vec<&HealthPoint> = hours.iter().rev().flat_map(|hour| &hour.points).collect();
        assert_eq!(points.iter().map(|point| point.state.word()).collect::<Vec<_>>(), ["up", "down", "up"]);
        assert_eq!((points[2].at - points[0].at, points[2].rtt_us), (100, Some(3000)));
        if let [hour] = hours.as_slice() {
            assert_eq!((hour.loss_percent, hour.loss_percent_max, hour.rx_bytes), (Some(25), Some(50), 300));
            assert_eq!(hour.rtt_us, Some(RoundTrip { min: 500, avg: 2000, max: 5000 }));
        }
        let agent = place.health().await.peers[0].agent.clone().unwrap();
        assert_eq!((agent.state, agent.since), (TunnelState::Up, once[0].at));
        assert_eq!(agent.sample.unwrap().rx_bytes, Some(800));
    }
}

#[tokio::test]
async fn an_epoch_that_was_left_is_not_gone_back_to() {
    let databases = Databases::new();
    for config in databases.configs("epochs") {
        let place = Place::open(&config).await;
        let late = batch("a", vec![report(1, 0, TunnelState::Up), report(2, 5, TunnelState::Down)]);
        assert_eq!(place.say(late.clone()).await, 2);
        assert_eq!(place.say(batch("b", vec![report(1, 0, TunnelState::Up)])).await, 1);
        let before = (place.transitions().await, place.hours().await);
        assert_eq!(place.say(late).await, 2, "the agent is not to send it again");
        assert_eq!((place.transitions().await, place.hours().await), before);
        assert_eq!(place.health().await.peers[0].agent.as_ref().unwrap().state, TunnelState::Up);
        assert_eq!(place.say(batch("b", vec![report(2, 9, TunnelState::Down)])).await, 2);
        assert_eq!(place.course().await, [TunnelState::Down, TunnelState::Up, TunnelState::Down]);
    }
}

#[tokio::test]
async fn a_silent_agent_is_stale_by_the_hubs_clock_and_the_hubs_own_absence_is_no_silence() {
    let databases = Databases::new();
    for config in databases.configs("silent") {
        let place = Place::open(&config).await;
        // Its clock is decades ahead, and says that it spoke in the future.
        place.say(batch("e", vec![report(1, 4_000_000_000, TunnelState::Up)])).await;
        place.world.watch(Duration::from_secs(170)).await;
        assert_eq!(place.course().await, [], "it may still speak");
        place.world.watch(Duration::from_secs(30)).await;
        let told = place.transitions().await;
        assert_eq!((told[0].was, told[0].state), (TunnelState::Up, TunnelState::Stale));
        assert_eq!(told[0].cause.as_deref(), Some("agent-silent"));
        place.world.watch(Duration::from_mins(10)).await;
        assert_eq!(place.transitions().await.len(), 1, "once");
        // It was away, not its tunnel: what it spooled fills the gap.
        let spooled = (2..=10).map(|number| report(number, number * 60, TunnelState::Up)).collect();
        place.say(batch("e", spooled)).await;
        assert_eq!(place.course().await, [TunnelState::Stale, TunnelState::Up]);
        let (up, ..) = sums(&place.hours().await);
        assert!((640..=660).contains(&up), "9 minutes, and 3 in which the first was believed, of 13: {up}");

        if let StoreConfig::Sqlite(_) = &config {
            let clock = place.world.clock.clone();
            drop(place);
            let settings = sitepeer::hub::store::Settings { clock: clock.clone(), ..Default::default() };
            clock.advance(Duration::from_hours(1));
            let store = sitepeer::hub::store::open_with(&config, &settings).await.unwrap();
            store.tick().await.unwrap();
            let site = store.sites(&World::open_admin(), None, &page(1)).await.unwrap().items.remove(0).id;
            let said = store.site_transitions(&World::open_admin(), &site, &page(10)).await.unwrap().items;
            assert_eq!(said.len(), 2, "the hub was away itself: {said:?}");
            for _ in 0..10 {
                clock.advance(Duration::from_secs(20));
                store.tick().await.unwrap();
            }
            let said = store.site_transitions(&World::open_admin(), &site, &page(10)).await.unwrap().items;
            assert_eq!(said[0].state, TunnelState::Stale);
        }
    }
}

#[tokio::test]
async fn both_ends_are_held_against_each_other() {
    let databases = Databases::new();
    for config in databases.configs("joined") {
        let mut place = Place::open(&config).await;
        assert_eq!(place.health().await.verdict, SiteVerdict::Unknown);
        place.handshake(Some(20)).await;
        place.report(1, TunnelState::Up).await;
        let health = place.health().await;
        assert_eq!((health.verdict, codes(&health)), (SiteVerdict::Up, vec![]));
        let gateway = &health.peers[0].gateway;
        assert!(gateway.online && gateway.enabled && gateway.endpoint.is_some(), "{gateway:?}");
        assert_eq!((gateway.rx_bytes, gateway.tx_bytes), (10, 20));
        assert!(gateway.handshake_age_secs.is_some_and(|age| (20..25).contains(&age)), "{gateway:?}");

        // The agent is silent, the tunnel alive: the agent is away.
        place.world.watch(Duration::from_secs(400)).await;
        place.handshake(Some(20)).await;
        let health = place.health().await;
        assert_eq!((health.verdict, codes(&health)), (SiteVerdict::AgentAway, vec!["agent-silent"]));
        // Both are dead.
        place.handshake(Some(900)).await;
        assert_eq!(place.health().await.verdict, SiteVerdict::Down);
        // The agent says up for a while, and the gateway sees nothing.
        place.report(2, TunnelState::Up).await;
        place.world.clock.advance(Duration::from_secs(125));
        place.report(3, TunnelState::Up).await;
        place.handshake(None).await;
        let health = place.health().await;
        assert_eq!((health.verdict, codes(&health)), (SiteVerdict::Disputed, vec!["ends-disagree"]));
        // The gateway is not heard any more.
        place.world.clock.advance(Duration::from_secs(100));
        place.report(4, TunnelState::Down).await;
        let health = place.health().await;
        assert_eq!((health.verdict, codes(&health)), (SiteVerdict::Down, vec!["hub-down"]));
        let off = PeerEdit { enabled: Some(false), ..PeerEdit::default() };
        place.world.store.edit_peer(&place.world.admin, &place.peer, None, off).await.unwrap();
        let health = place.health().await;
        assert_eq!((health.verdict, codes(&health)), (SiteVerdict::Disabled, vec!["peer-disabled-at-hub"]));
        assert_eq!(health.transitions.len(), 3, "{:?}", health.transitions);
    }
}

#[tokio::test]
async fn time_that_nobody_watched_is_not_counted_as_up_and_is_told_apart() {
    let databases = Databases::new();
    for config in databases.configs("available") {
        let place = Place::open(&config).await;
        let states =
            [TunnelState::Up, TunnelState::Down, TunnelState::Degraded, TunnelState::Disabled, TunnelState::Up];
        for (number, state) in (1..).zip(states) {
            place.report(number, state).await;
            place.world.clock.advance(Duration::from_secs(100));
        }
        place.world.clock.advance(Duration::from_secs(4900));
        let mut month = Availability {
            month: String::new(),
            up_secs: 0,
            degraded_secs: 0,
            down_secs: 0,
            disabled_secs: 0,
            unknown_secs: 0,
            available_ppm: None,
        };
        place.report(6, TunnelState::Up).await;
        // The test may run over the end of a month.
        let hours = place.hours().await;
        let months: std::collections::BTreeSet<String> = [hours[0].at, hours.last().unwrap().at].map(month_of).into();
        for name in months {
            let health = place.world.store.site_health(&place.world.admin, &place.site, Some(&name)).await.unwrap();
            let part = &health.peers[0].availability;
            assert_eq!(part.month, name);
            month.up_secs += part.up_secs;
            month.degraded_secs += part.degraded_secs;
            month.down_secs += part.down_secs;
            month.disabled_secs += part.disabled_secs;
            month.unknown_secs += part.unknown_secs;
            month.available_ppm = part.available_ppm;
        }
        // A second may pass while this runs.
        let near = |is: u64, wanted: u64| assert!(is.abs_diff(wanted) <= 10, "{is} and not {wanted}: {month:?}");
        near(month.up_secs, 100 + 180);
        near(month.degraded_secs, 100);
        near(month.down_secs, 100);
        near(month.disabled_secs, 100);
        near(month.unknown_secs, 4820);
        if hours[0].at.div_euclid(86_400) == hours.last().unwrap().at.div_euclid(86_400) {
            near(u64::from(month.available_ppm.unwrap()) / 10_000, 79);
        }
        let never = place.world.store.site_health(&place.world.admin, &place.site, Some("2001-01")).await.unwrap();
        let never = &never.peers[0].availability;
        assert_eq!((never.unknown_secs, never.available_ppm), (0, None), "before there was anything to watch");
        for bad in ["2026-13", "x", "9999-12", ""] {
            let refused = place.world.store.site_health(&place.world.admin, &place.site, Some(bad)).await;
            assert_eq!(code_of(refused), code::INVALID, "{bad}");
        }
    }
}

/// The month of a time, by the hub's own word.
fn month_of(at: i64) -> String {
    let day = time::OffsetDateTime::from_unix_timestamp(at).unwrap();
    format!("{:04}-{:02}", day.year(), u8::from(day.month()))
}

#[tokio::test]
async fn raw_points_go_after_a_day_and_the_rest_after_thirteen_months() {
    let databases = Databases::new();
    for config in databases.configs("pruned") {
        let place = Place::open(&config).await;
        place.report(1, TunnelState::Up).await;
        place.report(2, TunnelState::Down).await;
        place.world.watch(Duration::from_mins(4)).await;
        place.world.pass(Duration::from_hours(23)).await;
        assert_eq!(place.hours().await[0].points.len(), 2);
        place.world.pass(Duration::from_hours(3)).await;
        let hours = place.hours().await;
        assert_eq!((hours.len(), hours[0].points.len()), (1, 0), "the hour stays, without its points");
        place.world.pass(Duration::from_hours(390 * 24)).await;
        assert_eq!((place.hours().await.len(), place.course().await.len()), (1, 2));
        place.world.pass(Duration::from_hours(20 * 24)).await;
        assert_eq!((place.hours().await, place.transitions().await), (vec![], vec![]));
    }
}

#[tokio::test]
async fn a_tunnel_that_flaps_fills_neither_table_without_end_and_a_peer_that_is_gone_takes_its_rows_along() {
    let databases = Databases::new();
    for config in databases.configs("flaps") {
        let place = Place::open(&config).await;
        for round in 0..3 {
            let flap = |number: i64| {
                let state = if number % 2 == 0 { TunnelState::Up } else { TunnelState::Down };
                report(round * 500 + number, 0, state)
            };
            place.say(batch("e", (1..=500).map(flap).collect())).await;
        }
        let kept = place.transitions().await;
        assert_eq!(kept.len(), 1000);
        let hours = place.hours().await;
        assert!(hours.iter().map(|hour| hour.points.len()).sum::<usize>() <= 480, "{}", hours[0].points.len());
        // In pages, each once.
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let paging = Paging { cursor, limit: 300 };
            let next = place.world.store.site_transitions(&place.world.admin, &place.site, &paging).await.unwrap();
            seen.extend(next.items);
            cursor = next.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, kept);
        for cursor in ["x", "-", "99999999999999999999"] {
            let odd = Paging { cursor: Some(cursor.to_owned()), limit: 1 };
            let store = &place.world.store;
            assert_eq!(code_of(store.site_transitions(&place.world.admin, &place.site, &odd).await), code::INVALID);
            assert_eq!(code_of(store.site_hours(&place.world.admin, &place.site, &odd).await), code::INVALID);
        }
        place.world.store.delete_peer(&place.world.admin, &place.peer, None).await.unwrap();
        for _round in 0..3 {
            place.world.pass(Duration::from_secs(61)).await;
        }
        assert_eq!(place.transitions().await, []);
    }
}

#[tokio::test]
async fn a_freeze_is_told_to_the_agents_and_ends_by_itself_or_when_somebody_says_so() {
    let databases = Databases::new();
    for config in databases.configs("freeze") {
        let place = Place::open(&config).await;
        let (store, world) = (&place.world.store, &place.world);
        let other_site = world.site(&place.account, "other").await;
        let other = world.peer(&place.instance, site_peer(&other_site, "o", &[])).await.unwrap().id;
        let (before, others) = (world.desired(&place.peer).await, world.desired(&other).await.revision);
        assert_eq!(before.frozen_until, None);
        let freeze = |for_secs| NewFreeze { for_secs, reason: "a technician is there".to_owned() };
        let member = Actor { role: Some(Role::Operator), ..world.member(&place.account) };
        let site = store.freeze_site(&member, &place.site, freeze(7200)).await.unwrap();
        let frozen = site.frozen.unwrap();
        assert_eq!((frozen.until - frozen.since, frozen.by.as_str()), (7200, member.who.as_str()));
        let told = store.agent_desired(&place.peer, Some(before.revision)).await.unwrap().expect("a new revision");
        assert!(told.revision > before.revision);
        assert_eq!((told.frozen_until, told.config), (Some(frozen.until), before.config));
        assert_eq!(world.desired(&other).await.revision, others, "another site's agent has nothing to hear");
        assert_eq!(place.health().await.frozen, Some(frozen));

        world.pass(Duration::from_secs(7201)).await;
        let after =
            store.agent_desired(&place.peer, Some(told.revision)).await.unwrap().expect("it is told that it ended");
        assert_eq!(after.frozen_until, None);
        assert_eq!(store.site(&world.admin, &place.site).await.unwrap().frozen, None);
        assert_eq!(code_of(store.thaw_site(&member, &place.site).await), code::NOT_FOUND);
        assert_eq!(world.desired(&place.peer).await.revision, after.revision, "a refusal tells nobody anything");

        store.freeze_site(&member, &place.site, freeze(MAX_FREEZE_SECS)).await.unwrap();
        store.thaw_site(&member, &place.site).await.unwrap();
        assert_eq!(world.desired(&place.peer).await.frozen_until, None);
        let log = store.audit(&world.admin, &page(100)).await.unwrap().items;
        let acts: Vec<(&str, &str)> = log
            .iter()
            .rev()
            .filter(|entry| entry.action == "site.freeze" || entry.action == "site.thaw")
            .map(|entry| (entry.action.as_str(), entry.who.as_str()))
            .collect();
        let who = member.who.as_str();
        assert_eq!(acts, [("site.freeze", who), ("site.thaw", "hub"), ("site.freeze", who), ("site.thaw", who)]);

        let wordy = NewFreeze { for_secs: 1, reason: "x".repeat(MAX_FREEZE_REASON + 1) };
        for bad in [freeze(0), freeze(MAX_FREEZE_SECS + 1), freeze(u64::MAX), wordy] {
            assert_eq!(code_of(store.freeze_site(&member, &place.site, bad).await), code::INVALID);
        }
        let viewer = Actor { role: Some(Role::Viewer), ..member.clone() };
        assert_eq!(code_of(store.freeze_site(&viewer, &place.site, freeze(1)).await), code::FORBIDDEN);
        assert_eq!(code_of(store.thaw_site(&viewer, &place.site).await), code::FORBIDDEN);
        let stranger = world.account("b").await;
        let stranger = Actor { scope: Scope::Account(stranger), ..member };
        assert_eq!(code_of(store.freeze_site(&stranger, &place.site, freeze(1)).await), code::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_an_agent_did_is_kept_once_in_order() {
    let databases = Databases::new();
    for config in databases.configs("events") {
        let place = Place::open(&config).await;
        let event = |at, code: &str| AgentEvent {
            kind: EventKind::Healed,
            code: code.to_owned(),
            words: format!("{code}: it's \"so\""),
            at,
        };
        let mut first = report(1, ODD_CLOCK, TunnelState::Down);
        first.events = vec![event(ODD_CLOCK - 7, "bounce"), event(ODD_CLOCK, "port")];
        let mut second = report(2, ODD_CLOCK + 5, TunnelState::Up);
        // A time to come is that of the report.
        second.events = vec![AgentEvent { kind: EventKind::Drift, ..event(i64::MAX, "/ip/route") }];
        let sent = batch("e", vec![first, second]);
        for _ in 0..2 {
            place.say(sent.clone()).await;
        }
        let store = &place.world.store;
        let said = store.site_events(&place.world.admin, &place.site, &page(10)).await.unwrap().items;
        let codes: Vec<_> = said.iter().map(|event| (event.kind, event.code.as_str())).collect();
        let healed = EventKind::Healed;
        assert_eq!(codes, [(EventKind::Drift, "/ip/route"), (healed, "port"), (healed, "bounce")]);
        assert_eq!((said[0].at - said[1].at, said[1].at - said[2].at), (5, 7), "{said:?}");
        let odd = Paging { cursor: Some("x".to_owned()), limit: 1 };
        assert!(store.site_events(&place.world.admin, &place.site, &odd).await.is_err());
    }
}

#[tokio::test]
async fn an_agent_whose_tunnel_is_not_up_learns_whether_the_gateway_is_heard_and_for_how_long_it_is_frozen() {
    let databases = Databases::new();
    for config in databases.configs("gateway-heard") {
        let place = Place::open(&config).await;
        let store = &place.world.store;
        let told = async |number, state| {
            let batch = batch("e", vec![report(number, ODD_CLOCK, state)]);
            store.agent_reports(&place.peer, batch).await.unwrap().gateway_online
        };
        assert_eq!(told(1, TunnelState::Up).await, None, "nobody needs to know");
        assert_eq!(told(2, TunnelState::Down).await, Some(true));
        assert_eq!(place.world.desired(&place.peer).await.gateway_online, Some(true));
        place.world.clock.advance(Duration::from_hours(1));
        assert_eq!(told(3, TunnelState::Down).await, Some(false));
        let freeze = NewFreeze { for_secs: 600, reason: String::new() };
        store.freeze_site(&place.world.admin, &place.site, freeze).await.unwrap();
        place.world.clock.advance(Duration::from_secs(100));
        let desired = place.world.desired(&place.peer).await;
        assert_eq!((desired.frozen_for_secs, desired.gateway_online), (Some(500), Some(false)));
    }
}
