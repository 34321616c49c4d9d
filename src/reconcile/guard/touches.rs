//! What of a plan touches the way to the router.
//!
//! Pure. When in doubt a change counts as touching: a needless guard costs a few seconds, a missing one a drive to the site.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::Role;
use crate::reconcile::desired::Value;
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{Change, Op, Plan};
use crate::reconcile::preflight::Session;
use crate::routeros::menu::{self, Menu, parse_prefix};

/// The changes of a plan that could cut somebody off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// What the session that makes the plan runs over.
    pub session: Vec<Touch>,
    /// What the hub reaches the router's networks by: the tunnel that is there.
    pub tunnel: Vec<Touch>,
}

/// A change and what it is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The change, as plans show it.
    pub op: String,
    /// What it touches.
    pub part: Part,
}

/// A part of the way to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The WireGuard interface or its peer.
    Tunnel,
    /// An interface, or the list that it is in.
    Interface,
    /// An address of the router.
    Address,
    /// A route back.
    Route,
    /// The rules that let packets in, and their lists.
    Firewall,
    /// The service that answers, and who may use it.
    Service,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tunnel => "the tunnel",
            Self::Interface => "an interface",
            Self::Address => "an address",
            Self::Route => "a route",
            Self::Firewall => "the firewall",
            Self::Service => "a service",
        })
    }
}

impl Touches {
    /// Tells whether anything is touched.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.session.is_empty() || !self.tunnel.is_empty()
    }
}

/// Finds what of a plan touches the session, and the tunnel.
#[must_use]
pub fn classify(plan: &Plan, observed: &Observed, session: &Session) -> Touches {
    let from = session.seen_from(observed);
    let through_tunnel = from.iter().any(|address| comes_through(*address, observed));
    let mut touches = Touches::default();
    for op in plan.ops.iter().filter(|op| !only_notes(op)) {
        let row = row_of(op, observed);
        let of_session = (through_tunnel && !op.is_addition())
            || from.iter().any(|address| captures(op, *address) || carries(op, row, *address, observed));
        let touch = || Touch { op: op.to_string(), part: part(op.menu) };
        if of_session {
            touches.session.push(touch());
        }
        if !op.is_addition() {
            touches.tunnel.push(touch());
        }
    }
    touches
}

fn part(menu: &Menu) -> Part {
    if [&menu::WIREGUARD, &menu::PEERS].contains(&menu) {
        Part::Tunnel
    } else if menu.path.starts_with("/interface") {
        Part::Interface
    } else if [&menu::IP_ADDRESS, &menu::IP_ADDRESS6].contains(&menu) {
        Part::Address
    } else if [&menu::IP_ROUTE, &menu::IP_ROUTE6, &menu::ROUTING_TABLE].contains(&menu) {
        Part::Route
    } else if menu.path.contains("/firewall/") {
        Part::Firewall
    } else {
        Part::Service
    }
}

/// What stands behind the marker of a list carries nothing.
fn only_notes(op: &Op) -> bool {
    let is_comment = |change: &Change| matches!(change, Change::Set { fields, .. } if fields.iter().all(|field| field.name == "comment"));
    op.menu == &menu::INTERFACE_LIST && is_comment(&op.change)
}

/// The row that a change is about.
fn row_of<'a>(op: &Op, observed: &'a Observed) -> Option<&'a Entry> {
    let (Change::Set { id, .. } | Change::Unset { id, .. } | Change::Move { id, .. } | Change::Remove { id }) =
        &op.change
    else {
        return None;
    };
    observed.rows(op.menu).iter().find(|row| row.id() == id.as_slice())
}

/// Whether an address is routed into a tunnel of ours.
fn comes_through(address: IpAddr, observed: &Observed) -> bool {
    observed.marked().filter(|(_, _, marker)| matches!(marker.role, Role::Route | Role::Address)).any(
        |(_, _, marker)| {
            let net = marker.key.as_deref().and_then(|key| parse_prefix(key.as_bytes()));
            net.is_some_and(|net| net.trunc().contains(&address))
        },
    )
}

/// What a change makes a field say.
fn says<'a>(op: &'a Op, name: &str) -> Option<&'a [u8]> {
    match &op.change {
        Change::Add { fields, .. } => fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes()),
        Change::Set { fields, .. } => fields.iter().find(|f| f.name == name).map(|f| Value::as_bytes(&f.to)),
        _ => None,
    }
}

/// Whether a change takes an address to somewhere else, or keeps it out.
fn captures(op: &Op, address: IpAddr) -> bool {
    let covers = |value: &[u8]| parse_prefix(value).is_some_and(|net: IpNet| net.trunc().contains(&address));
    match part(op.menu) {
        Part::Route => says(op, "dst-address").is_some_and(covers),
        Part::Address => says(op, "address").is_some_and(covers),
        Part::Firewall if op.menu.ordered => {
            let chain = says(op, "chain").unwrap_or_default();
            let lets_by =
                matches!(says(op, "action"), None | Some(b"accept" | b"change-mss" | b"log" | b"passthrough"));
            !lets_by && matches!(chain, b"input" | b"output" | b"prerouting" | b"dstnat" | b"srcnat")
        }
        _ => false,
    }
}

/// Whether the row that is changed carries the packets of an address.
fn carries(op: &Op, row: Option<&Entry>, address: IpAddr, observed: &Observed) -> bool {
    let Some(row) = row else { return false };
    let covers = |name: &str| row.get(name).and_then(parse_prefix).is_some_and(|net| net.trunc().contains(&address));
    let is_near = |row: &Entry| row.get("interface").is_some_and(|name| near(address, observed).contains(&name));
    match part(op.menu) {
        Part::Tunnel => false,
        Part::Interface if op.menu == &menu::INTERFACE => true,
        Part::Interface => op.menu == &menu::LIST_MEMBER && is_near(row),
        Part::Address => covers("address") || is_near(row),
        Part::Route => covers("dst-address"),
        Part::Firewall if op.menu.ordered => {
            let known = matches!(op.marker.role, Role::InputPort | Role::InputIcmp);
            !known && matches!(row.get("chain"), Some(b"input" | b"output" | b"prerouting" | b"dstnat"))
        }
        Part::Firewall => covers("address"),
        Part::Service => true,
    }
}

/// The interfaces on whose networks an address is.
fn near(address: IpAddr, observed: &Observed) -> Vec<&[u8]> {
    let rows = observed.rows(&menu::IP_ADDRESS).iter().chain(observed.rows(&menu::IP_ADDRESS6));
    rows.filter(|row| row.get("address").and_then(parse_prefix).is_some_and(|net| net.trunc().contains(&address)))
        .filter_map(|row| row.get("interface"))
        .collect()
}
