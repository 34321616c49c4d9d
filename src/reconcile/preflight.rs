//! What must hold before the first write: every finding is collected, none stops the search for the next.

use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::DesiredRow;
use super::entry::Entry;
use super::names::Names;
use super::observe::{Observed, Unread};
use super::plan::{OwnRow, Plan, interface_name};
use crate::domain::{DEFAULT_ROUTING_TABLE, Role, RouterOsVersion, Site, SiteConflict, overlap};
use crate::routeros::menu::{self, Family, Menu};

/// The first version whose WireGuard menus have all that we use.
const SUPPORTED: RouterOsVersion = RouterOsVersion::new(7, 12, 0);
/// The first version with WireGuard.
const FIRST_WITH_WIREGUARD: RouterOsVersion = RouterOsVersion::new(7, 1, 0);
/// Policies a run needs: to read, to write, and for `/tool/ping`. *Source:* the manual's User page.
const POLICIES: [&str; 3] = ["read", "write", "test"];
/// A clock this far from ours, in seconds, is implausible: time zones are accounted for, so a day is generous.
const CLOCK_TOLERANCE_SECS: i64 = 24 * 3600;

/// Something that speaks against a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable word for machines.
    pub code: &'static str,
    /// Whether it stops the run.
    pub weight: Weight,
    /// What is the matter, naming the thing and the place.
    pub message: String,
    /// The way out.
    pub hint: &'static str,
}

/// Whether a finding stops the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing may be written.
    Refuse,
    /// A person should know.
    Warn,
}

/// What is known of this session beside the router's rows.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user logged in.
    pub user: String,
    /// The address we speak from, as this end sees it.
    pub local: IpAddr,
    /// What the hub's endpoint name stands for, as far as this host can tell; empty for a literal address.
    pub endpoint_addresses: Vec<IpAddr>,
    /// Seconds since 1970 by this host's clock.
    pub now: i64,
    /// Whether anything is to be written.
    pub writes: bool,
}

impl Session {
    /// Returns the addresses this session may come from, as the router sees it.
    ///
    /// Where our own address is among those that the router lists for our user, it is that one; behind a NAT it may be
    /// any of them.
    #[must_use]
    pub fn seen_from(&self, observed: &Observed) -> Vec<IpAddr> {
        let local = self.local.to_canonical();
        let of_user = observed.rows(&menu::USER_ACTIVE).iter().filter(|row| {
            row.get("name") == Some(self.user.as_bytes()) && row.get("via").is_some_and(|via| via.starts_with(b"api"))
        });
        let mut from: Vec<IpAddr> =
            of_user.filter_map(|row| row.parse::<IpAddr>("address")).map(|address| address.to_canonical()).collect();
        from.sort_unstable();
        from.dedup();
        if from.is_empty() || from.contains(&local) { vec![local] } else { from }
    }
}

fn refuse(code: &'static str, message: String, hint: &'static str) -> Finding {
    Finding { code, weight: Weight::Refuse, message, hint }
}

fn warn(code: &'static str, message: String, hint: &'static str) -> Finding {
    Finding { code, weight: Weight::Warn, message, hint }
}

/// Returns all that speaks against provisioning this site on this router, in the order of importance.
#[must_use]
pub fn preflight(
    site: &Site,
    desired: &[DesiredRow],
    observed: &Observed,
    own: &[OwnRow<'_>],
    session: &Session,
) -> Vec<Finding> {
    let mut found = version(observed);
    found.extend(policies(observed, session));
    found.extend(unreadable(desired, observed));
    found.extend(routing_table(site, observed));
    found.extend(names(site, observed, own));
    found.extend(unmarked(desired, observed, own));
    found.extend(listen_port(site, observed, own));
    found.extend(advertised(site, observed, own));
    found.extend(reached(site, observed, own));
    found.extend(own_path(site, observed, own, session));
    found.extend(clock(observed, session));
    found.extend(same_hub(site, observed, own));
    found.extend(policy_routing(observed));
    found
}

/// Returns what version and packages say; without WireGuard nothing else is worth telling.
#[must_use]
pub fn version(observed: &Observed) -> Vec<Finding> {
    let Some(version) = observed.version() else {
        let said =
            observed.singleton(&menu::RESOURCE).and_then(|row| row.text("version")).unwrap_or_default().into_owned();
        return vec![refuse(
            "version-unknown",
            format!("the router gives its version as {said:?}, which is not a RouterOS version"),
            "sitepeer needs RouterOS 7.12 or later",
        )];
    };
    if version < FIRST_WITH_WIREGUARD {
        return vec![refuse(
            "version-without-wireguard",
            format!("RouterOS {version} has no WireGuard"),
            "upgrade the router to RouterOS 7.12 or later",
        )];
    }
    if let Some(Unread::Missing(words)) = observed.unread(&menu::WIREGUARD) {
        return vec![refuse(
            "no-wireguard",
            format!("RouterOS {version} has no /interface/wireguard here; it said: {words}"),
            "WireGuard is part of the package `routeros`: look at /system/package and at what this device supports",
        )];
    }
    if let Some(Unread::Closed(words)) = observed.unread(&menu::WIREGUARD) {
        return vec![refuse(
            "policy",
            format!("this user may not read /interface/wireguard; the router said: {words}"),
            "give the user's group the policies read, write, test and api",
        )];
    }
    if version < SUPPORTED {
        return vec![warn(
            "version-untested",
            format!("RouterOS {version} is older than 7.12: best effort"),
            "upgrade the router when you can",
        )];
    }
    Vec::new()
}

fn policies(observed: &Observed, session: &Session) -> Option<Finding> {
    let have = observed.policies(&session.user)?;
    let missing: Vec<&str> = POLICIES.into_iter().filter(|policy| !have.iter().any(|h| h == policy)).collect();
    (!missing.is_empty()).then(|| {
        let finding = refuse(
            "policy",
            format!("user {:?} lacks the policies {}", session.user, missing.join(", ")),
            "give the user's group the policies read, write, test and api",
        );
        if session.writes { finding } else { Finding { weight: Weight::Warn, ..finding } }
    })
}

/// Menus that rows are wanted in, and that could not be read.
fn unreadable(desired: &[DesiredRow], observed: &Observed) -> Option<Finding> {
    let menu = desired.iter().map(|row| row.menu).find(|menu| observed.unread(menu).is_some())?;
    let (code, words) = match observed.unread(menu)? {
        Unread::Missing(words) if menu.family == Family::V6 => ("no-ipv6", words),
        Unread::Missing(words) => ("no-menu", words),
        Unread::Closed(words) => ("policy", words),
    };
    let hint = match code {
        "no-ipv6" => "enable IPv6 on the router, or leave the IPv6 prefixes out of the site config",
        "policy" => "give the user's group the policies read, write, test and api",
        _ => "look at /system/package: a package may be disabled",
    };
    Some(refuse(
        code,
        format!("rows are wanted in {}, and it cannot be read; the router said: {words}", menu.path),
        hint,
    ))
}

fn routing_table(site: &Site, observed: &Observed) -> Option<Finding> {
    let table = &site.routing.table;
    if table == DEFAULT_ROUTING_TABLE {
        return None;
    }
    let is_usable = observed
        .rows(&menu::ROUTING_TABLE)
        .iter()
        .any(|row| row.get("name") == Some(table.as_bytes()) && row.get("fib").is_some() && !row.is_true("disabled"));
    Some(if is_usable {
        warn(
            "routing-table",
            format!("the routes go into table {table:?}, which only traffic sent there by a rule or a mark uses"),
            "see that /routing/rule or a mangle rule sends the sites' traffic to that table",
        )
    } else {
        refuse(
            "routing-table",
            format!("the router has no enabled routing table {table:?} with a FIB"),
            "make it (/routing/table/add fib), or leave routing.table out",
        )
    })
}

/// Rows that say what ours would, without our marker: somebody took the comment off, or made them by hand.
fn unmarked(desired: &[DesiredRow], observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    let is_missing =
        |wanted: &&DesiredRow| !own.iter().any(|row| row.menu == wanted.menu && row.marker == wanted.marker);
    let mut found = Vec::new();
    for wanted in desired.iter().filter(is_missing) {
        let fields = twin_fields(&wanted.marker.role);
        let is_twin = |row: &&Entry| {
            !row.is_true("dynamic")
                && row.marker().is_none()
                && fields.iter().all(|name| {
                    let meant = wanted.wants(name).map(|value| value.expose().as_bytes());
                    wanted
                        .menu
                        .field(name)
                        .is_some_and(|field| field.canonical(meant) == row.canonical(wanted.menu, name))
                })
        };
        if !fields.is_empty() && observed.rows(wanted.menu).iter().any(|row| is_twin(&row)) {
            found.push(refuse(
                "marker-lost",
                format!(
                    "{} has a row like ours for {}, without the marker in its comment",
                    wanted.menu.path, wanted.marker
                ),
                "if it is ours, put the marker back as its comment; otherwise remove it",
            ));
        }
    }
    found
}

/// What makes a row of a role collide with one of ours.
fn twin_fields(role: &Role) -> &'static [&'static str] {
    match role {
        Role::Peer => &["interface", "public-key"],
        Role::ListMember => &["list", "interface"],
        Role::Address => &["address", "interface"],
        Role::Route => &["dst-address", "gateway", "routing-table"],
        _ => &[],
    }
}

fn is_own(own: &[OwnRow<'_>], menu: &Menu, row: &Entry) -> bool {
    own.iter().any(|mine| mine.menu == menu && mine.entry.id() == row.id())
}

fn names(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    let names = Names::of(site);
    let mut found = Vec::new();
    let own_interface = interface_name(own);
    let taken = observed
        .rows(&menu::INTERFACE)
        .iter()
        .any(|row| row.get("name") == Some(names.interface.as_bytes()) && row.get("name") != own_interface);
    if taken {
        found.push(refuse(
            "name-taken",
            format!("the router already has an interface {:?} that is not ours", names.interface),
            "rename that interface, or give the instance another name; if its comment with our marker was taken off, put it back",
        ));
    }
    let foreign_list = |row: &&Entry| {
        row.get("name") == Some(names.interface_list.as_bytes()) && !is_own(own, &menu::INTERFACE_LIST, row)
    };
    if observed.rows(&menu::INTERFACE_LIST).iter().any(|row| foreign_list(&row)) {
        found.push(refuse(
            "name-taken",
            format!("the router already has an interface list {:?} that is not ours", names.interface_list),
            "rename or remove that list; if its comment with our marker was taken off, put it back",
        ));
    }
    for menu in [&menu::ADDRESS_LIST, &menu::ADDRESS_LIST6] {
        for (list, what) in [(&names.ours, "advertise"), (&names.theirs, "reach")] {
            let foreign = observed.rows(menu).iter().find(|row| {
                row.get("list") == Some(list.as_bytes())
                    && row.get("dynamic") != Some(b"true")
                    && row.marker().is_none()
            });
            if let Some(row) = foreign {
                let address = row.text("address").unwrap_or_default().into_owned();
                found.push(refuse(
                    "name-taken",
                    format!("{} has {address} in our list {list:?}, and that row is not ours", menu.path),
                    if what == "reach" {
                        "it would be let in: put the prefix into `reach` of the site config, or remove the row"
                    } else {
                        "it would be let in: put the prefix into `advertise` of the site config, or remove the row"
                    },
                ));
            }
        }
    }
    found
}

fn listen_port(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Option<Finding> {
    let port = site.tunnel.listen_port?.to_string();
    let wireguard = observed
        .rows(&menu::WIREGUARD)
        .iter()
        .find(|row| row.get("listen-port") == Some(port.as_bytes()) && !is_own(own, &menu::WIREGUARD, row));
    // Services in UDP are listed on newer versions only; what listens on a port that is ours already is ourselves.
    let is_ours =
        own.iter().any(|row| row.menu == &menu::WIREGUARD && row.entry.get("listen-port") == Some(port.as_bytes()));
    let service = observed.rows(&menu::SERVICE).iter().filter(|_| !is_ours).find(|row| {
        row.get("port") == Some(port.as_bytes()) && row.get("proto") == Some(b"udp") && !row.is_true("disabled")
    });
    let holder = wireguard.map(|row| ("WireGuard interface", row)).or(service.map(|row| ("service", row)));
    holder.map(|(what, row)| {
        let name = row.text("name").unwrap_or_default().into_owned();
        refuse(
            "port-taken",
            format!("UDP port {port} is in use by the {what} {name:?}"),
            "choose another listen_port, or leave it out and let the router choose",
        )
    })
}

/// The networks the router has on its own: connected, or routed by a route that is neither the default one nor ours.
fn networks<'a>(
    observed: &'a Observed,
    own: &'a [OwnRow<'_>],
) -> impl Iterator<Item = (IpNet, &'static Menu, &'a Entry)> {
    let rows = |menus: [&'static Menu; 2], field: &'static str| {
        menus.into_iter().flat_map(move |menu| {
            observed
                .rows(menu)
                .iter()
                .filter(move |row| !is_own(own, menu, row) && !row.is_true("disabled") && !row.is_true("invalid"))
                .filter_map(move |row| Some((menu::parse_prefix(row.get(field)?)?.trunc(), menu, row)))
        })
    };
    let addresses = rows([&menu::IP_ADDRESS, &menu::IP_ADDRESS6], "address");
    let routes = rows([&menu::IP_ROUTE, &menu::IP_ROUTE6], "dst-address").filter(|(_, _, row)| !follows_own(row, own));
    let is_default_or_link_local =
        |net: &IpNet| net.prefix_len() == 0 || matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
    addresses.chain(routes).filter(move |(net, _, _)| !is_default_or_link_local(net))
}

/// Whether the router made a route by itself because of rows of ours: through our interface, or to the network of one of
/// our addresses, wherever somebody moved that to.
fn follows_own(route: &Entry, own: &[OwnRow<'_>]) -> bool {
    let gateway = route.gateway_interface();
    let through_ours = gateway.is_some() && gateway == interface_name(own);
    let dst = route.get("dst-address").and_then(menu::parse_prefix);
    let of_own_address = own
        .iter()
        .filter(|row| row.marker.role == Role::Address)
        .any(|row| row.entry.get("address").and_then(menu::parse_prefix).map(|net| net.trunc()) == dst);
    through_ours || (route.is_true("dynamic") && dst.is_some() && of_own_address)
}

fn advertised(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    let missing = site
        .advertise
        .iter()
        .filter(|net| !networks(observed, own).any(|(have, _, _)| have.contains(net) || net.contains(&have)));
    missing
        .map(|net| {
            refuse(
                "subnet-missing",
                format!("advertise has {net}, and the router has neither an address in it nor a route to it"),
                "advertise what is behind this router, or set up that network first",
            )
        })
        .collect()
}

fn reached(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    let tunnel = site.tunnel_networks();
    let table = site.routing.table.as_bytes();
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (have, menu, row) in networks(observed, own) {
        // A route in another table, or one made to be overridden, shadows nothing.
        let in_other_table = row.get("routing-table").is_some_and(|of_row| of_row != table && of_row != b"main");
        let sought = site.reach.iter().chain(tunnel.iter()).find(|net| overlap(*net, have));
        let Some(net) = sought.filter(|net| !in_other_table && !is_fallback(row, have, *net)) else { continue };
        if seen.contains(&(have, net)) {
            continue;
        }
        seen.push((have, net));
        let is_tunnel = tunnel.covering(net).is_some();
        let what = if is_tunnel { "the tunnel's network" } else { "reach" };
        let via = ["interface", "gateway"].iter().find_map(|name| row.text(name)).unwrap_or_default().into_owned();
        found.push(refuse(
            "overlap",
            format!("{what} has {net}, which overlaps {have} on {via:?} ({})", menu.path),
            "two networks of one address range cannot both be reached: renumber one, or leave it out of the site config",
        ));
    }
    found
}

/// A blackhole that is broader than what we route: it is there to be overridden.
fn is_fallback(row: &Entry, have: IpNet, wanted: IpNet) -> bool {
    row.get("blackhole").is_some_and(|flag| flag != b"false") && have.contains(&wanted) && have != wanted
}

/// Neither the hub nor this very session may be routed into the tunnel.
fn own_path(site: &Site, observed: &Observed, own: &[OwnRow<'_>], session: &Session) -> Vec<Finding> {
    let mut found = Vec::new();
    let endpoints = session.endpoint_addresses.iter().filter_map(|address| site.check_endpoint(*address).err());
    found.extend(endpoints.take(1).map(|conflict: SiteConflict| {
        refuse("endpoint-in-reach", conflict.to_string(), "leave the hub's address out of `reach`")
    }));
    // What is routed into the tunnel already cannot cut off the session that comes through it.
    let is_routed = |net: IpNet| {
        own.iter().any(|row| {
            let key = row.marker.key.as_deref().and_then(|key| menu::parse_prefix(key.as_bytes()));
            matches!(row.marker.role, Role::Route | Role::Address) && key.is_some_and(|key| key.contains(&net))
        })
    };
    for address in session.seen_from(observed) {
        let covers = |net: &IpNet| overlap(*net, IpNet::from(address)) && !is_routed(*net);
        if let Some(net) = site.reach.iter().chain(site.tunnel_networks().iter()).find(covers) {
            found.push(refuse(
                "session-in-reach",
                format!("{net} covers {address}, which this session comes from: the route would cut it off"),
                "leave that prefix out of `reach`, or run from an address outside it",
            ));
        }
    }
    found
}

/// Changes that could cut off the session that makes them, because it comes through the tunnel itself.
#[must_use]
pub fn cuts_itself_off(plan: &Plan, own: &[OwnRow<'_>], observed: &Observed, session: &Session) -> Option<Finding> {
    let through = session.seen_from(observed).into_iter().find(|address| {
        own.iter().filter(|row| matches!(row.marker.role, Role::Route | Role::Address)).any(|row| {
            let net = row.marker.key.as_deref().and_then(|key| menu::parse_prefix(key.as_bytes()));
            net.is_some_and(|net| overlap(net.trunc(), IpNet::from(*address)))
        })
    })?;
    let op = plan.ops.iter().find(|op| !op.is_addition())?;
    Some(refuse(
        "session-in-tunnel",
        format!("this session comes from {through} through the tunnel itself, and `{op}` could cut it off"),
        "run it from the site's own network, or from an address that does not go through the tunnel",
    ))
}

fn clock(observed: &Observed, session: &Session) -> Option<Finding> {
    let router = observed.clock()?;
    let behind = session.now - router;
    (behind.abs() > CLOCK_TOLERANCE_SECS).then(|| {
        warn(
            "clock",
            format!(
                "the router's clock is {} {} ours",
                human_secs(behind.unsigned_abs()),
                if behind > 0 { "behind" } else { "ahead of" }
            ),
            "a hub ignores handshakes older than the last one it saw: set up NTP (/system/ntp/client) or /ip/cloud",
        )
    })
}

/// Days or hours, for people.
fn human_secs(secs: u64) -> String {
    match secs / 86_400 {
        0 => format!("{} hours", secs / 3600),
        days => format!("{days} days"),
    }
}

fn same_hub(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Option<Finding> {
    let key = site.hub.public_key.to_string();
    let foreign = observed.rows(&menu::PEERS).iter().find(|row| {
        row.get("public-key") == Some(key.as_bytes()) && !is_own(own, &menu::PEERS, row) && row.marker().is_none()
    })?;
    let interface = foreign.text("interface").unwrap_or_default().into_owned();
    Some(warn(
        "hub-key-known",
        format!("interface {interface:?} already has a peer with the hub's public key"),
        "some versions of RouterOS take a public key once only: remove that peer if the router refuses ours",
    ))
}

/// Rules that send some traffic by another table: the router's own ping would not notice.
fn policy_routing(observed: &Observed) -> Option<Finding> {
    let marks = observed.rows(&menu::MANGLE).iter().find(|row| {
        row.get("action") == Some(b"mark-routing") && !row.is_true("disabled") && !row.is_true("dynamic")
    })?;
    let chain = marks.text("chain").unwrap_or_default().into_owned();
    Some(warn(
        "policy-routing",
        format!("a mangle rule of chain {chain} marks routes: what it marks may not find the way into the tunnel"),
        "accept the sites' prefixes before that rule, if LAN hosts do not get through",
    ))
}
