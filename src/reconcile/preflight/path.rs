//! The way this very session takes: it must not be cut off.

use ipnet::IpNet;

use super::{Finding, Session, refuse};
use crate::domain::{Role, Site, SiteConflict, overlap};
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{OwnRow, Plan};
use crate::routeros::menu;

/// Neither the hub nor this very session may be routed into the tunnel.
pub(super) fn own_path(site: &Site, observed: &Observed, own: &[OwnRow<'_>], session: &Session) -> Vec<Finding> {
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
