//! The rows that decide what becomes of packets, as the data plane takes them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::{IpNet, Ipv4Subnets};

use super::Device;
use super::rows::{Fields, Item};
use crate::domain::Marker;
use crate::sim::faults::Fault;
use crate::sim::plane::{Lists, PlaneConfig, PlaneRoute, Rule, WgInterface, WgPeer};
use crate::sim::schema::parse_duration;
use crate::wireguard::keys::SecretKey;

/// A peer whose session was dropped gets another number at the plane: the count stands above the row's id.
const RESETS_SHIFT: u32 = 32;

impl Device {
    /// Makes the data plane's configuration of the rows as they are.
    pub(crate) fn plane_config(&self) -> PlaneConfig {
        let (lists, lists6) = (self.lists("/ip/firewall/address-list"), self.lists("/ipv6/firewall/address-list"));
        PlaneConfig {
            wireguard: self.wireguard_interfaces(),
            addresses: self.plane_addresses(),
            routes: self.plane_routes(),
            filter: self.plane_rules("/ip/firewall/filter", &lists),
            filter6: self.plane_rules("/ipv6/firewall/filter", &lists6),
            nat: self.plane_rules("/ip/firewall/nat", &lists),
            strict_sources: self.table("/ip/settings").iter().any(|item| item.fields.is("rp-filter", "strict")),
        }
    }

    /// The number by which the plane knows a peer.
    pub(crate) fn plane_peer_id(&self, row: u32) -> u64 {
        let resets = self.resets.get(&row).copied().unwrap_or_default();
        u64::from(resets) << RESETS_SHIFT | u64::from(row)
    }

    /// The row that the plane's number stands for.
    pub(crate) fn row_of_plane_peer(id: u64) -> u32 {
        u32::try_from(id & u64::from(u32::MAX)).unwrap_or_default()
    }

    fn wireguard_interfaces(&self) -> Vec<WgInterface> {
        let rows = self.table("/interface").iter().filter(|item| item.fields.is("type", "wg"));
        rows.filter_map(|item| {
            let name = item.fields.text("name")?;
            Some(WgInterface {
                id: u64::from(item.id),
                name: name.to_owned(),
                private_key: key(&item.fields, "private-key")?.into(),
                listen_port: number(&item.fields, "listen-port").unwrap_or(0),
                mtu: number(&item.fields, "mtu").unwrap_or(1420),
                up: item.is_enabled(),
                peers: self.peers_of(name).into_iter().map(|peer| self.maybe_dead(item, name, peer)).collect(),
            })
        })
        .collect()
    }

    /// The WireGuard interfaces of the site that a row is of; none if its comment names none.
    pub(super) fn tunnels_of(&self, fields: &Fields) -> impl Iterator<Item = &Item> {
        let site = |fields: &Fields| Marker::of_comment(fields.get("comment")?).map(|marker| marker.site);
        let of = site(fields);
        let all = self.table("/interface").iter().filter(|item| item.fields.is("type", "wg"));
        all.filter(move |item| of.is_some() && site(&item.fields) == of)
    }

    /// A peer into which nothing goes and out of which nothing comes, if a fault says so of its interface.
    fn maybe_dead(&self, interface: &Item, name: &str, peer: WgPeer) -> WgPeer {
        let has = |fault| self.options.faults.contains(&fault);
        let first = self.tunnels_of(&interface.fields).next();
        let is_later = first.is_some_and(|first| first.id != interface.id);
        let is_used = || self.table("/ip/address").iter().any(|address| address.fields.is("interface", name));
        if is_later && (has(Fault::LaterTunnelsSilent) || (has(Fault::LaterTunnelsDie) && is_used())) {
            WgPeer { endpoint: None, keepalive: None, allowed: Vec::new(), ..peer }
        } else {
            peer
        }
    }

    fn peers_of(&self, interface: &str) -> Vec<WgPeer> {
        let rows = self.table("/interface/wireguard/peers").iter().filter(|p| p.fields.is("interface", interface));
        rows.filter_map(|item| {
            let host = item.fields.text("endpoint-address").filter(|host| !host.is_empty());
            let responds = item.fields.is("responder", "true") || item.fields.is("is-responder", "true");
            Some(WgPeer {
                id: self.plane_peer_id(item.id),
                public_key: key(&item.fields, "public-key")?,
                preshared_key: key(&item.fields, "preshared-key").map(SecretKey::from),
                endpoint: host
                    .filter(|_| !responds)
                    .map(|host| (host.to_owned(), number(&item.fields, "endpoint-port").unwrap_or(0))),
                allowed: networks(item.fields.text("allowed-address").unwrap_or_default()),
                keepalive: item.fields.text("persistent-keepalive").and_then(parse_duration),
                up: item.is_enabled(),
            })
        })
        .collect()
    }

    fn plane_addresses(&self) -> Vec<(IpNet, String)> {
        let rows = ["/ip/address", "/ipv6/address"].into_iter().flat_map(|table| self.table(table));
        rows.filter(|item| item.is_enabled())
            .filter_map(|item| {
                let name = item.fields.text("interface")?;
                let up = self.interface(name).is_some_and(Item::is_enabled);
                let net: IpNet = item.fields.text("address")?.parse().ok()?;
                up.then(|| (net, name.to_owned()))
            })
            .collect()
    }

    fn plane_routes(&self) -> Vec<PlaneRoute> {
        let rows = ["/ip/route", "/ipv6/route"].into_iter().flat_map(|table| self.table(table));
        rows.filter(|item| item.is_enabled() && !item.fields.is("connect", "true"))
            .filter(|item| item.fields.text("routing-table").is_none_or(|table| table == "main"))
            .filter_map(|item| {
                let gateway = item.fields.text("gateway")?;
                let via = gateway.split('%').next_back().unwrap_or(gateway);
                let dst = item.fields.text("dst-address")?.parse().ok()?;
                let distance = number(&item.fields, "distance").and_then(|d| u8::try_from(d).ok()).unwrap_or(1);
                Some(PlaneRoute { dst, via: via.to_owned(), distance })
            })
            .collect()
    }

    fn plane_rules(&self, table: &str, lists: &Lists) -> Vec<Rule> {
        let rows = self.table(table).iter().filter(|item| item.is_enabled());
        rows.map(|item| {
            let texts = item.fields.iter().filter_map(|(k, v)| Some((k, std::str::from_utf8(v).ok()?)));
            Rule::from_row(texts, lists)
        })
        .collect()
    }

    fn lists(&self, addresses: &str) -> Lists {
        let mut lists = Lists::default();
        for item in self.table("/interface/list/member").iter().filter(|item| item.is_enabled()) {
            if let (Some(list), Some(interface)) = (item.fields.text("list"), item.fields.text("interface")) {
                lists.interfaces.entry(list.to_owned()).or_insert_with(HashSet::new).insert(interface.to_owned());
            }
        }
        let mut prefixes: HashMap<String, Vec<IpNet>> = HashMap::new();
        for item in self.table(addresses).iter().filter(|item| item.is_enabled()) {
            if let (Some(list), Some(address)) = (item.fields.text("list"), item.fields.text("address")) {
                prefixes.entry(list.to_owned()).or_default().extend(networks(address));
            }
        }
        lists.addresses = prefixes;
        lists
    }
}

fn key(fields: &Fields, name: &str) -> Option<[u8; 32]> {
    STANDARD.decode(fields.text(name)?).ok()?.try_into().ok()
}

fn number(fields: &Fields, name: &str) -> Option<u16> {
    fields.text(name)?.parse().ok()
}

/// Prefixes of a comma list, of single addresses and of a range. What is neither (a name) is left out.
fn networks(text: &str) -> Vec<IpNet> {
    if let Some((first, last)) = text.split_once('-')
        && let (Ok(first), Ok(last)) = (first.parse(), last.parse())
    {
        return Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect();
    }
    let one = |part: &str| part.parse().or_else(|_| part.parse::<IpAddr>().map(IpNet::from)).ok();
    text.split(',').filter_map(one).collect()
}
