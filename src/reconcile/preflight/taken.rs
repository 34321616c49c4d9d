//! What somebody else has already: names, ports, rows like ours.

use super::{Finding, is_own, refuse, warn};
use crate::domain::{PublicKey, Role, Site};
use crate::reconcile::desired::{DesiredRow, Value};
use crate::reconcile::entry::Entry;
use crate::reconcile::names::Names;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{OwnRow, interface_names};
use crate::routeros::menu;

pub(super) fn names(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    let names = Names::of(site);
    let mut found = Vec::new();
    let is_taken = |name: &&str| {
        let there = observed.rows(&menu::INTERFACE).iter().any(|row| row.get("name") == Some(name.as_bytes()));
        there && !interface_names(own).any(|own| own == name.as_bytes())
    };
    for name in names.interfaces().filter(is_taken) {
        found.push(refuse(
            "name-taken",
            format!("the router already has an interface {name:?} that is not ours"),
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

/// Rows that say what ours would, without our marker: somebody took the comment off, or made them by hand.
pub(super) fn unmarked(desired: &[DesiredRow], observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    let is_missing =
        |wanted: &&DesiredRow| !own.iter().any(|row| row.menu == wanted.menu && row.marker == wanted.marker);
    let mut found = Vec::new();
    for wanted in desired.iter().filter(is_missing) {
        let fields = twin_fields(&wanted.marker.role);
        let is_twin = |row: &&Entry| {
            !row.is_true("dynamic")
                && row.marker().is_none()
                && fields.iter().all(|name| {
                    let meant = wanted.wants(name).map(Value::as_bytes);
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

pub(super) fn listen_ports(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Vec<Finding> {
    site.ends().filter_map(|end| port_taken(end.listen_port?, observed, own)).collect()
}

fn port_taken(port: u16, observed: &Observed, own: &[OwnRow<'_>]) -> Option<Finding> {
    let port = port.to_string();
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

pub(super) fn same_hub(site: &Site, observed: &Observed, own: &[OwnRow<'_>]) -> Option<Finding> {
    site.ends().find_map(|end| key_known(end.hub.public_key, observed, own))
}

fn key_known(key: PublicKey, observed: &Observed, own: &[OwnRow<'_>]) -> Option<Finding> {
    let key = key.to_string();
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
