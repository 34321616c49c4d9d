//! What must not meet: the router's own networks, what the site offers, and what it is to reach.

use ipnet::IpNet;

use super::{Finding, is_own, refuse};
use crate::domain::{Role, Site, overlap};
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{OwnRow, interface_names};
use crate::routeros::menu::{self, Menu};

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
    let through_ours = interface_names(own).any(|name| gateway == Some(name));
    let dst = route.get("dst-address").and_then(menu::parse_prefix);
    let of_own_address = own
        .iter()
        .filter(|row| row.marker.role == Role::Address)
        .any(|row| row.entry.get("address").and_then(menu::parse_prefix).map(|net| net.trunc()) == dst);
    through_ours || (route.is_true("dynamic") && dst.is_some() && of_own_address)
}

pub(super) fn advertised(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
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

pub(super) fn reached(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
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
