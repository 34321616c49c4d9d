//! What follows from the configured rows: fields that are worked out, and rows that RouterOS makes itself.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::Device;
use super::rows::{Fields, Item, Origin, show_id};
use super::rules::{Rules, Target, target_of, type_of};
use crate::sim::schema::{Type, print_duration};
use crate::wireguard::keys::SecretKey;

/// A row that RouterOS makes itself: its table, what it stands for, its fields.
type Wanted = (&'static str, String, Fields);

impl Device {
    /// A field that is worked out when a row is printed; `None` leaves it out.
    pub(super) fn computed(&self, rules: &Rules, item: &Item, field: &str) -> Option<Vec<u8>> {
        let truth = |b: bool| Some(b.to_string().into_bytes());
        match (rules.table, field) {
            ("/interface", "running") => truth(self.is_running(item)),
            ("/interface", "slave") => self.is_slave(item).then(|| b"true".to_vec()),
            ("/interface", "actual-mtu") => {
                Some(item.fields.text("mtu").filter(|m| *m != "auto").unwrap_or("1500").into())
            }
            ("/interface", "public-key") => item.fields.text("private-key").and_then(public_key).map(Into::into),
            ("/interface/wireguard/peers", _) if field != "dynamic" => self.computed_peer(item, field),
            ("/ip/address" | "/ipv6/address", _) if field != "dynamic" => self.computed_address(item, field),
            ("/ip/route" | "/ipv6/route", _) => self.computed_route(rules, item, field),
            ("/interface/list", "builtin") => truth(item.origin == Origin::Builtin),
            ("/routing/table", "invalid") => truth(!item.is_enabled()),
            ("/ip/service", "invalid") => truth(item.fields.is("certificate", "none") && !item.is_enabled()),
            ("/system/device-mode", "scheduler") => truth(self.may_schedule()),
            // The field is inferred: the manual shows the words in the console only.
            ("/system/scheduler", ".about") => {
                (!self.may_schedule()).then(|| b"inactivated, not allowed by device-mode".to_vec())
            }
            ("/system/clock", "time") => Some(self.clock.time().into()),
            ("/system/clock", "date") => Some(self.clock.date().into()),
            ("/system/resource", "uptime") => {
                Some(print_duration(std::time::Duration::from_secs(self.clock.uptime().as_secs())).into())
            }
            (_, "timeout") => {
                let left = item.expires?.saturating_duration_since(self.clock.monotonic());
                Some(print_duration(std::time::Duration::from_secs(left.as_secs())).into())
            }
            (_, "invalid") => truth(self.has_broken_reference(rules, item)),
            (_, "dynamic") => truth(item.is_dynamic() || item.expires.is_some()),
            _ => None,
        }
    }

    fn computed_peer(&self, item: &Item, field: &str) -> Option<Vec<u8>> {
        let live = self.live.peers.get(&item.id).copied().unwrap_or_default();
        let text = match field {
            "current-endpoint-address" => live.endpoint.map(|e| e.ip().to_string()).unwrap_or_default(),
            "current-endpoint-port" => live.endpoint.map_or(0, |e| e.port()).to_string(),
            "rx" => live.rx.to_string(),
            "tx" => live.tx.to_string(),
            "last-handshake" => print_duration(std::time::Duration::from_secs(live.handshake_age?.as_secs())),
            _ => return None,
        };
        Some(text.into_bytes())
    }

    fn computed_address(&self, item: &Item, field: &str) -> Option<Vec<u8>> {
        let name = item.fields.text("interface").unwrap_or_default();
        let link_local = item.fields.text("address").is_some_and(|a| a.starts_with("fe80:"));
        let text = match field {
            "actual-interface" => self.bridge_of(name).unwrap_or(name).to_owned(),
            "invalid" => self.interface(name).is_none().to_string(),
            "link-local" => link_local.to_string(),
            "global" => (!link_local).to_string(),
            _ => return None,
        };
        Some(text.into_bytes())
    }

    fn computed_route(&self, rules: &Rules, item: &Item, field: &str) -> Option<Vec<u8>> {
        let active = || self.is_active_route(rules.table, item);
        match field {
            "immediate-gw" => self.next_hop(item).map(Into::into),
            // Flags are there when true; `inactive` always. *Source*: REST rows of a 7.x lab, stored file 71289158768.
            "inactive" => Some((!active() && item.is_enabled()).to_string().into()),
            "active" => active().then(|| b"true".to_vec()),
            "static" => (!item.is_dynamic()).then(|| b"true".to_vec()),
            _ => None,
        }
    }

    pub(crate) fn interface(&self, name: &str) -> Option<&Item> {
        self.table("/interface").iter().find(|item| item.fields.is("name", name))
    }

    /// Up and with a link: what `running` says.
    pub(crate) fn is_running(&self, item: &Item) -> bool {
        if !item.is_enabled() {
            return false;
        }
        if let Some(running) = self.live.running.get(&item.id) {
            return *running;
        }
        // A port without a cable keeps its link state in a field that is not printed.
        !item.fields.is("sim-link", "down")
    }

    fn is_slave(&self, item: &Item) -> bool {
        item.fields.text("name").is_some_and(|name| self.bridge_of(name).is_some())
    }

    fn bridge_of(&self, port: &str) -> Option<&str> {
        let row = self.table("/interface/bridge/port").iter().find(|r| r.fields.is("interface", port))?;
        if row.is_enabled() { row.fields.text("bridge") } else { None }
    }

    /// The next hop as printed: an interface, or an address with the interface it is reached by; `None` if unreachable.
    pub(crate) fn next_hop(&self, route: &Item) -> Option<String> {
        let gateway = route.fields.text("gateway")?;
        let (plain, zone) = gateway.split_once('%').unwrap_or((gateway, ""));
        if let Some(interface) = self.interface(if zone.is_empty() { gateway } else { zone }) {
            return self.is_running(interface).then(|| gateway.to_owned());
        }
        let address: IpAddr = plain.parse().ok()?;
        let by = self.connected_interface(address)?;
        Some(format!("{address}%{by}"))
    }

    /// The running interface on whose network an address is.
    pub(crate) fn connected_interface(&self, address: IpAddr) -> Option<&str> {
        let table = if address.is_ipv4() { "/ip/address" } else { "/ipv6/address" };
        self.table(table).iter().filter(|item| item.is_enabled()).find_map(|item| {
            let net: IpNet = item.fields.text("address")?.parse().ok()?;
            let name = item.fields.text("interface")?;
            let up = self.interface(name).is_some_and(|i| self.is_running(i));
            (up && net.contains(&address)).then_some(name)
        })
    }

    /// Enabled, reachable, and of the least distance of its destination and table.
    pub(crate) fn is_active_route(&self, table: &str, route: &Item) -> bool {
        let distance = |r: &Item| r.fields.text("distance").and_then(|d| d.parse::<u16>().ok()).unwrap_or(1);
        let usable = |r: &Item| r.is_enabled() && (r.fields.get("blackhole").is_some() || self.next_hop(r).is_some());
        let same = |r: &Item| {
            ["dst-address", "routing-table"].iter().all(|f| r.fields.get(f) == route.fields.get(f)) && r.id != route.id
        };
        usable(route)
            && !self.table(table).iter().any(|other| same(other) && usable(other) && distance(other) < distance(route))
    }

    fn has_broken_reference(&self, rules: &Rules, item: &Item) -> bool {
        let Some(menu) = self.schema.menu(rules.menu) else { return false };
        item.fields.iter().any(|(name, value)| {
            // The id of what was removed stands where its name was.
            let gone = value.strip_prefix(b"!").unwrap_or(value).starts_with(b"*");
            let kind = type_of(menu, rules.menu, name);
            let refers = matches!(kind.inner(), Type::Interface | Type::Name);
            gone && refers && target_of(rules.menu, name) != Target::Free
        })
    }

    /// Brings RouterOS's own rows in line with the configured ones and drops what has expired.
    pub(crate) fn settle(&mut self) {
        self.expire();
        let mut wanted = self.wanted_addresses();
        self.sync(&["/ip/address", "/ipv6/address"], &wanted);
        wanted = self.wanted_routes();
        self.sync(&["/ip/route", "/ipv6/route"], &wanted);
    }

    /// Takes out address-list entries whose time is over.
    pub(crate) fn expire(&mut self) {
        let now = self.clock.monotonic();
        for table in ["/ip/firewall/address-list", "/ipv6/firewall/address-list"] {
            let over: Vec<u32> =
                self.table(table).iter().filter(|i| i.expires.is_some_and(|at| at <= now)).map(|i| i.id).collect();
            for id in over {
                self.table_mut(table).remove(id);
                self.announce(table, id, true);
            }
        }
    }

    fn wanted_addresses(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for client in self.table("/ip/dhcp-client").iter().filter(|i| i.is_enabled()) {
            let Some(interface) = client.fields.text("interface") else { continue };
            let address = self.options.wan.to_string();
            let network = self.options.wan.network().to_string();
            let fields = Fields::of(&[("address", &address), ("network", &network), ("interface", interface)]);
            wanted.push(("/ip/address", format!("dhcp:{}", show_id(client.id)), fields));
        }
        for item in self.table("/interface").iter().filter(|i| i.is_enabled() && !i.fields.is("type", "wg")) {
            let (Some(name), Some(mac)) = (item.fields.text("name"), item.fields.text("mac-address")) else { continue };
            if !self.is_running(item) || self.is_slave(item) {
                continue;
            }
            let fields = Fields::of(&[("address", &link_local(mac)), ("interface", name), ("advertise", "false")]);
            wanted.push(("/ipv6/address", format!("link-local:{}", show_id(item.id)), fields));
        }
        wanted
    }

    fn wanted_routes(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (addresses, routes) in [("/ip/address", "/ip/route"), ("/ipv6/address", "/ipv6/route")] {
            for item in self.table(addresses).iter().filter(|i| i.is_enabled()) {
                if let Some(fields) = self.connected_route(item) {
                    wanted.push((routes, format!("address:{}", show_id(item.id)), fields));
                }
            }
        }
        for client in self.table("/ip/dhcp-client").iter().filter(|i| i.is_enabled()) {
            let Some(interface) = client.fields.text("interface") else { continue };
            let fields = Fields::of(&[
                ("dst-address", "0.0.0.0/0"),
                ("routing-table", "main"),
                ("gateway", &self.options.wan_gateway.to_string()),
                ("distance", "1"),
                ("scope", "30"),
                ("target-scope", "10"),
                ("vrf-interface", interface),
                ("dynamic", "true"),
                ("dhcp", "true"),
            ]);
            wanted.push(("/ip/route", format!("dhcp:{}", show_id(client.id)), fields));
        }
        wanted
    }

    fn connected_route(&self, address: &Item) -> Option<Fields> {
        let name = address.fields.text("interface")?;
        self.interface(name).filter(|i| i.is_enabled())?;
        let text = address.fields.text("address")?;
        let net: IpNet = text.parse().ok()?;
        let network = match address.fields.text("network") {
            Some(network) => format!("{network}/{}", net.prefix_len()),
            None => net.trunc().to_string(),
        };
        let gateway = self.bridge_of(name).unwrap_or(name);
        Some(Fields::of(&[
            ("dst-address", &network),
            ("routing-table", "main"),
            ("gateway", gateway),
            ("local-address", &format!("{}%{gateway}", net.addr())),
            ("distance", "0"),
            ("scope", "10"),
            ("target-scope", "5"),
            ("dynamic", "true"),
            ("connect", "true"),
        ]))
    }

    fn sync(&mut self, tables: &[&'static str], wanted: &[Wanted]) {
        for table in tables {
            let is_wanted = |item: &Item| match &item.origin {
                Origin::Dynamic(key) => wanted.iter().any(|(t, k, f)| t == table && k == key && *f == item.fields),
                _ => true,
            };
            let stale: Vec<u32> = self.table(table).iter().filter(|i| !is_wanted(i)).map(|i| i.id).collect();
            for id in stale {
                self.table_mut(table).remove(id);
                self.announce(table, id, true);
            }
        }
        for (table, key, fields) in wanted {
            let origin = Origin::Dynamic(key.clone());
            if !self.table(table).iter().any(|item| item.origin == origin) {
                let id = self.table_mut(table).insert(None, fields.clone(), origin);
                self.announce(table, id, false);
            }
        }
    }
}

/// The public key of a private one, both as base64.
fn public_key(private: &str) -> Option<String> {
    let bytes: [u8; 32] = STANDARD.decode(private).ok()?.try_into().ok()?;
    Some(STANDARD.encode(SecretKey::from(bytes).public()))
}

/// The address an interface gives itself from its MAC address (EUI-64).
fn link_local(mac: &str) -> String {
    let bytes: Vec<u8> = mac.split(':').filter_map(|p| u8::from_str_radix(p, 16).ok()).collect();
    let Ok([high @ .., mid, low0, low1, low2]) = <[u8; 6]>::try_from(bytes) else { return "fe80::1/64".to_owned() };
    let [first, second] = high;
    let address =
        std::net::Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, first ^ 2, second, mid, 0xff, 0xfe, low0, low1, low2]);
    format!("{address}/64")
}
