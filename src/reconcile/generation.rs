//! Which of a site's tunnels a router uses, and the rows of each: pure.
//!
//! Two tunnels stand beside each other while a router moves from one to the next. The rows of each are marked with its number;
//! addresses and routes belong to no tunnel, but lead into the one in use. So what is in use can be read from the router by
//! whoever comes along: a move that was cut short is gone on with, and never flipped back.

use super::entry::Entry;
use super::observe::Observed;
use crate::domain::{Role, Site, SiteId};
use crate::routeros::menu;

/// Returns the site with the tunnel in use that a router has in use: one that is beside may have taken over already.
#[must_use]
pub fn as_on(site: Site, observed: &Observed) -> Site {
    let taken_over = site.beside.as_ref().is_some_and(|beside| Some(beside.generation) == used(observed, &site.id));
    if taken_over { site.switched() } else { site }
}

/// Returns the newest tunnel of a site that an address or a route leads into, or else the oldest that is there.
///
/// One row is enough: nothing leads into a tunnel before it has proved itself.
#[must_use]
pub fn used(observed: &Observed, site: &SiteId) -> Option<u32> {
    let mut tunnels = tunnels(observed, site);
    tunnels.sort_by_key(|(generation, _)| *generation);
    let leads_there = |name: &[u8]| {
        observed.marked().filter(|(_, _, marker)| marker.site == *site).any(|(_, row, marker)| match marker.role {
            Role::Address => row.get("interface") == Some(name),
            Role::Route => row.gateway_interface() == Some(name),
            _ => false,
        })
    };
    let newest = tunnels.iter().rev().find(|(_, name)| leads_there(name));
    newest.or(tunnels.first()).map(|(generation, _)| *generation)
}

/// Returns the tunnels of a site that have an interface, with its name.
#[must_use]
pub fn tunnels<'a>(observed: &'a Observed, site: &SiteId) -> Vec<(u32, &'a [u8])> {
    let interfaces = observed.rows(&menu::WIREGUARD).iter().filter_map(|row| {
        let marker = row.marker().filter(|marker| marker.site == *site && marker.role == Role::Interface)?;
        Some((marker.generation()?, row.get("name")?))
    });
    interfaces.collect()
}

/// Returns the row that a role has in one tunnel of a site.
#[must_use]
pub fn row_of<'a>(observed: &'a Observed, site: &SiteId, role: &Role, generation: u32) -> Option<&'a Entry> {
    let is_it = |(_, _, marker): &(_, _, crate::domain::Marker)| {
        marker.site == *site && marker.role == *role && marker.generation() == Some(generation)
    };
    observed.marked().find(is_it).map(|(_, row, _)| row)
}

/// Returns the row that a role has in the tunnel in use.
#[must_use]
pub fn row_in_use<'a>(site: &Site, observed: &'a Observed, role: &Role) -> Option<&'a Entry> {
    row_of(observed, &site.id, role, site.generation)
}
