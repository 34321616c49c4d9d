//! Proves that a tunnel carries traffic: a handshake, and an answer through it.
//!
//! Reads and pings only; that a tunnel is not proven is an outcome, not an error.

mod diagnose;

pub use diagnose::{Cause, diagnose};

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::entry::Entry;
use crate::domain::{Endpoint, Host, Site};
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu::{self, parse_duration};

/// The oldest handshake of a live session: WireGuard makes a new one every two minutes while there is traffic.
pub const RECENT: Duration = Duration::from_mins(3);
/// Between two looks: short beside a person's patience, long beside a router's work.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long one ping may take: RouterOS counts an answer that comes after the interval as lost, and a satellite link
/// takes 700 ms. *Source:* the manual's Ping page.
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// A round trip longer than this is not believed.
const LONGEST_RTT: Duration = Duration::from_mins(1);

/// What the proof must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How new the handshake must be.
    pub handshake: Handshake,
    /// Whether the session must be with the configured endpoint, because that was just written.
    pub endpoint: bool,
}

/// How new the handshake must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The peer was just made: any handshake it has is newer than that.
    Any,
    /// The keys of a peer that was there were written: it must be another than the one before, which was no later than this.
    Another(Instant),
    /// Nothing that makes a session was written: no older than [`RECENT`].
    Recent,
}

/// What proves the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Age of the handshake when it was read, whole seconds.
    pub handshake_age: Duration,
    /// Which probe answered.
    pub probe: IpAddr,
    /// Its round-trip time through the tunnel, by the router's own measure.
    pub rtt: Duration,
    /// How long the proof took.
    pub waited: Duration,
}

/// What was seen until the time was over.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Our peer's row, as it was read first.
    pub first: Option<Entry>,
    /// Our peer's row, as it was read last.
    pub last: Option<Entry>,
    /// Whether the handshake was new enough.
    pub handshake: bool,
    /// The last handshake was no earlier than this.
    pub not_before: Option<Instant>,
    /// Whether any probe answered.
    pub answered: bool,
    /// What the router said of a ping it refused.
    pub ping_refused: Option<String>,
}

impl Evidence {
    /// Returns how many bytes came from the hub while the proof was waited for.
    #[must_use]
    pub fn received(&self) -> u64 {
        let rx = |row: &Option<Entry>| row.as_ref().and_then(|row| row.parse::<u64>("rx")).unwrap_or_default();
        rx(&self.last).saturating_sub(rx(&self.first))
    }
}

/// Waits for the proof, at most `timeout`. `peer` is the id of our peer's row.
///
/// # Errors
/// Any [`CallError`] but a refused ping.
///
/// # Cancel safety
/// Nothing is written: the future can be dropped at any time.
pub async fn prove(
    client: &Client,
    site: &Site,
    peer: &[u8],
    demand: Demand,
    timeout: Duration,
) -> Result<Result<Proof, Evidence>, CallError> {
    let begun = Instant::now();
    let mut seen = Evidence::default();
    let looks = async {
        for probe in site.tunnel.probe.iter().cycle() {
            if let Some((handshake_age, rtt)) = look(client, site, peer, demand, *probe, &mut seen).await? {
                return Ok(Some(Proof { handshake_age, probe: *probe, rtt, waited: begun.elapsed() }));
            }
            // Pacing: a look costs the router a ping, and nothing tells us when a handshake comes.
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(None)
    };
    match tokio::time::timeout(timeout, looks).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(Some(proof))) => Ok(Ok(proof)),
        Ok(Ok(None)) | Err(_) => Ok(Err(seen)),
    }
}

/// Pings once and reads the peer; `Some` if both are as demanded.
async fn look(
    client: &Client,
    site: &Site,
    peer: &[u8],
    demand: Demand,
    probe: IpAddr,
    seen: &mut Evidence,
) -> Result<Option<(Duration, Duration)>, CallError> {
    let pinged = ping(client, probe, 1, PING_PATIENCE).await?;
    let asked = Instant::now();
    let row = read_peer(client, peer).await?;
    let age = row.as_ref().and_then(|row| parse_duration(row.get("last-handshake")?));
    // An age is told in whole seconds: look by look the bound comes nearer to the truth.
    let bound = age.and_then(|age| asked.checked_sub(age.checked_add(COUNTED_BY)?));
    seen.not_before = seen.not_before.max(bound);
    let is_new = age.is_some_and(|age| new_enough(demand.handshake, age, seen.not_before));
    let at_endpoint = !demand.endpoint || row.as_ref().is_some_and(|row| speaks_to(row, site.endpoint()));
    let rtt = pinged.rtts.last().copied();
    seen.handshake = is_new && at_endpoint;
    seen.answered |= rtt.is_some();
    seen.ping_refused = pinged.refused;
    if seen.first.is_none() {
        seen.first.clone_from(&row);
    }
    seen.last = row;
    Ok(age.zip(rtt).filter(|_| seen.handshake))
}

/// The router counts whole seconds: an age of 0 s may be almost one.
const COUNTED_BY: Duration = Duration::from_secs(1);

fn new_enough(handshake: Handshake, age: Duration, not_before: Option<Instant>) -> bool {
    match handshake {
        Handshake::Any => true,
        Handshake::Another(before) => not_before.is_some_and(|moment| moment > before),
        Handshake::Recent => age <= RECENT,
    }
}

/// Whether the session is with the endpoint that is configured, where that can be told: a name stands for any address.
fn speaks_to(peer: &Entry, endpoint: Option<&Endpoint>) -> bool {
    match endpoint {
        Some(Endpoint { host: Host::Address(address), port }) => {
            let current: Option<IpAddr> = peer.parse("current-endpoint-address");
            let current_port: Option<u16> = peer.parse("current-endpoint-port");
            current.is_none_or(|current| current == *address) && current_port.is_none_or(|current| current == *port)
        }
        _ => true,
    }
}

/// Reads a peer's row by its id, without its secrets.
async fn read_peer(client: &Client, id: &[u8]) -> Result<Option<Entry>, CallError> {
    let mut fields: Vec<&str> = vec![".id"];
    fields.extend(menu::PEERS.proplist());
    let query = format!("?.id={}", String::from_utf8_lossy(id));
    let command = Command::new("/interface/wireguard/peers/print").proplist(&fields).query(&query);
    let reply = client.call(&command).await?;
    // A router that does not know the query answers with every row.
    Ok(reply.rows.iter().map(Entry::of_row).find(|row| row.id() == id))
}

/// What came of pinging.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinged {
    /// How many were sent.
    pub sent: u32,
    /// Round-trip times of those that came back, by the router's own measure.
    pub rtts: Vec<Duration>,
    /// What the router said if it would not ping.
    pub refused: Option<String>,
}

/// Lets the router ping an address.
///
/// A name that does not resolve is refused. *Source:* recorded `/tool/ping` of 7.24.3.
///
/// # Errors
/// Any [`CallError`] but the router's refusal.
pub async fn ping(client: &Client, to: impl ToString, count: u32, every: Duration) -> Result<Pinged, CallError> {
    let command = Command::new("/tool/ping")
        .attr("address", to.to_string())
        .attr("count", count.to_string())
        .attr("interval", menu::format_duration(every));
    let mut pinged = Pinged { sent: count, ..Pinged::default() };
    match client.call(&command).await {
        Ok(reply) => {
            let rtts = reply.rows.iter().filter_map(|row| parse_duration(row.get("time")?));
            pinged.rtts = rtts.filter(|rtt| *rtt <= LONGEST_RTT).collect();
        }
        Err(error) => match error.refusal() {
            Some(refusal) => pinged.refused = Some(refusal.to_string()),
            None => return Err(error),
        },
    }
    Ok(pinged)
}
