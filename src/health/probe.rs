//! Asks a router, one question a command: what a cycle asks is sent at once, and each answer goes to its place.
//!
//! # The budget
//! A steady cycle asks [`STEADY_COMMANDS`] questions every [`super::state::PERIOD`], which makes [`COMMANDS_PER_MINUTE`]:
//!
//! | cycle | asks |
//! |---|---|
//! | even | [`Question::Small`] (three pings to the hub), [`Question::Peer`], and one of the addresses that are to be reached, in turn |
//! | odd | [`Question::Full`] (one ping as long as the MTU), [`Question::Routes`], and one of [`SLOW`], in turn |
//!
//! When something looks wrong the next cycle comes sooner and asks less (see `super::state`); only a closer look
//! ([`super::near`]) costs more, and is limited by time.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use ipnet::IpNet;

use super::measured::{Dated, Echo, Measured, Moment};
use crate::domain::Site;
use crate::reconcile::entry::Entry;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu::{self, Menu};

/// Questions of a steady cycle.
pub const STEADY_COMMANDS: usize = 3;
/// Commands that a steady tunnel costs its router in a minute.
pub const COMMANDS_PER_MINUTE: u64 = 6;
/// Bytes that a steady tunnel costs its router's API in a minute, both ways together; what a large table of routes could add is
/// kept out by asking for our own routes only.
pub const BYTES_PER_MINUTE: u64 = 16 << 10;
/// Small pings of an even cycle: one that is lost shows as a loss, not as silence.
pub const SMALL_PINGS: u32 = 3;
/// Between two pings.
pub const PING_EVERY: Duration = Duration::from_secs(1);
/// Most addresses that are pinged beside the hub's probe: each has its turn, and must have it while it is still news.
pub const MAX_REACH: usize = 8;
/// A round trip longer than this is not believed.
const LONGEST_RTT: Duration = Duration::from_mins(1);
/// Most rows kept of one answer: our own rows are far fewer, and a router that does not know a query answers with everything.
const MAX_ROWS: usize = 4096;
/// Bytes in a small ping, IP header included: RouterOS's own default.
const SMALL_SIZE: u16 = 56;

/// What can be asked; each is one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Our peer: handshake, counters, endpoint.
    Peer,
    /// Our interface.
    Interface,
    /// Our routes and the default ones, of IPv4.
    Routes,
    /// The same of IPv6.
    Routes6,
    /// All addresses.
    Addresses,
    /// Load, memory, uptime, version.
    Resource,
    /// The wall clock.
    Clock,
    /// Sensors, where there are any.
    Temperature,
    /// So many small pings to the hub's probe.
    Small(u32),
    /// So many pings as long as the MTU, not to be cut up on the way.
    Full(u32),
    /// A small ping to another address.
    Reach(IpAddr),
}

/// What changes slowly and is asked in turn; load and uptime more often.
pub const SLOW: [Question; 8] = [
    Question::Resource,
    Question::Clock,
    Question::Resource,
    Question::Addresses,
    Question::Resource,
    Question::Interface,
    Question::Resource,
    Question::Temperature,
];

/// What an odd and an even cycle ask, by the number of the cycle.
#[must_use]
pub fn steady(turn: usize, site: &Site, targets: &[IpAddr], has_sensors: bool) -> Vec<Question> {
    let half = turn / 2;
    let slow = SLOW[half % SLOW.len()];
    let slow = if slow == Question::Temperature && !has_sensors { Question::Resource } else { slow };
    if turn % 2 == 1 {
        let v6 = site.routed().any(|net| matches!(net, IpNet::V6(_)));
        let routes = if v6 && half % 2 == 1 { Question::Routes6 } else { Question::Routes };
        return vec![Question::Full(1), routes, slow];
    }
    let reach =
        targets.get(half.checked_rem(targets.len()).unwrap_or_default()).map(|address| Question::Reach(*address));
    let third = reach.unwrap_or(Question::Interface);
    vec![Question::Small(SMALL_PINGS), Question::Peer, third]
}

/// Everything at once: the first cycle, and the first one of a new connection.
#[must_use]
pub fn everything(site: &Site, targets: &[IpAddr]) -> Vec<Question> {
    let mut all = vec![
        Question::Small(SMALL_PINGS),
        Question::Peer,
        Question::Full(1),
        Question::Routes,
        Question::Interface,
        Question::Addresses,
        Question::Resource,
        Question::Clock,
        Question::Temperature,
    ];
    if site.routed().any(|net| matches!(net, IpNet::V6(_))) {
        all.push(Question::Routes6);
    }
    all.extend(targets.iter().map(|target| Question::Reach(*target)));
    all
}

/// What there is to know of a router before there is a tunnel.
#[must_use]
pub fn beside_tunnel() -> Vec<Question> {
    vec![Question::Routes, Question::Addresses, Question::Resource, Question::Temperature]
}

/// The least that tells whether the tunnel lives.
#[must_use]
pub fn quick() -> Vec<Question> {
    vec![Question::Small(1), Question::Peer]
}

/// The addresses to be pinged in turn: the other probes, and the first address of each subnet that is routed into the tunnel,
/// which is where most sites have their router.
#[must_use]
pub fn targets(site: &Site) -> Vec<IpAddr> {
    let first =
        |net: IpNet| if net.prefix_len() == net.max_prefix_len() { Some(net.addr()) } else { net.hosts().next() };
    let subnets = site.routed().filter_map(first);
    let probes = site.tunnel.probe.iter().copied();
    let mut found: Vec<IpAddr> = Vec::new();
    for address in probes.skip(1).chain(subnets) {
        if found.len() < MAX_REACH && !found.contains(&address) && site.tunnel.probe.first() != Some(&address) {
            found.push(address);
        }
    }
    found
}

/// Asks all at once and puts the answers where they belong. What the router refuses stays as unknown as before. `interface` is
/// what our interface is called now, which somebody may have changed.
///
/// # Errors
/// Any [`CallError`] but a refusal.
///
/// # Cancel safety
/// Nothing is written: the future can be dropped at any time.
pub async fn ask(
    client: &Client,
    (site, interface): (&Site, &str),
    questions: &[Question],
    measured: &mut Measured,
    now: Moment,
) -> Result<(), CallError> {
    let answers =
        try_join_all(questions.iter().map(|question| answer(client, site, interface, *question, now))).await?;
    for answer in answers {
        answer.enter(measured, now);
    }
    Ok(())
}

/// What came back.
enum Answer {
    Peer(Option<Entry>),
    Interface(Option<Entry>),
    Routes(Vec<Entry>),
    Routes6(Vec<Entry>),
    Addresses(Vec<Entry>),
    Resource(Entry),
    ClockOffset(i64),
    Temperature(i16),
    Small(Echo),
    Full(Echo),
    Reach(IpAddr, Echo),
    /// The router would not say, or said nothing that can be read.
    Nothing,
}

impl Answer {
    fn enter(self, measured: &mut Measured, at: Moment) {
        match self {
            Self::Peer(value) => measured.peer = Some(Dated { at, value }),
            Self::Interface(value) => measured.interface = Some(Dated { at, value }),
            Self::Routes(value) => measured.routes = Some(Dated { at, value }),
            Self::Routes6(value) => measured.routes6 = Some(Dated { at, value }),
            Self::Addresses(value) => measured.addresses = Some(Dated { at, value }),
            Self::Resource(value) => measured.resource = Some(Dated { at, value }),
            Self::ClockOffset(value) => measured.clock_offset = Some(Dated { at, value }),
            Self::Temperature(value) => measured.temperature = Some(Dated { at, value }),
            Self::Small(value) => measured.small = Some(Dated { at, value }),
            Self::Full(value) => measured.full = Some(Dated { at, value }),
            Self::Reach(address, value) => drop(measured.reach.insert(address, Dated { at, value })),
            Self::Nothing => {}
        }
    }
}

async fn answer(
    client: &Client,
    site: &Site,
    interface: &str,
    question: Question,
    now: Moment,
) -> Result<Answer, CallError> {
    let ours = |query: &str| format!("?{query}={interface}");
    let is_ours = |row: &Entry, field: &str| row.get(field) == Some(interface.as_bytes());
    let hub = || site.tunnel.probe.first().map(ToString::to_string).unwrap_or_default();
    Ok(match question {
        Question::Peer => {
            let rows = rows(client, &menu::PEERS, &[ours("interface")], |row| is_ours(row, "interface")).await?;
            // Of several on our interface the one with our marker is meant.
            let marked = |row: &Entry| row.marker().is_some_and(|marker| marker.site == site.id);
            rows.map_or(Answer::Nothing, |rows| Answer::Peer(rows.into_iter().find(marked)))
        }
        Question::Interface => {
            let rows = rows(client, &menu::WIREGUARD, &[ours("name")], |row| is_ours(row, "name")).await?;
            rows.map_or(Answer::Nothing, |rows| Answer::Interface(rows.into_iter().next()))
        }
        Question::Routes => {
            routes(client, &menu::IP_ROUTE, "0.0.0.0/0", interface).await?.map_or(Answer::Nothing, Answer::Routes)
        }
        Question::Routes6 => {
            routes(client, &menu::IP_ROUTE6, "::/0", interface).await?.map_or(Answer::Nothing, Answer::Routes6)
        }
        Question::Addresses => {
            rows(client, &menu::IP_ADDRESS, &[], |_| true).await?.map_or(Answer::Nothing, Answer::Addresses)
        }
        Question::Resource => only(client, &menu::RESOURCE).await?.map_or(Answer::Nothing, Answer::Resource),
        Question::Clock => {
            let clock = only(client, &menu::CLOCK).await?;
            let secs =
                clock.and_then(|row| menu::clock_seconds(row.get("date")?, row.get("time")?, row.get("gmt-offset")));
            secs.map_or(Answer::Nothing, |secs| Answer::ClockOffset(secs.saturating_sub(now.unix)))
        }
        Question::Temperature => {
            let rows = rows(client, &menu::HEALTH, &[], |_| true).await?.unwrap_or_default();
            warmest(&rows).map_or(Answer::Nothing, Answer::Temperature)
        }
        Question::Small(count) => Answer::Small(ping(client, &hub(), &Pings::small(count)).await?),
        Question::Full(count) => Answer::Full(ping(client, &hub(), &Pings::whole(count, full_size(site))).await?),
        Question::Reach(address) => Answer::Reach(address, ping(client, &address.to_string(), &Pings::small(1)).await?),
    })
}

/// Our routes and the default ones; a router that does not know the query answers with all of them.
async fn routes(
    client: &Client,
    menu: &'static Menu,
    default: &str,
    interface: &str,
) -> Result<Option<Vec<Entry>>, CallError> {
    let queries = [format!("?gateway={interface}"), format!("?dst-address={default}"), "?#|".to_owned()];
    let wanted = |row: &Entry| {
        row.gateway_interface() == Some(interface.as_bytes()) || row.get("dst-address") == Some(default.as_bytes())
    };
    rows(client, menu, &queries, wanted).await
}

/// The longest packet that the tunnel is to carry, in bytes.
#[must_use]
pub fn full_size(site: &Site) -> u16 {
    /// RouterOS's own default. *Source:* the manual's WireGuard page.
    const DEFAULT_MTU: u16 = 1420;
    site.tunnel.mtu.unwrap_or(DEFAULT_MTU)
}

/// The highest temperature among the sensors, in degrees Celsius.
///
/// Rows have `name`, `value` and `type`; before 7.0 it was one row with a field for each. *Source:* the manual's Health page.
fn warmest(rows: &[Entry]) -> Option<i16> {
    let is_temperature = |row: &&Entry| row.text("name").is_some_and(|name| name.contains("temperature"));
    rows.iter().filter(is_temperature).filter_map(|row| row.parse::<f64>("value")).fold(
        None,
        |most: Option<i16>, value| {
            // Sensors give whole degrees or tenths: what does not fit is no temperature.
            let degrees = format!("{value:.0}").parse::<i16>().ok();
            most.max(degrees)
        },
    )
}

async fn only(client: &Client, menu: &'static Menu) -> Result<Option<Entry>, CallError> {
    Ok(rows(client, menu, &[], |_| true).await?.and_then(|rows| rows.into_iter().next()))
}

/// Rows of a menu that are wanted; `None` if the router refuses.
async fn rows(
    client: &Client,
    menu: &'static Menu,
    queries: &[String],
    wanted: impl Fn(&Entry) -> bool,
) -> Result<Option<Vec<Entry>>, CallError> {
    let path = menu.path;
    let mut fields: Vec<&str> = vec![".id"];
    fields.extend(menu.proplist());
    let command = Command::new(&format!("{path}/print")).proplist(&fields);
    let command = queries.iter().fold(command, |command, query| command.query(query));
    let mut call = client.stream(&command).await?;
    let mut kept = Vec::new();
    while let Some(row) = call.next().await {
        match row {
            Ok(row) => {
                let entry = Entry::of_row(&row);
                if wanted(&entry) && kept.len() < MAX_ROWS {
                    kept.push(entry);
                }
            }
            Err(error) if error.refusal().is_some() => {
                tracing::debug!(path, %error, "not measured");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(kept))
}

/// How to ping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pings {
    count: u32,
    size: u16,
    whole: bool,
}

impl Pings {
    pub(super) fn small(count: u32) -> Self {
        Self { count, size: SMALL_SIZE, whole: false }
    }

    /// Packets that must not be cut up on the way.
    pub(super) fn whole(count: u32, size: u16) -> Self {
        Self { count, size, whole: true }
    }
}

/// Lets the router ping an address or a name.
///
/// # Errors
/// Any [`CallError`] but a refusal.
pub(super) async fn ping(client: &Client, to: &str, how: &Pings) -> Result<Echo, CallError> {
    let mut command = Command::new("/tool/ping")
        .attr("address", to)
        .attr("count", how.count.to_string())
        .attr("interval", menu::format_duration(PING_EVERY));
    if how.whole {
        command = command.attr("size", how.size.to_string()).attr("do-not-fragment", "");
    }
    let mut echo = Echo { sent: how.count, ..Echo::default() };
    match client.call(&command).await {
        Ok(reply) => {
            let rtts = reply.rows.iter().filter_map(|row| menu::parse_duration(row.get("time")?));
            echo.rtts = rtts.filter(|rtt| *rtt <= LONGEST_RTT).collect();
            // An error of a router on the way bears that router's address.
            let of_target = reply.rows.iter().filter(|row| matches!(row.get("status"), None | Some(b"timeout")));
            echo.host = of_target.filter_map(|row| row.text("host")).find_map(|host| host.parse().ok());
            echo.status = reply.rows.iter().rev().find_map(|row| row.get("status")).map(crate::domain::shown);
        }
        Err(error) => match error.refusal() {
            Some(refusal) => echo.refused = Some(refusal.to_string()),
            None => return Err(error),
        },
    }
    Ok(echo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::entry::tests::entry;

    #[test]
    fn the_warmest_sensor_counts_and_volts_are_no_degrees() {
        let rows = [
            entry(&["name=voltage", "value=24.1", "type=V"]),
            entry(&["name=temperature", "value=41", "type=C"]),
            entry(&["name=cpu-temperature", "value=56.4", "type=C"]),
        ];
        assert_eq!(warmest(&rows), Some(56));
        assert_eq!(warmest(&[]), None);
    }
}
