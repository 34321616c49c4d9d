//! From what was measured to what is the matter: pure.
//!
//! Every function says what it can say from its own evidence; that a cause silences its consequences is the table's affair
//! ([`super::codes`]), and how long something must hold is the board's ([`super::finding`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::codes::Code;
use super::finding::{Seen, Words};
use super::measured::{Dated, Echo, Measured, Moment, Row, fresh, handshake_age};
use super::near::Near;
use super::state::{Life, Phase};
use crate::api::Severity;
use crate::domain::{Host, PublicKey, Site};
use crate::reconcile::entry::Entry;
use crate::reconcile::prove::RECENT;

/// A clock this far behind ours, in seconds, can make a hub ignore handshakes.
pub const CLOCK_BEHIND_SECS: i64 = 60;
/// Small pings that are remembered to tell loss from bad luck: ten minutes' worth of steady cycles.
pub const REMEMBERED_PINGS: usize = 60;
/// Fewest of them to say anything.
const ENOUGH_PINGS: usize = 12;
/// So many of them in a row must be lost for the probe to count as silent: three looks.
const SILENT_PINGS: usize = 9;
/// So many pings in a row must be lost for an address beyond the hub to count as gone.
pub const SILENT_REACH: u32 = 3;
/// A loss that people notice, in percent.
const LOSS_PERCENT: usize = 20;
/// A processor with less time left than this may not answer in time.
const BUSY_PERCENT: u8 = 97;
/// So long news stay news.
pub const NEWS_FOR: Duration = Duration::from_mins(10);

/// The other end, as far as somebody told us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubView {
    /// Whether the peer may connect.
    pub enabled: Option<bool>,
    /// The public key that the hub has for this router.
    pub public_key: Option<PublicKey>,
    /// Whether the gateway of the instance reports to the hub.
    pub gateway_online: Option<bool>,
}

/// What was so before, and helps to understand what is.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// A handshake was seen: keys and endpoint were right once.
    pub had_session: bool,
    /// The hub's host answered beside the tunnel.
    pub hub_host_answered: bool,
    /// The default gateway answered.
    pub gateway_answered: bool,
    /// Those that answered through the tunnel.
    pub reach_answered: BTreeSet<IpAddr>,
    /// How often in a row each of those that answered, or must, did not.
    pub reach_silent: BTreeMap<IpAddr, u32>,
    /// The last small pings of looks that saw life: whether each came back.
    pub pings: VecDeque<bool>,
    /// When the router's uptime was last read, and what it was.
    pub uptime: Option<(Moment, Duration)>,
    /// The router's last WAN address.
    pub wan: Option<IpAddr>,
    /// When the router was last seen to have started anew, and what shows it.
    pub rebooted: Option<(Moment, String)>,
    /// When the WAN address last changed, and from what to what.
    pub wan_changed: Option<(Moment, String)>,
}

/// What an assessment stands on.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// What should be.
    pub site: &'a Site,
    /// What is known.
    pub measured: &'a Measured,
    /// What was so.
    pub history: &'a History,
    /// The other end.
    pub hub: &'a HubView,
    /// Where the tunnel stands.
    pub phase: Phase,
    /// Now.
    pub now: Moment,
}

/// Tells from the newest measurements whether the tunnel lives. `before` is our peer's row of an earlier look, with how long
/// ago it was read; `asked` is since when measurements belong to this look.
#[must_use]
pub fn life(measured: &Measured, before: Option<(&Entry, Duration)>, asked: Moment) -> Life {
    let of_look = |at: Moment| at.mono >= asked.mono;
    let echoes = [&measured.small, &measured.full].into_iter().flatten().chain(measured.reach.values());
    let echoes: Vec<&Echo> = echoes.filter(|dated| of_look(dated.at)).map(|dated| &dated.value).collect();
    if echoes.iter().any(|echo| echo.answered()) {
        return Life::Alive;
    }
    let peer = measured.peer.as_ref().filter(|dated| of_look(dated.at)).and_then(|dated| dated.value.as_ref());
    let age = peer.and_then(handshake_age);
    if let (Some(peer), Some(age), Some((before, ago))) = (peer, age, before) {
        let rx = |row: &Entry| row.parse::<u64>("rx").unwrap_or_default();
        // Whole seconds are counted, so one that is as old as the pause may have been there before.
        let is_new = age + Duration::from_secs(1) < ago;
        // What comes in counts only in a session: an answer to a handshake that fails is none.
        if is_new || (age <= RECENT && rx(peer) > rx(before)) {
            return Life::Alive;
        }
    }
    if echoes.iter().any(|echo| echo.silent()) {
        return Life::Silent;
    }
    // Nobody may ping here: the handshake is all there is.
    let keeps_alive = peer.is_some_and(|row| row.get("persistent-keepalive").is_some_and(|value| value != b"0s"));
    match (peer, age) {
        (Some(_), Some(age)) if age <= RECENT => Life::Alive,
        (Some(_), _) if keeps_alive => Life::Silent,
        _ => Life::Unmeasured,
    }
}

/// Returns everything that was seen, causes and consequences.
#[must_use]
pub fn assess(grounds: &Grounds<'_>) -> Vec<Seen> {
    let near = fresh(grounds.measured.near.as_ref(), grounds.now);
    let words = Words::of(grounds.site, near.and_then(|near| near.key.as_deref()));
    let mut found: Vec<Seen> = near.map(|near| near.rows.clone()).unwrap_or_default();
    if grounds.phase == Phase::Alive {
        // What lives cannot lack what it stands on: the closer look is older than the repair.
        found.retain(|seen| seen.code.severity() > Severity::Critical);
    }
    found.extend(steady_rows(grounds, &words));
    if grounds.hub.enabled == Some(false) {
        found.push(words.seen(
            Code::PeerDisabledAtHub,
            "the hub has this peer switched off: no gateway answers it",
            "",
        ));
    }
    match grounds.phase {
        Phase::Dead => found.extend(silence(grounds, &words, near)),
        // While it is in doubt, what was known of the parts still is.
        Phase::Alive | Phase::Doubtful => found.extend(parts(grounds, &words)),
    }
    found.extend(router(grounds, &words));
    found
}

/// What the rows read in every cycle say, newer than the last closer look.
fn steady_rows(grounds: &Grounds<'_>, words: &Words) -> Vec<Seen> {
    let Grounds { site, measured, now, .. } = *grounds;
    let mut found = Vec::new();
    // A closer look goes by markers: it finds what is called otherwise now.
    let near_at = measured.near.as_ref().map(|near| near.at.mono);
    let row = |dated: Option<&Dated<Row>>| {
        let dated = dated.filter(|dated| near_at.is_none_or(|near| dated.at.mono > near))?;
        fresh(Some(dated), now).cloned()
    };
    match row(measured.peer.as_ref()) {
        Some(None) => found.push(words.seen(Code::PeerMissing, "our WireGuard peer is gone", "")),
        Some(Some(row)) if row.is_true("disabled") => {
            found.push(words.seen(Code::PeerDisabled, "our WireGuard peer is disabled", ""));
        }
        _ => {}
    }
    match row(measured.interface.as_ref()) {
        Some(None) => found.push(words.seen(Code::InterfaceMissing, "our WireGuard interface is gone", "")),
        Some(Some(row)) if row.is_true("disabled") => {
            found.push(words.seen(Code::InterfaceDisabled, "our WireGuard interface is disabled", ""));
        }
        _ => {}
    }
    let mut routes =
        [&measured.routes, &measured.routes6].into_iter().filter_map(|routes| fresh(routes.as_ref(), now)).flatten();
    let inactive = |row: &&Entry| {
        row.marker().is_some_and(|marker| marker.site == site.id) && !row.is_true("disabled") && !row.is_active_route()
    };
    // Without its interface every route is inactive, which the interface says itself.
    if let Some(row) = routes.find(inactive) {
        let dst = row.text("dst-address").unwrap_or_default().into_owned();
        found.push(words.seen(
            Code::RouteShadowed,
            format!("our route to {dst} is not the active one: another route to it wins"),
            &dst,
        ));
    }
    found
}

/// Why nothing comes through.
fn silence(grounds: &Grounds<'_>, words: &Words, near: Option<&Near>) -> Vec<Seen> {
    let Grounds { site, measured, history, hub, now, .. } = *grounds;
    let mut found = Vec::new();
    let host = near.and_then(|near| near.hub_host.as_ref());
    found.extend(way_out(grounds, words, near));
    if let (Some(Host::Name(name)), Some(said)) =
        (site.endpoint().map(|endpoint| &endpoint.host), host.and_then(|echo| echo.refused.as_ref()))
        && said.contains("resolve")
    {
        let evidence = format!("the router cannot resolve the hub's name {name}; it said: {said}");
        found.push(words.seen(Code::EndpointUnresolved, evidence, ""));
    }
    let peer = measured.peer(now);
    found.extend(endpoint(site, words, peer, host));
    found.extend(key(hub, words, near));
    if let Some(offset) = fresh(measured.clock_offset.as_ref(), now).filter(|offset| **offset < -CLOCK_BEHIND_SECS) {
        let evidence = format!(
            "the router's clock is {} s behind this host's: a hub that saw a later one ignores its handshakes",
            offset.unsigned_abs()
        );
        found.push(words.seen(Code::ClockBehind, evidence, ""));
    }
    let answers = host.is_some_and(Echo::answered);
    let endpoint = words.endpoint().to_owned();
    if hub.gateway_online == Some(false) {
        found.push(words.seen(Code::HubDown, "the hub does not hear from the gateway either", ""));
    } else if host.is_some_and(Echo::silent) && history.hub_host_answered {
        let evidence = format!("the host of {endpoint} answered pings beside the tunnel, and does not any more");
        found.push(words.seen(Code::HubDown, evidence, ""));
    }
    found.push(udp(grounds, words, near, answers));
    found
}

/// UDP, when nothing else is left to blame.
fn udp(grounds: &Grounds<'_>, words: &Words, near: Option<&Near>, host_answers: bool) -> Seen {
    let Grounds { history, hub, .. } = *grounds;
    let endpoint = words.endpoint();
    if let Some(rule) = near.and_then(|near| near.output_drop.as_ref()) {
        return words.seen(
            Code::NoUdpEgress,
            format!("a rule of the router's own drops UDP to {endpoint}: {rule}"),
            "",
        );
    }
    let key_known = hub.public_key.is_some();
    if hub.gateway_online == Some(true) && (key_known || history.had_session) {
        let evidence = format!("the gateway at {endpoint} lives and knows this router, and no UDP gets there and back");
        return words.seen(Code::NoUdpEgress, evidence, "");
    }
    if host_answers && history.had_session {
        let evidence =
            format!("the host of {endpoint} answers pings, and UDP that came back from there once does not now");
        return words.seen(Code::NoUdpEgress, evidence, "");
    }
    let evidence = format!(
        "nothing comes back from {endpoint}: nothing listens there, UDP is dropped on the way, or the hub does not know this router's key"
    );
    words.seen(Code::NoReply, evidence, "")
}

/// Whether the router has a way to the Internet at all.
fn way_out(grounds: &Grounds<'_>, words: &Words, near: Option<&Near>) -> Option<Seen> {
    let Grounds { site, measured, history, now, .. } = *grounds;
    let by_v4 = match site.endpoint().map(|endpoint| &endpoint.host) {
        Some(Host::Address(address)) => address.is_ipv4() && !address.is_loopback(),
        _ => true,
    };
    let gateway = near.and_then(|near| near.gateway.as_ref());
    if gateway.is_some_and(Echo::silent) && history.gateway_answered {
        return Some(words.seen(Code::WanDown, "the default gateway answered pings, and does not any more", ""));
    }
    let routes = fresh(measured.routes.as_ref(), now)?;
    let active = routes.iter().any(|row| row.get("dst-address") == Some(b"0.0.0.0/0") && row.is_active_route());
    let unreached = near.and_then(|near| near.hub_host.as_ref()).is_none_or(|echo| !echo.answered());
    (by_v4 && !active && unreached).then(|| words.seen(Code::WanDown, "the router has no active default route", ""))
}

/// Where the router sends its handshakes, and where it should.
fn endpoint(site: &Site, words: &Words, peer: Option<&Entry>, host: Option<&Echo>) -> Vec<Seen> {
    let Some(current) = peer.and_then(|row| row.parse::<IpAddr>("current-endpoint-address")) else { return Vec::new() };
    let mut found = Vec::new();
    if let Err(conflict) = site.check_endpoint(current) {
        found.push(words.seen(Code::EndpointInReach, conflict.to_string(), ""));
    }
    let named = matches!(site.endpoint().map(|endpoint| &endpoint.host), Some(Host::Name(_)));
    if let Some(resolved) = host.and_then(|echo| echo.host).filter(|resolved| named && *resolved != current) {
        let evidence = format!("the router sends to {current}, and the hub's name stands for {resolved} now");
        found.push(words.seen(Code::StaleEndpoint, evidence, ""));
    }
    found
}

/// Whether the hub knows the router by the key it has.
fn key(hub: &HubView, words: &Words, near: Option<&Near>) -> Option<Seen> {
    let (at_hub, here) = (hub.public_key?.to_string(), near?.key.as_ref()?);
    (at_hub != *here).then(|| {
        words.seen(
            Code::WrongKey,
            format!("the hub has the public key {at_hub} for this router, and its own is {here}"),
            "",
        )
    })
}

/// What does not come through a tunnel that lives.
fn parts(grounds: &Grounds<'_>, words: &Words) -> Vec<Seen> {
    let Grounds { measured, history, now, .. } = *grounds;
    let mut found = Vec::new();
    let small = fresh(measured.small.as_ref(), now);
    if let Some(said) = small.and_then(|echo| echo.refused.as_ref()) {
        found.push(words.seen(Code::PingRefused, format!("the router would not ping; it said: {said}"), ""));
    }
    let of_late = history.pings.iter().rev().take(SILENT_PINGS);
    if history.pings.len() >= SILENT_PINGS && !of_late.into_iter().any(|came| *came) {
        let evidence = "there is a session, but the hub's probe does not answer through the tunnel";
        found.push(words.seen(Code::NoAnswer, evidence, ""));
    }
    found.extend(fresh(measured.sizes.as_ref(), now).and_then(|sizes| black_hole(words, sizes)));
    let (lost, all) = (history.pings.iter().filter(|came| !**came).count(), history.pings.len());
    if all >= ENOUGH_PINGS && lost < all && lost * 100 >= all * LOSS_PERCENT {
        let evidence = format!("{lost} of the last {all} pings to the hub were lost");
        found.push(words.seen(Code::PacketLoss, evidence, ""));
    }
    let silent = history.reach_silent.iter().filter(|(_, times)| **times >= SILENT_REACH);
    let silent: Vec<String> = silent.map(|(address, _)| address.to_string()).collect();
    if !silent.is_empty() {
        let evidence = format!("{} answered through the tunnel, or must, and does not", silent.join(", "));
        found.push(words.seen(Code::SubnetUnreachable, evidence, &silent.join(", ")));
    }
    found
}

/// Packets of the full length vanish, and shorter ones pass.
fn black_hole(words: &Words, sizes: &[(u16, bool)]) -> Option<Seen> {
    let full = sizes.iter().map(|(size, _)| *size).max()?;
    let passed = sizes.iter().filter(|(_, came)| *came).map(|(size, _)| *size).max();
    if passed == Some(full) {
        return None;
    }
    let longest = match passed {
        Some(passed) => format!("the longest that pass have {passed}"),
        None => "nor do those of 1280".to_owned(),
    };
    let evidence = format!("small packets pass the tunnel, those of {full} bytes vanish; {longest}");
    let mtu = passed.unwrap_or(crate::domain::MIN_MTU).to_string();
    Some(words.seen(Code::MtuBlackHole, evidence, &mtu))
}

/// The router itself.
fn router(grounds: &Grounds<'_>, words: &Words) -> Vec<Seen> {
    let Grounds { measured, history, now, .. } = *grounds;
    let mut found = Vec::new();
    let load = fresh(measured.resource.as_ref(), now).and_then(|row| row.parse::<u8>("cpu-load"));
    if let Some(load) = load.filter(|load| *load >= BUSY_PERCENT) {
        found.push(words.seen(Code::RouterOverloaded, format!("the router's processor is busy at {load} %"), ""));
    }
    let is_news = |at: &Moment| now.after(*at) <= NEWS_FOR;
    for (code, news) in [(Code::RouterRebooted, &history.rebooted), (Code::WanChanged, &history.wan_changed)] {
        if let Some((_, what)) = news.as_ref().filter(|(at, _)| is_news(at)) {
            found.push(words.seen(code, what.clone(), ""));
        }
    }
    found
}
