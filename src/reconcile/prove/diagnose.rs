//! Why a tunnel is not proven: the likely causes, the likeliest first.

use super::{Evidence, ping};
use crate::domain::{Host, Marker, Role, Site};
use crate::reconcile::entry::Entry;
use crate::reconcile::names::Names;
use crate::reconcile::observe::{Interest, Observed, ReadError, observe};
use crate::reconcile::plan::{OwnRow, own_rows};
use crate::routeros::client::Client;
use crate::routeros::menu;
use ipnet::IpNet;
use std::time::Duration;

/// A clock this far behind ours, in seconds, can make a hub ignore handshakes.
const CLOCK_BEHIND_SECS: i64 = 60;
/// One ping tells whether a name resolves.
const RESOLVE_PINGS: u32 = 1;

/// A likely cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Stable word for machines.
    pub code: &'static str,
    /// What seems to be the matter.
    pub message: String,
    /// The way out.
    pub hint: String,
}

fn cause(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Cause {
    Cause { code, message: message.into(), hint: hint.into() }
}

/// Looks at the router once more and returns the likely causes, never none.
///
/// `now` is this host's clock in seconds since 1970.
///
/// # Errors
/// [`ReadError`] if the router cannot be read any more.
pub async fn diagnose(client: &Client, site: &Site, evidence: &Evidence, now: i64) -> Result<Vec<Cause>, ReadError> {
    let observed = observe(client, &Interest::of(site)).await?;
    let unresolved = match site.endpoint().map(|endpoint| &endpoint.host) {
        Some(Host::Name(name)) => {
            let pinged = ping(client, name, RESOLVE_PINGS, Duration::from_secs(1)).await;
            let pinged = pinged.map_err(|source| ReadError::Call { path: "/tool/ping", source })?;
            pinged.refused.filter(|words| words.contains("resolve")).map(|words| (name.clone(), words))
        }
        _ => None,
    };
    Ok(causes(site, &observed, evidence, unresolved, now))
}

/// Judges what was seen.
fn causes(
    site: &Site,
    observed: &Observed,
    evidence: &Evidence,
    unresolved: Option<(String, String)>,
    now: i64,
) -> Vec<Cause> {
    let own = match own_rows(&site.id, &[], observed) {
        Ok(own) => own,
        Err(doubts) => return doubts.iter().map(|doubt| cause("ambiguous", doubt.to_string(), doubt.hint())).collect(),
    };
    let row = |role: Role| {
        let marker = Marker::of_tunnel(&site.id, role, site.generation);
        own.iter().find(|row| row.marker == marker).map(|row| row.entry)
    };
    let mut found = Vec::new();
    let interface = row(Role::Interface);
    match interface {
        None => found.push(cause("interface-missing", "our WireGuard interface is gone", "run provision again")),
        Some(interface) if interface.is_true("disabled") => found.push(cause(
            "interface-disabled",
            "our WireGuard interface was disabled meanwhile",
            "find out who did; provision enables it again",
        )),
        Some(_) => {}
    }
    if row(Role::Peer).is_some_and(|peer| peer.is_true("disabled")) {
        found.push(cause("peer-disabled", "our WireGuard peer was disabled meanwhile", "provision enables it again"));
    }
    if let Some((name, words)) = unresolved {
        found.push(cause(
            "endpoint-unresolved",
            format!("the router cannot resolve the hub's name {name}; it said: {words}"),
            "set a DNS server on the router (/ip/dns), or use an address in `endpoints`",
        ));
    }
    if let Some(refused) = evidence.ping_refused.as_ref().filter(|_| found.is_empty()) {
        found.push(cause(
            "ping-refused",
            format!("the router would not ping the probe; it said: {refused}"),
            "the user needs the policy `test`",
        ));
    }
    found.extend(clock(observed, evidence, now));
    found.extend(endpoint_in_tunnel(site, evidence));
    if evidence.handshake {
        found.extend(no_answer(site, observed, &own));
    } else if found.iter().all(|cause| cause.code == "clock-behind") {
        found.extend(no_handshake(site, evidence, interface));
    }
    found
}

fn clock(observed: &Observed, evidence: &Evidence, now: i64) -> Option<Cause> {
    let behind = now - observed.clock()?;
    (!evidence.handshake && behind > CLOCK_BEHIND_SECS).then(|| {
        cause(
            "clock-behind",
            format!(
                "the router's clock is {behind} s behind this host's: a hub that saw a later one ignores its handshakes"
            ),
            "set the clock, or wait for NTP (/system/ntp/client, /ip/cloud), then run provision again",
        )
    })
}

/// The router resolved the hub's name to an address that it would seek inside the tunnel.
fn endpoint_in_tunnel(site: &Site, evidence: &Evidence) -> Option<Cause> {
    let current = evidence.last.as_ref()?.parse("current-endpoint-address")?;
    let conflict = site.check_endpoint(current).err()?;
    Some(cause("endpoint-in-reach", conflict.to_string(), "leave the hub's address out of `reach`"))
}

fn no_handshake(site: &Site, evidence: &Evidence, interface: Option<&Entry>) -> Vec<Cause> {
    let endpoint = site.endpoint().map(ToString::to_string).unwrap_or_default();
    let key = interface.and_then(|row| row.text("public-key")).unwrap_or_default();
    let last = evidence.last.as_ref();
    let mut found = Vec::new();
    let no_reply = cause(
        "no-reply",
        format!(
            "no reply on UDP from {endpoint}: nothing listens there, something on the way drops it, or the hub does not know this router's key"
        ),
        format!("check the endpoint and UDP on the way, and enter this router's public key at the hub: {key}"),
    );
    let wrong_key = |message: String| {
        let hint = format!(
            "the hub must have this router's public key {key}; this side expects the hub's {}",
            site.hub.public_key
        );
        cause("wrong-key", message, hint)
    };
    if evidence.answered {
        found.push(cause(
            "handshake-old",
            "the tunnel carries traffic by the session of before: the new keys are proven only by its next handshake",
            "run provision again in two minutes, when WireGuard has made one; if then nothing answers, the keys differ",
        ));
    } else if evidence.received() > 0 {
        let what = "but no handshake completes: the hub's public key or the preshared key does not match";
        found.push(wrong_key(format!("{endpoint} answers, {what}")));
    } else {
        found.push(no_reply);
        let silent = "WireGuard stays silent to a key it does not know: the hub may have another key for this site";
        found.push(wrong_key(silent.to_owned()));
    }
    if let Some(age) = last.and_then(|row| row.text("last-handshake")).filter(|_| !evidence.answered) {
        found.push(cause(
            "handshake-old",
            format!("the last handshake was {age} ago, and no newer one came"),
            "if keys were just changed here, change them at the hub too; then run provision again",
        ));
    }
    if site.hub.preshared_key.is_some() && last.is_some_and(|row| row.get("preshared-key").is_none()) {
        found.push(cause(
            "preshared-key",
            "the preshared key may differ from the hub's",
            "compare it; if the user lacks the policy `sensitive` the router's cannot be read and is left as it is",
        ));
    }
    found
}

/// There is a session, and yet no probe answers.
fn no_answer(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Cause> {
    let names = Names::of(site);
    let mut found: Vec<Cause> =
        site.tunnel.probe.iter().filter_map(|probe| shadow(IpNet::from(*probe), observed, &names)).collect();
    let inactive = own.iter().filter(|row| row.marker.role == Role::Route && !row.entry.is_active_route());
    found.extend(inactive.map(|row| {
        let dst = row.entry.text("dst-address").unwrap_or_default();
        cause(
            "route-shadowed",
            format!("our route to {dst} is not the active one: another route to it wins"),
            "remove the other route, or set a smaller routing.distance",
        )
    }));
    if found.is_empty() {
        let probes: Vec<String> = site.tunnel.probe.iter().map(ToString::to_string).collect();
        found.push(cause(
            "no-answer",
            format!("there is a handshake, but {} does not answer through the tunnel", probes.join(", ")),
            "at the hub: are this site's addresses in the peer's allowed IPs, and may the probe be pinged?",
        ));
    }
    found
}

/// The foreign route that wins for a probe, if one does. The router pings by its main table.
fn shadow(probe: IpNet, observed: &Observed, names: &Names) -> Option<Cause> {
    let routes = [&menu::IP_ROUTE, &menu::IP_ROUTE6].into_iter().flat_map(|menu| observed.rows(menu));
    let in_main = |row: &&Entry| row.get("routing-table").is_none_or(|table| table == b"main");
    let best = routes
        .filter(|row| row.is_active_route())
        .filter(in_main)
        .filter_map(|row| Some((menu::parse_prefix(row.get("dst-address")?)?, row)))
        .filter(|(net, _)| net.contains(&probe))
        .max_by_key(|(net, _)| net.prefix_len());
    let (net, row) = best?;
    (row.gateway_interface() != Some(names.interface.as_bytes())).then(|| {
        let gateway = row.text("gateway").unwrap_or_default();
        cause(
            "route-shadowed",
            format!("the router sends {probe} to {gateway:?} by its route to {net}, not into the tunnel"),
            "remove that route, or leave what it covers out of the site config",
        )
    })
}
