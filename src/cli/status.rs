//! `sitepeer status`: interface, peer, handshake, counters, round-trip time, subnets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::{Status, Subject};
use super::report::{Outcome, Reporter, Verdict};
use super::{session, uplink};
use crate::domain::{Role, SiteId};
use crate::reconcile::desired::PROBE_NOTE;
use crate::reconcile::entry::Entry;
use crate::reconcile::generation::used;
use crate::reconcile::guard::{Found, guards};
use crate::reconcile::heal::Healed;
use crate::reconcile::observe::{Interest, Observed};
use crate::reconcile::plan::{OwnRow, own_rows};
use crate::reconcile::prove::{Pinged, RECENT, ping};
use crate::routeros::client::Client;
use crate::routeros::menu::{format_duration, parse_duration};

/// Pings sent: enough to tell loss from bad luck, few enough to wait for.
const PINGS: u32 = 5;
/// Between two of them.
const PING_EVERY: Duration = Duration::from_millis(200);

/// Carries out `status`.
///
/// # Errors
/// Anything that has an exit code of its own; everything else is an internal error.
pub async fn run(command: Status, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let Status { access, subject, hub } = command;
    let at_hub = match hub {
        Some(hub) => Some(uplink::standing(&hub, reporter).await?),
        None => None,
    };
    let client = session::open(&access, reporter).await?;
    let observed = session::read(&client, &Interest::default(), reporter).await?;
    let site = match (&subject, &at_hub) {
        (_, Some(at_hub)) => at_hub.site()?,
        (Subject::Site(site), None) => site.id.clone(),
        #[cfg(feature = "proxy")]
        (Subject::Id(site), None) => site.clone(),
        (Subject::Instance(name), None) => session::site_on(&observed, Some(name))?,
        (Subject::Only, None) => session::site_on(&observed, None)?,
    };
    let own = match own_rows(&site, &[], &observed) {
        Ok(own) => own,
        Err(doubts) => {
            return Err(super::show::refused(crate::reconcile::decide::Refused::Ambiguous(doubts), reporter).into());
        }
    };
    let tunnel = Tunnel::of(&own, used(&observed, &site).unwrap_or_default());
    let pinged = match tunnel.probe() {
        Some(probe) => Some((probe.clone(), probing(&client, &probe, reporter).await?)),
        None => None,
    };
    #[cfg(feature = "proxy")]
    let held = crate::reconcile::apply::safe_hold_of(&client, &observed).await?.map(|hold| hold.explain());
    client.close().await;
    reporter.data(&tunnel.text(&site, &observed, pinged.as_ref()));
    let guard = guards(&observed).first().map(Found::explain);
    if let Some(guard) = &guard {
        reporter.data(&super::report::clean(&format!("{:<11} {guard}", "guard")));
        reporter.data("\n");
    }
    #[cfg(feature = "proxy")]
    if let Some(held) = &held {
        reporter.data(&super::report::clean(&format!("{:<11} {held}", "safe mode")));
        reporter.data("\n");
    }
    let healed = tunnel.peer.and_then(Healed::of);
    if let Some(healed) = healed {
        let ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ago = ago.saturating_sub(Duration::from_secs(u64::try_from(healed.at).unwrap_or(0)));
        let ago = format_duration(Duration::from_secs(ago.as_secs()));
        reporter.data(&format!("{:<11} the agent {} {ago} ago\n", "healed", healed.step.said()));
    }
    let verdict = if tunnel.is_alive(pinged.as_ref()) { Verdict::Converged } else { Verdict::Unproven };
    let mut outcome = Outcome::new(verdict).detail("status", tunnel.json(&site, &observed, pinged.as_ref()));
    if let Some(guard) = guard {
        outcome = outcome.detail("guard", guard);
    }
    #[cfg(feature = "proxy")]
    if let Some(held) = held {
        outcome = outcome.detail("safe_mode", held);
    }
    if let Some(Healed { step, at, .. }) = healed {
        outcome = outcome.detail("healed", json!({ "step": step.word(), "at": at }));
    }
    let Some(at_hub) = at_hub else { return Ok(outcome) };
    let key = tunnel.interface.and_then(|row| row.parse("public-key"));
    reporter.data(&format!("{:<11} {}\n", "at the hub", super::report::clean(&at_hub.words(key))));
    Ok(outcome.detail("hub", at_hub.figures()))
}

async fn probing(client: &Client, probe: &str, reporter: &Reporter) -> anyhow::Result<Pinged> {
    let before = client.round_trips();
    let pinged = ping(client, probe, PINGS, PING_EVERY).await?;
    reporter.tally(|tally| tally.round_trips.prove = client.round_trips() - before);
    Ok(pinged)
}

/// The rows of one site that tell of its tunnel.
struct Tunnel<'a> {
    interface: Option<&'a Entry>,
    peer: Option<&'a Entry>,
    /// The tunnels beside the one in use: interface and peer of each.
    beside: Vec<(&'a Entry, Option<&'a Entry>)>,
    advertised: Vec<String>,
    reachable: Vec<String>,
    addresses: Vec<String>,
}

impl<'a> Tunnel<'a> {
    fn of(own: &[OwnRow<'a>], in_use: u32) -> Self {
        let row_of = |role: Role, generation: u32| {
            let is_it = |row: &&OwnRow<'_>| row.marker.role == role && row.marker.generation() == Some(generation);
            own.iter().find(is_it).map(|row| row.entry)
        };
        let row = |role| row_of(role, in_use);
        let interfaces = own.iter().filter(|row| row.marker.role == Role::Interface);
        let beside = interfaces.filter_map(|row| Some((row.entry, row.marker.generation()?)));
        let beside = beside.filter(|(_, generation)| *generation != in_use);
        let beside = beside.map(|(entry, generation)| (entry, row_of(Role::Peer, generation))).collect();
        let keys =
            |role: Role| own.iter().filter(|r| r.marker.role == role).filter_map(|r| r.marker.key.clone()).collect();
        Self {
            interface: row(Role::Interface),
            peer: row(Role::Peer),
            beside,
            advertised: keys(Role::Ours),
            reachable: keys(Role::Theirs),
            addresses: keys(Role::Address),
        }
    }

    /// The first probe, as the peer's note says.
    fn probe(&self) -> Option<String> {
        let comment = self.peer?.text("comment")?.into_owned();
        let note = comment.split_whitespace().find_map(|word| word.strip_prefix(PROBE_NOTE))?;
        let first = note.split(',').next()?;
        // Only an address is pinged: the comment is anybody's to write.
        first.parse::<std::net::IpAddr>().ok().map(|address| address.to_string())
    }

    fn handshake(&self) -> Option<Duration> {
        last_handshake(self.peer?)
    }

    fn is_alive(&self, pinged: Option<&(String, Pinged)>) -> bool {
        let answered = pinged.is_none_or(|(_, pinged)| !pinged.rtts.is_empty());
        answered && self.handshake().is_some_and(|age| age <= RECENT)
    }

    fn text(&self, site: &SiteId, observed: &Observed, pinged: Option<&(String, Pinged)>) -> String {
        let instance = session::instance_on(observed, site).unwrap_or_else(|| "?".to_owned());
        let said =
            |row: Option<&Entry>, name: &str| row.and_then(|row| row.text(name)).unwrap_or_default().into_owned();
        let (interface, peer) = (self.interface, self.peer);
        let state = match interface {
            None => "missing",
            Some(row) if row.is_true("disabled") => "disabled",
            Some(row) if row.is_true("running") => "running",
            Some(_) => "not running",
        };
        let handshake = self.handshake().map_or("never".to_owned(), |age| format!("{} ago", format_duration(age)));
        let endpoint = format!("{}:{}", said(peer, "endpoint-address"), said(peer, "endpoint-port"));
        let current = format!("{}:{}", said(peer, "current-endpoint-address"), said(peer, "current-endpoint-port"));
        let hub = match peer {
            None => "the peer is missing: run provision".to_owned(),
            Some(_) if current == endpoint || current == ":0" => endpoint,
            Some(_) => format!("{endpoint} (now {current})"),
        };
        let lines = [
            ("site", format!("{instance} ({site})")),
            (
                "interface",
                format!(
                    "{}, {state}, mtu {}, UDP port {}",
                    said(interface, "name"),
                    said(interface, "mtu"),
                    said(interface, "listen-port")
                ),
            ),
            ("public key", said(interface, "public-key")),
            ("address", self.addresses.join(", ")),
            ("hub", hub),
            ("handshake", handshake),
            (
                "traffic",
                peer.map_or(String::new(), |_| {
                    format!("{} received, {} sent", counted(&said(peer, "rx")), counted(&said(peer, "tx")))
                }),
            ),
            (
                "probe",
                pinged.map_or("none known: run provision once more".to_owned(), |(probe, pinged)| {
                    probe_text(probe, pinged)
                }),
            ),
            ("advertised", self.advertised.join(", ")),
            ("reachable", self.reachable.join(", ")),
        ];
        let beside = self.beside.iter().map(|(interface, peer)| {
            let age =
                peer.and_then(last_handshake).map_or("never".to_owned(), |age| format!("{} ago", format_duration(age)));
            ("beside it", format!("{}, not in use; handshake {age}", said(Some(interface), "name")))
        });
        lines.into_iter().chain(beside).fold(String::new(), |text, (name, value)| {
            let value = if value.is_empty() { "none".to_owned() } else { value };
            text + &super::report::clean(&format!("{name:<11} {value}")) + "\n"
        })
    }

    fn json(&self, site: &SiteId, observed: &Observed, pinged: Option<&(String, Pinged)>) -> Value {
        let text =
            |row: Option<&Entry>, name: &str| row.and_then(|row| row.text(name)).map(std::borrow::Cow::into_owned);
        let number = |row: Option<&Entry>, name: &str| row.and_then(|row| row.parse::<u64>(name));
        json!({
            "site": site.to_string(),
            "instance": session::instance_on(observed, site),
            "interface": self.interface.map(|row| json!({
                "name": text(Some(row), "name"),
                "running": row.is_true("running"),
                "disabled": row.is_true("disabled"),
                "mtu": number(Some(row), "mtu"),
                "listen_port": number(Some(row), "listen-port"),
                "public_key": text(Some(row), "public-key"),
            })),
            "addresses": self.addresses,
            "peer": self.peer.map(|row| json!({
                "public_key": text(Some(row), "public-key"),
                "endpoint": text(Some(row), "endpoint-address"),
                "endpoint_port": number(Some(row), "endpoint-port"),
                "current_endpoint": text(Some(row), "current-endpoint-address"),
                "current_endpoint_port": number(Some(row), "current-endpoint-port"),
                "handshake_age_secs": self.handshake().map(|age| age.as_secs()),
                "rx_bytes": number(Some(row), "rx"),
                "tx_bytes": number(Some(row), "tx"),
            })),
            "beside": self.beside.iter().map(|(interface, peer)| json!({
                "name": text(Some(interface), "name"),
                "public_key": text(Some(interface), "public-key"),
                "handshake_age_secs": peer.and_then(last_handshake).map(|age| age.as_secs()),
            })).collect::<Vec<_>>(),
            "probe": pinged.map(|(probe, pinged)| probe_json(probe, pinged)),
            "advertised": self.advertised,
            "reachable": self.reachable,
        })
    }
}

/// Age of a peer's last handshake.
fn last_handshake(peer: &Entry) -> Option<Duration> {
    parse_duration(peer.get("last-handshake")?)
}

/// Smallest, mean and largest round-trip time.
fn spread(pinged: &Pinged) -> Option<(Duration, Duration, Duration)> {
    let count = u32::try_from(pinged.rtts.len()).ok().filter(|count| *count > 0)?;
    let mean = pinged.rtts.iter().sum::<Duration>() / count;
    Some((*pinged.rtts.iter().min()?, mean, *pinged.rtts.iter().max()?))
}

fn loss_percent(pinged: &Pinged) -> u32 {
    let came = u32::try_from(pinged.rtts.len()).unwrap_or(pinged.sent).min(pinged.sent);
    ((pinged.sent - came) * 100).checked_div(pinged.sent).unwrap_or_default()
}

fn probe_text(probe: &str, pinged: &Pinged) -> String {
    match (&pinged.refused, spread(pinged)) {
        (Some(words), _) => format!("{probe}: the router would not ping; it said: {words}"),
        (None, None) => format!("{probe}: no answer, {} % lost of {}", loss_percent(pinged), pinged.sent),
        (None, Some((_, mean, _))) => {
            format!(
                "{probe}: {} round trip, {} % lost of {}",
                super::show::millis(mean),
                loss_percent(pinged),
                pinged.sent
            )
        }
    }
}

fn probe_json(probe: &str, pinged: &Pinged) -> Value {
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    json!({
        "address": probe,
        "sent": pinged.sent,
        "received": pinged.rtts.len(),
        "loss_percent": loss_percent(pinged),
        "rtt_us": spread(pinged).map(|(min, mean, max)| json!({"min": micros(min), "mean": micros(mean), "max": micros(max)})),
        "refused": pinged.refused,
    })
}

/// A counter of the router for people.
fn counted(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), super::show::bytes)
}
