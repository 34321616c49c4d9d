//! What a router's rows say against a tunnel: pure, from one whole reading.

use ipnet::IpNet;

use super::codes::Code;
use super::finding::{Seen, Words};
use crate::domain::{Marker, Role, Site, SubnetSet, overlap};
use crate::reconcile::decide::decide_settled;
use crate::reconcile::desired::{DesiredRow, desired};
use crate::reconcile::entry::Entry;
use crate::reconcile::generation::row_in_use;
use crate::reconcile::heal::meant;
use crate::reconcile::names::Names;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{Change, Op, OwnRow, own_rows};
use crate::reconcile::preflight::Session;
use crate::routeros::menu::{self, Menu, parse_prefix};

/// Judges all rows. `port` is where we came in: it tells which service is ours.
#[must_use]
pub fn judge(site: &Site, observed: &Observed, session: &Session, port: u16) -> Vec<Seen> {
    let wanted = desired(site, observed);
    let key = interface(site, observed).and_then(|row| row.text("public-key"));
    // What healing chose is no drift, and hints name the endpoint in use.
    let meant = meant(site, observed);
    let words = Words::of(&meant, key.as_deref());
    let mut found: Vec<Seen> = service(&words, observed, session, port).into_iter().collect();
    let own = match own_rows(&site.id, &wanted, observed) {
        Ok(own) => own,
        Err(doubts) => {
            let all: Vec<String> = doubts.iter().map(ToString::to_string).collect();
            found.push(words.seen(Code::RowsAmbiguous, all.join("; "), ""));
            return found;
        }
    };
    if own.is_empty() {
        found.push(words.seen(Code::NotProvisioned, "there is no row of this site on the router", ""));
        return found;
    }
    found.extend(tunnel(site, &words, &own));
    let of_peer = peer(&meant, &words, &own);
    found.extend(overlaps(site, &words, observed, &own));
    found.extend(routes(site, &words, observed, &own));
    if let Ok(plan) = decide_settled(site, observed, session) {
        // What is said of the peer in particular is not said again.
        let ops = plan.ops.iter().filter(|op| of_peer.is_empty() || op.marker.role != Role::Peer);
        let ops = ops.filter(|op| !is_beside(site, &op.marker));
        found.extend(drift(&words, observed, &wanted, ops));
    }
    found.extend(of_peer);
    found
}

/// Our interface's row, whatever it is called.
#[must_use]
pub fn interface<'a>(site: &Site, observed: &'a Observed) -> Option<&'a Entry> {
    row_in_use(site, observed, &Role::Interface)
}

/// The row of a role in the tunnel in use.
fn row<'a>(site: &Site, own: &[OwnRow<'a>], role: Role) -> Option<&'a Entry> {
    let marker = Marker::of_tunnel(&site.id, role, site.generation);
    own.iter().find(|row| row.marker == marker).map(|row| row.entry)
}

/// Whether a row is of the tunnel beside the one in use: what is wrong with that harms nobody yet.
fn is_beside(site: &Site, marker: &Marker) -> bool {
    site.beside.as_ref().is_some_and(|beside| marker.generation() == Some(beside.generation))
}

/// Interface and peer: there, and switched on.
fn tunnel(site: &Site, words: &Words, own: &[OwnRow<'_>]) -> Vec<Seen> {
    let mut found = Vec::new();
    match row(site, own, Role::Interface) {
        None => found.push(words.seen(Code::InterfaceMissing, "our WireGuard interface is gone", "")),
        Some(row) if row.is_true("disabled") => {
            found.push(words.seen(Code::InterfaceDisabled, "our WireGuard interface is disabled", ""));
        }
        Some(_) => {}
    }
    match row(site, own, Role::Peer) {
        None => found.push(words.seen(Code::PeerMissing, "our WireGuard peer is gone", "")),
        Some(row) if row.is_true("disabled") => {
            found.push(words.seen(Code::PeerDisabled, "our WireGuard peer is disabled", ""));
        }
        Some(_) => {}
    }
    found
}

/// Key, endpoint and allowed addresses of the peer.
fn peer(site: &Site, words: &Words, own: &[OwnRow<'_>]) -> Vec<Seen> {
    let Some(row) = row(site, own, Role::Peer) else { return Vec::new() };
    let said = |name: &str| row.text(name).unwrap_or_default().into_owned();
    let mut found = Vec::new();
    let key = said("public-key");
    if key != site.hub.public_key.to_string() {
        let evidence = format!("the router's peer has the public key {key}, and the hub's is {}", site.hub.public_key);
        found.push(words.seen(Code::WrongKey, evidence, ""));
    }
    let have: SubnetSet =
        said("allowed-address").split(',').filter_map(|net| parse_prefix(net.trim().as_bytes())).collect();
    let allowed = site.allowed();
    let missing: Vec<String> =
        allowed.iter().filter(|net| have.covering(*net).is_none()).map(|net| net.to_string()).collect();
    if !missing.is_empty() {
        let evidence =
            format!("the peer's allowed-address leaves out {}: what goes there is dropped", missing.join(", "));
        found.push(words.seen(Code::AllowedAddressMismatch, evidence, &allowed.to_string()));
    }
    if let Some(endpoint) = site.endpoint() {
        let (host, port) = (said("endpoint-address"), said("endpoint-port"));
        if host != endpoint.host.to_string() || port != endpoint.port.to_string() {
            let evidence = format!("the router's peer has the endpoint {host}:{port}, and the hub is at {endpoint}");
            found.push(words.seen(Code::StaleEndpoint, evidence, ""));
        }
    }
    found
}

/// Addresses of the router's own that meet what is reached through the tunnel.
fn overlaps(site: &Site, words: &Words, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Seen> {
    let is_ours = |menu: &Menu, row: &Entry| own.iter().any(|mine| mine.menu == menu && mine.entry.id() == row.id());
    let sought: Vec<IpNet> = site.reach.iter().chain(site.tunnel_networks().iter()).collect();
    let mut found = Vec::new();
    for menu in [&menu::IP_ADDRESS, &menu::IP_ADDRESS6] {
        let foreign = observed.rows(menu).iter().filter(|row| !is_ours(menu, row) && !row.is_true("disabled"));
        for (net, row) in foreign.filter_map(|row| Some((parse_prefix(row.get("address")?)?.trunc(), row))) {
            let link_local = matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
            if let Some(theirs) = sought.iter().find(|theirs| !link_local && overlap(**theirs, net)) {
                let via = row.text("interface").unwrap_or_default();
                let evidence =
                    format!("{theirs} is to be reached through the tunnel, and the router has {net} on {via:?}");
                found.push(words.seen(Code::OverlapWithLan, evidence, &theirs.to_string()));
            }
        }
    }
    found
}

/// Routes of ours that are not in use, and routes of others that win for a part of what ours lead to.
fn routes(site: &Site, words: &Words, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Seen> {
    let names = Names::of(site);
    let mut found = Vec::new();
    let inactive = own.iter().filter(|row| row.marker.role == Role::Route && !row.entry.is_active_route());
    for row in inactive.filter(|row| !row.entry.is_true("disabled")) {
        let dst = row.entry.text("dst-address").unwrap_or_default().into_owned();
        let evidence = format!("our route to {dst} is not the active one: another route to it wins");
        found.push(words.seen(Code::RouteShadowed, evidence, &dst));
    }
    let wanted: Vec<IpNet> = site.routed().collect();
    for menu in [&menu::IP_ROUTE, &menu::IP_ROUTE6] {
        for row in observed.rows(menu) {
            let is_ours = row.gateway_interface() == Some(names.interface.as_bytes()) || row.marker().is_some();
            let table = row.text("routing-table").unwrap_or_default();
            let in_table = table.is_empty() || table == site.routing.table || table == "main";
            let Some(net) = row.get("dst-address").and_then(parse_prefix) else { continue };
            let shadowed = wanted.iter().find(|wanted| wanted.contains(&net));
            if let Some(wanted) = shadowed.filter(|_| !is_ours && in_table && row.is_active_route()) {
                let gateway = row.text("gateway").unwrap_or_default();
                let evidence = format!("a route to {net} by {gateway:?} wins over ours to {wanted}");
                found.push(words.seen(Code::RouteShadowed, evidence, &net.to_string()));
            }
        }
    }
    found
}

/// What provisioning would change, by what it would mend.
fn drift<'a>(
    words: &Words,
    observed: &Observed,
    wanted: &[DesiredRow],
    ops: impl Iterator<Item = &'a Op>,
) -> Vec<Seen> {
    let mut found = Vec::new();
    let mut rest = Vec::new();
    for op in ops {
        match op.marker.role {
            Role::NoNat => found.push(words.seen(
                Code::NatBreaksTunnel,
                format!("a source NAT rule rewrites the sites' traffic, and ours does not stand before it: {op}"),
                "",
            )),
            Role::ForwardIn | Role::ForwardOut => found.push(forward(words, observed, wanted, op)),
            _ => rest.push(op.to_string()),
        }
    }
    if !rest.is_empty() {
        found.push(words.seen(Code::RowsDrifted, format!("{} rows differ: {}", rest.len(), rest.join("; ")), ""));
    }
    found
}

/// Which foreign rule of chain forward takes the sites' traffic before ours.
fn forward(words: &Words, observed: &Observed, wanted: &[DesiredRow], op: &Op) -> Seen {
    let before = match &op.change {
        Change::Add { before, .. } => before.as_deref(),
        Change::Move { before, .. } => Some(before.as_slice()),
        _ => wanted
            .iter()
            .find(|row| row.marker == op.marker && row.menu == op.menu)
            .and_then(|row| row.before.as_deref()),
    };
    let rule = observed.rows(op.menu).iter().find(|row| Some(row.id()) == before);
    let action = rule.and_then(|row| row.text("action")).unwrap_or_default();
    if action == "fasttrack-connection" {
        let evidence = "FastTrack takes the sites' connections before our accept: they pass by MSS clamp and filter";
        return words.seen(Code::FasttrackConflict, evidence, "");
    }
    words.seen(Code::FirewallBlocks, format!("a rule with action={action} stands where ours should: {op}"), "")
}

/// Whether the service by which we came would take us again.
pub(super) fn service(words: &Words, observed: &Observed, session: &Session, port: u16) -> Option<Seen> {
    let is_api = |row: &&Entry| {
        matches!(row.get("name"), Some(b"api" | b"api-ssl")) && !row.is_true("dynamic") && !row.is_true("connection")
    };
    let all: Vec<&Entry> = observed.rows(&menu::SERVICE).iter().filter(is_api).collect();
    let by_port: Vec<&Entry> = all.iter().copied().filter(|row| row.parse::<u16>("port") == Some(port)).collect();
    // Behind a port that is forwarded, which of the two it is cannot be told: one that is open will do.
    let ours = if by_port.is_empty() { all } else { by_port };
    let from = session.seen_from(observed);
    let field = menu::SERVICE.field("available-from");
    let lets_in = |row: &&Entry| {
        let list = field.and_then(|field| row.value(field)).map(String::from_utf8_lossy).unwrap_or_default();
        let nets: Vec<IpNet> = list.split(',').filter_map(|net| parse_prefix(net.trim().as_bytes())).collect();
        !row.is_true("disabled")
            && (nets.is_empty() || from.iter().any(|from| nets.iter().any(|net| net.contains(from))))
    };
    if ours.is_empty() || ours.iter().any(lets_in) {
        return None;
    }
    let which: Vec<String> = ours.iter().filter_map(|row| row.text("name")).map(std::borrow::Cow::into_owned).collect();
    let evidence = format!(
        "the service {} would not take this connection again: disabled, or not for this address",
        which.join(" and ")
    );
    Some(words.seen(Code::ServiceClosed, evidence, ""))
}
