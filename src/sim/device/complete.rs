//! What a device fills in by itself when a row is added, and what follows when one is set.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::refusal::Refusal;
use super::rows::Fields;
use super::rules::{Rules, Target};
use super::{Device, Request, Viewer};
use crate::sim::faults::Fault;
use crate::sim::schema::BadValue;
use crate::wireguard::keys::generate_private;

/// The port MikroTik's documentation uses. *Source*: manual, WireGuard. Which one is chosen when it is taken is not known.
const FIRST_LISTEN_PORT: u16 = 13_231;

impl Device {
    /// Fills in what was not given for a new row.
    pub(super) fn complete(&mut self, rules: &Rules, viewer: &Viewer, fields: &mut Fields) -> Result<(), Refusal> {
        match rules.menu {
            "/interface/wireguard" => self.complete_wireguard(fields)?,
            "/interface/wireguard/peers" => self.complete_peer(rules, fields),
            "/interface/bridge" => {
                fields.set_default("name", self.free_name("bridge"));
                fields.set("type", "bridge");
            }
            "/ip/address" => complete_address(fields)?,
            "/ip/route" => complete_route(fields, "0.0.0.0/0"),
            "/ipv6/route" => complete_route(fields, "::/0"),
            "/ip/firewall/address-list" | "/ipv6/firewall/address-list" => {
                fields.set("creation-time", self.clock.stamp());
            }
            "/system/scheduler" => {
                if !fields.is("start-time", "startup") {
                    fields.set_default("start-date", self.clock.date());
                }
                fields.set_default("start-time", self.clock.time());
                fields.set("owner", viewer.user.as_str());
                fields.set_default("policy", viewer.script_policy());
            }
            "/system/script" => {
                fields.set_default("owner", viewer.user.as_str());
                fields.set_default("policy", viewer.script_policy());
            }
            menu if menu.contains("/firewall/") => fields.set_default("action", "accept"),
            _ => {}
        }
        Ok(())
    }

    fn complete_wireguard(&self, fields: &mut Fields) -> Result<(), Refusal> {
        fields.set_default("name", self.free_name("wireguard"));
        fields.set("type", "wg");
        fields.set_default("mtu", "1420");
        if fields.get("listen-port").is_none_or(|p| p == b"0") {
            fields.set("listen-port", self.free_port().to_string());
        }
        if fields.get("private-key").is_none() {
            let made = generate_private();
            let key = made.map_err(|_| Refusal::Value(BadValue::Invalid, "private-key".to_owned()))?;
            fields.set("private-key", STANDARD.encode(key.expose()));
        }
        Ok(())
    }

    fn complete_peer(&self, rules: &Rules, fields: &mut Fields) {
        if self.schema.menu(rules.menu).is_some_and(|menu| menu.writes("name")) {
            let taken = |n: usize| {
                let name = format!("peer{n}");
                self.table(rules.table).iter().any(|item| item.fields.is("name", &name))
            };
            // One more than there are rows is free at the latest.
            let last = self.table(rules.table).len() + 1;
            let number = (1..=last).find(|n| !taken(*n)).unwrap_or(last);
            fields.set_default("name", format!("peer{number}"));
        }
    }

    fn free_name(&self, stem: &str) -> String {
        let last = self.table("/interface").len() + 1;
        let number = (1..=last).find(|n| self.interface(&format!("{stem}{n}")).is_none()).unwrap_or(last);
        format!("{stem}{number}")
    }

    fn free_port(&self) -> u16 {
        let taken = |port: u16| {
            let port = port.to_string();
            self.table("/interface").iter().any(|item| item.fields.is("listen-port", &port))
        };
        (FIRST_LISTEN_PORT..u16::MAX).find(|port| !taken(*port)).unwrap_or(FIRST_LISTEN_PORT)
    }

    /// A new address brings its own network unless one was given.
    pub(super) fn follow_address(rules: &Rules, request: &Request, fields: &mut Fields) {
        if rules.menu == "/ip/address" && request.get("address").is_some() && request.get("network").is_none() {
            fields.unset("network");
            // The address was checked: it has a network.
            if let Some(network) = network_of(fields) {
                fields.set("network", network);
            }
        }
    }

    /// What else happens when a row gets new values.
    pub(super) fn before_change(&mut self, rules: &Rules, id: u32, new: &Fields, request: &Request) {
        let old_name = self.table(rules.table).iter().find(|i| i.id == id).and_then(|i| i.fields.text("name"));
        let old_name = old_name.map(str::to_owned);
        if let (Some(old), Some(name)) = (old_name, new.text("name")) {
            let target = match rules.table {
                "/interface" if self.options.rename_follows => Some(Target::Interface),
                "/interface/list" => Some(Target::InterfaceList),
                "/routing/table" => Some(Target::RoutingTable),
                _ => None,
            };
            if let Some(target) = target.filter(|_| old != name) {
                self.rename(target, &old, name);
            }
        }
        let is_peer = rules.menu == "/interface/wireguard/peers";
        let sticks = self.options.faults.contains(&Fault::NameSticks) && {
            let old = self.table(rules.table).iter().find(|item| item.id == id);
            old.is_some_and(|old| old.fields.get("endpoint-address") == new.get("endpoint-address"))
        };
        let is_named_anew = request.get("endpoint-address").is_some() && !sticks;
        if is_peer && (is_named_anew || request.path.ends_with("/enable")) {
            self.resolve_again.push(id);
        }
        let drops = self.options.faults.contains(&Fault::DropSessionOnSet);
        if drops && is_peer && request.get("allowed-address").is_some() {
            *self.resets.entry(id).or_default() += 1;
        }
    }
}

fn complete_address(fields: &mut Fields) -> Result<(), Refusal> {
    if let Some(mask) = fields.text("netmask").map(str::to_owned) {
        let invalid = || Refusal::Value(BadValue::Invalid, "netmask".to_owned());
        let mask: std::net::Ipv4Addr = mask.parse().map_err(|_| invalid())?;
        let length = ipnet::ipv4_mask_to_prefix(mask).map_err(|_| invalid())?;
        let address = fields.text("address").and_then(|a| a.split('/').next()).unwrap_or_default().to_owned();
        fields.set("address", format!("{address}/{length}"));
        fields.unset("netmask");
    }
    if fields.get("network").is_none()
        && let Some(network) = network_of(fields)
    {
        fields.set("network", network);
    }
    Ok(())
}

fn network_of(fields: &Fields) -> Option<String> {
    let net: ipnet::IpNet = fields.text("address")?.parse().ok()?;
    Some(net.network().to_string())
}

fn complete_route(fields: &mut Fields, everything: &str) {
    fields.set_default("dst-address", everything);
    fields.set_default("routing-table", "main");
    fields.set_default("distance", "1");
    fields.set_default("scope", "30");
    fields.set_default("target-scope", "10");
}
