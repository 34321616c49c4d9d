//! Watches one tunnel: a cycle asks, assesses, and says when to come again.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::assess::{Grounds, History, HubView, REMEMBERED_PINGS, SILENT_REACH, assess, life};
use super::codes::Code;
use super::finding::{Board, Seen, Words, causes_only};
use super::measured::{Dated, Echo, Measured, Moment};
use super::near::{Closely, look_closely, try_sizes};
use super::probe::{self, Question};
use super::state::{Life, PERIOD, Phase, QUICK, Tracker, Transition};
use crate::api::{AgentReport, HealthFinding, HealthSample, MAX_FINDINGS, Severity, TunnelHealth, TunnelState};
use crate::domain::Site;
use crate::reconcile::entry::Entry;
use crate::reconcile::names::Names;
use crate::reconcile::preflight::Session;
use crate::routeros::client::{Client, Usage};
use crate::routeros::error::CallError;
use crate::routeros::menu::{format_duration, parse_duration};

/// Between two closer looks while nothing is decided: two fit into the time in which a dead tunnel must have its verdict.
pub const CLOSER_EVERY: Duration = Duration::from_secs(16);
/// The same while what is the matter is known: some thirty commands, so not often.
pub const CLOSER_WHILE_TROUBLED: Duration = Duration::from_mins(2);
/// Small pings that follow a long one that was lost.
const CONFIRMING_PINGS: u32 = 2;

/// Addresses that are asked again in one cycle because they were silent.
const SUSPECTS_AT_ONCE: usize = 2;
/// A router whose clock and ours differ by no more than this over the same time was not restarted.
const REBOOT_SLACK: Duration = Duration::from_secs(30);

/// What is chosen about a monitor.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The user that we are on the router.
    pub user: String,
}

/// What a cycle came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The state.
    pub state: TunnelState,
    /// Since when.
    pub since: Moment,
    /// That it changed in this cycle.
    pub transition: Option<Transition>,
    /// What is the matter, causes only, the deepest first.
    pub findings: Vec<HealthFinding>,
    /// What was measured.
    pub sample: HealthSample,
    /// When the next cycle is due, counted from the moment that this one was given.
    pub next_in: Duration,
    /// What the cycle cost the router.
    pub usage: Usage,
}

/// Why a router could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It does not answer.
    Silent,
    /// It answers, but refuses the connection: the service is off, or not for this address.
    Closed,
    /// It refuses the login.
    LoginRefused,
}

/// Watches one tunnel of one router.
#[derive(Debug)]
pub struct Monitor {
    /// As it is wanted.
    wanted: Site,
    /// The same with the hub's endpoint in use first, which healing may have chosen.
    site: Site,
    settings: Settings,
    /// What our interface is called on the router.
    interface: String,
    hub: HubView,
    pub(super) measured: Measured,
    history: History,
    tracker: Tracker,
    board: Board,
    pub(super) turn: usize,
    /// The ends of the connection that the last cycle came by.
    ends: Option<(SocketAddr, SocketAddr)>,
    /// Somebody said that the configuration changed.
    changed: bool,
    has_sensors: bool,
    /// The longest packet that is known to pass.
    mtu: Option<u16>,
    /// Where the tunnel stood in the last cycle.
    phase: Phase,
    /// What whoever keeps the router found out beside the tunnel.
    aside: Option<Seen>,
}

impl Report {
    /// Returns the report as it goes to the hub.
    #[must_use]
    pub fn for_hub(&self, number: i64, at: i64) -> AgentReport {
        let cause = self.findings.first().map(|finding| finding.code.as_str());
        let verdict = match (self.state, cause) {
            (TunnelState::Up | TunnelState::Degraded, _) => "proven".to_owned(),
            (TunnelState::Down, Some(cause)) => format!("unproven:{cause}"),
            (TunnelState::Down, None) => "unproven".to_owned(),
            (TunnelState::Stale | TunnelState::Disabled | TunnelState::Unknown, _) => "unknown".to_owned(),
        };
        let sample = &self.sample;
        let rtt_us = sample.rtt_us.map(|rtt| rtt.avg);
        let tunnel = TunnelHealth { verdict, handshake_age_secs: sample.handshake_age_secs, rtt_us };
        let (state, findings) = (Some(self.state), self.findings.iter().take(MAX_FINDINGS).cloned().collect());
        AgentReport { state, findings, sample: Some(sample.clone()), ..AgentReport::new(number, at, tunnel) }
    }
}

impl Monitor {
    /// Begins to watch; nothing is known yet.
    #[must_use]
    pub fn new(site: Site, settings: Settings, now: Moment) -> Self {
        Self {
            interface: Names::of(&site).interface,
            wanted: site.clone(),
            site,
            settings,
            hub: HubView::default(),
            measured: Measured::default(),
            history: History::default(),
            tracker: Tracker::new(now),
            board: Board::default(),
            turn: 0,
            ends: None,
            changed: true,
            has_sensors: true,
            mtu: None,
            phase: Phase::Doubtful,
            aside: None,
        }
    }

    /// Shows a finding of whoever keeps the router beside its own, until it is called again.
    pub fn set_aside(&mut self, found: Option<(Code, &str)>) {
        self.aside = found.map(|(code, evidence)| Words::of(&self.site, None).seen(code, evidence, ""));
    }

    /// Takes another site config: what was measured of the old one is forgotten, the state goes on.
    pub fn set_site(&mut self, site: Site) {
        if site != self.wanted {
            self.interface = Names::of(&site).interface;
            self.wanted.clone_from(&site);
            self.site = site;
            self.measured = Measured::default();
            self.history = History { rebooted: self.history.rebooted.take(), ..History::default() };
            self.changed = true;
            self.mtu = None;
        }
    }

    /// Takes what the hub says of the other end.
    pub fn set_hub(&mut self, hub: HubView) {
        self.hub = hub;
    }

    /// Says that rows of the router changed: the next cycle looks closely.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> TunnelState {
        self.tracker.state()
    }

    /// Returns the site, with the hub's endpoint in use first.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Returns the newest measurements.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Looks once, and says how the tunnel is.
    ///
    /// # Errors
    /// Any [`CallError`] but a refusal. What was measured before it stays known, the state is as it was, and [`Monitor::missed`] is
    /// the one to call.
    ///
    /// # Cancel safety
    /// Nothing is written: the future can be dropped at any time.
    pub async fn cycle(&mut self, client: &Client, now: Moment) -> Result<Report, CallError> {
        let before = client.usage();
        let peer_before = self.measured.peer.clone();
        let questions = self.questions(client);
        probe::ask(client, (&self.site, &self.interface), &questions, &mut self.measured, now).await?;
        if self.long_ping_is_lost(now) {
            let confirm = [Question::Small(CONFIRMING_PINGS), Question::Peer];
            probe::ask(client, (&self.site, &self.interface), &confirm, &mut self.measured, now).await?;
        }
        let (life, phase) = self.judge(peer_before.as_ref(), now);
        if self.wants_sizes(now) {
            let value = try_sizes(client, &self.site, probe::full_size(&self.site)).await?;
            self.mtu = value.iter().filter(|(_, came)| *came).map(|(size, _)| *size).max();
            self.measured.sizes = Some(Dated { at: now, value });
        }
        if self.wants_closer(life, phase, now) {
            self.look_closer(client, now).await?;
        }
        self.phase = phase;
        self.turn += 1;
        self.ends = Some((client.local_addr(), client.peer_addr()));
        Ok(self.settle(phase, client.usage().since(before), now))
    }

    /// Judges what was just measured; `before` is our peer's row as it was.
    pub(super) fn judge(&mut self, before: Option<&Dated<Option<Entry>>>, now: Moment) -> (Life, Phase) {
        let life = self.life(before, now);
        self.remember(life, now);
        (life, self.tracker.look(life, now))
    }

    /// Takes note that the router could not be looked at.
    pub fn missed(&mut self, why: Missed, now: Moment) -> Report {
        let transition = self.tracker.missed(now);
        let (code, evidence) = match why {
            Missed::Silent => (Code::RouterUnreachable, "the router does not answer"),
            Missed::Closed => {
                (Code::ServiceClosed, "the router refuses the connection: the service is off, or not for this address")
            }
            Missed::LoginRefused => (Code::LoginRefused, "the router refuses the login"),
        };
        let seen = Words::of(&self.site, None).seen(code, evidence, "");
        self.board.note(vec![seen], now);
        // What it was costs nothing, and a new connection is looked at whole.
        self.ends = None;
        self.report(transition, Usage::default(), PERIOD, now)
    }

    fn questions(&self, client: &Client) -> Vec<Question> {
        if self.ends != Some((client.local_addr(), client.peer_addr())) {
            return probe::everything(&self.site, &probe::targets(&self.site));
        }
        self.questions_of_turn()
    }

    /// What the next cycle of this connection asks.
    pub(super) fn questions_of_turn(&self) -> Vec<Question> {
        let targets = probe::targets(&self.site);
        let is_settled = self.tracker.next_in() == PERIOD;
        let asked =
            if is_settled { probe::steady(self.turn, &self.site, &targets, self.has_sensors) } else { probe::quick() };
        let asked = asked
            .into_iter()
            .filter(|question| !matches!(question, Question::Reach(_)) || self.suspects().next().is_none());
        asked.chain(self.suspects().take(SUSPECTS_AT_ONCE).map(Question::Reach)).collect()
    }

    /// Whether this look's long ping was lost, and no small one was sent to tell what that means.
    pub(super) fn long_ping_is_lost(&self, now: Moment) -> bool {
        let of_look = |dated: &Dated<Echo>| dated.at == now;
        let small = self.measured.small.as_ref().is_some_and(of_look);
        self.measured.full.as_ref().is_some_and(|full| of_look(full) && full.value.silent()) && !small
    }

    fn life(&self, before: Option<&Dated<Option<Entry>>>, now: Moment) -> Life {
        // Counters prove life only since the first silence: what came before it may have come before the death.
        let before = before.filter(|_| self.tracker.silent_for(now).is_some());
        let before = before.and_then(|dated| Some((dated.value.as_ref()?, now.after(dated.at))));
        life(&self.measured, before, now)
    }

    /// Keeps what later looks are compared with.
    fn remember(&mut self, life: Life, now: Moment) {
        let history = &mut self.history;
        // Pings into a tunnel that is dead are no loss: they tell of its death.
        let small = self.measured.small.as_ref().filter(|small| small.at == now && small.value.refused.is_none());
        if let Some(small) = small.filter(|_| life == Life::Alive) {
            let came = small.value.rtts.len();
            let sent = usize::try_from(small.value.sent).unwrap_or_default();
            history.pings.extend((0..sent).map(|n| n < came));
            while history.pings.len() > REMEMBERED_PINGS {
                history.pings.pop_front();
            }
        }
        for (address, echo) in self.measured.reach.iter().filter(|(_, echo)| echo.at == now) {
            if echo.value.answered() {
                history.reach_answered.insert(*address);
                history.reach_silent.remove(address);
            } else if life == Life::Alive
                && echo.value.silent()
                && (history.reach_answered.contains(address) || self.site.tunnel.probe.contains(address))
            {
                *history.reach_silent.entry(*address).or_default() += 1;
            }
        }
        if self.measured.full.as_ref().is_some_and(|full| full.at == now && full.value.answered()) {
            self.mtu = Some(probe::full_size(&self.site));
            self.measured.sizes = None;
        }
        let handshake = self.measured.peer(now).is_some_and(|row| row.get("last-handshake").is_some());
        history.had_session |= handshake;
        self.has_sensors &= self.measured.temperature.is_some() || self.ends.is_none();
        self.remember_router(now);
    }

    fn remember_router(&mut self, now: Moment) {
        let history = &mut self.history;
        let uptime = self.measured.resource.as_ref().filter(|resource| resource.at == now);
        if let Some(uptime) = uptime.and_then(|resource| parse_duration(resource.value.get("uptime")?)) {
            if let Some((read, before)) =
                history.uptime.filter(|(read, before)| uptime + REBOOT_SLACK < *before + now.after(*read))
            {
                let was = format_duration(before + now.after(read));
                let evidence = format!("the router started {} ago; it would be up for {was}", format_duration(uptime));
                history.rebooted = Some((now, evidence));
            }
            history.uptime = Some((now, uptime));
        }
        if let Some(wan) = self.measured.wan(now) {
            if let Some(before) = history.wan.filter(|before| *before != wan) {
                history.wan_changed = Some((now, format!("the router's WAN address was {before} and is {wan}")));
            }
            history.wan = Some(wan);
        }
    }

    /// Whether the path's MTU is to be searched: a long packet was lost where a short one passed.
    fn wants_sizes(&self, now: Moment) -> bool {
        let in_look =
            |dated: &Option<Dated<Echo>>| dated.as_ref().filter(|dated| dated.at == now).map(|d| d.value.clone());
        let long = in_look(&self.measured.full).is_some_and(|echo| echo.silent());
        let short = in_look(&self.measured.small).is_some_and(|echo| echo.answered());
        let known = self.measured.sizes.as_ref().is_some_and(|sizes| now.after(sizes.at) < CLOSER_WHILE_TROUBLED);
        long && short && !known
    }

    /// Whether the whole configuration is to be read in this cycle.
    fn wants_closer(&self, life: Life, phase: Phase, now: Moment) -> bool {
        if self.changed || self.measured.near.is_none() {
            return true;
        }
        if self.tracker.state() == TunnelState::Disabled {
            return false;
        }
        let age = self.measured.near.as_ref().map_or(Duration::MAX, |near| now.after(near.at));
        let returned = self.phase == Phase::Dead && phase != Phase::Dead;
        let died = self.phase != Phase::Dead && phase == Phase::Dead;
        let undecided = phase == Phase::Doubtful && life == Life::Silent;
        let troubled = phase == Phase::Dead || self.board.gravest().is_some_and(|gravest| gravest <= Severity::Warning);
        let suspicious = self.suspects().next().is_some();
        returned
            || self.row_is_gone(now)
            || ((died || undecided || suspicious) && age >= CLOSER_EVERY)
            || (troubled && age >= CLOSER_WHILE_TROUBLED)
    }

    /// The addresses that were silent, but not often enough to count: they are asked again soon.
    fn suspects(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.history.reach_silent.iter().filter(|(_, times)| **times < SILENT_REACH).map(|(address, _)| *address)
    }

    /// Whether our peer or interface was not found in this look, and no closer look said so: gone, or called otherwise.
    fn row_is_gone(&self, now: Moment) -> bool {
        let gone =
            |row: &Option<Dated<Option<Entry>>>| row.as_ref().is_some_and(|row| row.at == now && row.value.is_none());
        let said = [Code::PeerMissing, Code::InterfaceMissing, Code::NotProvisioned];
        let is_known = self
            .measured
            .near
            .as_ref()
            .is_some_and(|near| near.value.rows.iter().any(|seen| said.contains(&seen.code)));
        !is_known && (gone(&self.measured.peer) || gone(&self.measured.interface))
    }

    async fn look_closer(&mut self, client: &Client, now: Moment) -> Result<(), CallError> {
        let session = Session {
            user: self.settings.user.clone(),
            local: client.local_addr().ip(),
            endpoint_addresses: Vec::new(),
            now: now.unix,
            writes: true,
        };
        let gateway = self.measured.default_gateway(now);
        let closely = Closely { site: &self.site, wanted: &self.wanted, session: &session, gateway };
        let mut near = look_closely(client, closely).await?;
        if !near.endpoints.is_empty() && near.endpoints != self.site.hub.endpoints {
            // What was asked of another endpoint tells nothing of this one.
            self.site.hub.endpoints.clone_from(&near.endpoints);
            self.history.hub_host_answered = false;
            near.hub_host = None;
        }
        self.history.hub_host_answered |= near.hub_host.as_ref().is_some_and(Echo::answered);
        self.history.gateway_answered |= near.gateway.as_ref().is_some_and(Echo::answered);
        if let Some(value) = near.clock_offset {
            self.measured.clock_offset = Some(Dated { at: now, value });
        }
        if let Some(name) = &near.interface {
            self.interface.clone_from(name);
        }
        self.measured.near = Some(Dated { at: now, value: near });
        self.changed = false;
        Ok(())
    }

    /// Says what it comes to.
    pub(super) fn settle(&mut self, phase: Phase, usage: Usage, now: Moment) -> Report {
        let grounds =
            Grounds { site: &self.site, measured: &self.measured, history: &self.history, hub: &self.hub, phase, now };
        let found = assess(&grounds).into_iter().chain(self.aside.clone()).collect();
        self.board.note(causes_only(found), now);
        let disabled = self.hub.enabled == Some(false);
        let transition = self.tracker.settle(self.board.gravest(), disabled, now);
        let soon = if self.suspects().next().is_some() { QUICK } else { PERIOD };
        let due = self.board.next_due(now).map_or(soon, |due| due.clamp(QUICK, soon));
        let next_in = due.min(self.tracker.next_in());
        self.report(transition, usage, next_in, now)
    }

    fn report(&self, transition: Option<Transition>, usage: Usage, next_in: Duration, now: Moment) -> Report {
        Report {
            state: self.tracker.state(),
            since: self.tracker.since(),
            transition,
            findings: self.board.shown(),
            sample: self.measured.sample(now, self.mtu),
            next_in,
            usage,
        }
    }
}
