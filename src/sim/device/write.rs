//! Commands that change rows: add, set, remove, move, enable, disable, comment, unset.

use super::policy::canonical_policies;
use super::refusal::Refusal;
use super::rows::{Fields, Item, Origin, belongs, parse_id, show_id};
use super::rules::{Rules, Target, target_of, type_of};
use super::{Device, Request, Viewer};
use crate::sim::faults::Fault;
use crate::sim::schema::{BadValue, Type};

/// IP protocols a rule can name. A number is taken as well.
const PROTOCOLS: [&str; 16] = [
    "icmp",
    "igmp",
    "ipencap",
    "tcp",
    "udp",
    "dccp",
    "ipv6-encap",
    "rsvp",
    "gre",
    "ipsec-esp",
    "ipsec-ah",
    "icmpv6",
    "ospf",
    "pim",
    "vrrp",
    "sctp",
];

/// Interface names that stand for many, in rules. *Source*: completions recorded in the 7.22.3 schema.
const INTERFACE_GROUPS: [&str; 4] = ["all-ethernet", "all-ppp", "all-vlan", "all-wireless"];

/// Arguments that say which row or where, not what is in it.
const ADDRESSING: [&str; 8] =
    [".id", "numbers", "number", "place-before", "copy-from", "destination", "value-name", ".proplist"];

impl Device {
    /// Executes a command that changes rows; `add` returns the new row's id.
    pub(super) fn write(
        &mut self,
        rules: &'static Rules,
        viewer: &Viewer,
        command: &str,
        request: &Request,
    ) -> Result<Option<String>, Refusal> {
        match command {
            "add" => return self.add(rules, viewer, request).map(Some),
            "set" if rules.singleton => self.set_singleton(rules, request)?,
            "set" | "comment" => self.set(rules, viewer, request, &[])?,
            "enable" => self.set(rules, viewer, request, &[("disabled", "false")])?,
            "disable" => self.set(rules, viewer, request, &[("disabled", "true")])?,
            "unset" => self.unset(rules, request)?,
            "remove" | "request-logout" => self.remove(rules, request)?,
            "move" => self.relocate(rules, request)?,
            "run" => {
                let which = request.text("number").or(request.text(".id")).unwrap_or_default();
                self.run_script(viewer, which).map_err(Refusal::Script)?;
            }
            "reset-counters" | "reset-counters-all" => {}
            _ => return Err(Refusal::NoSuchCommand),
        }
        Ok(None)
    }

    fn add(&mut self, rules: &'static Rules, viewer: &Viewer, request: &Request) -> Result<String, Refusal> {
        self.check_scheduling(rules.menu, viewer)?;
        let mut fields = Fields::default();
        if let Some(original) = request.text("copy-from") {
            let id = self.find(rules, original)?;
            fields = self.table(rules.table).iter().find(|i| i.id == id).map(|i| i.fields.clone()).unwrap_or_default();
        }
        self.apply(rules, viewer, request, &mut fields)?;
        self.complete(rules, viewer, &mut fields)?;
        for name in rules.required {
            if fields.get(name).is_none() {
                return Err(Refusal::MissingArgument((*name).to_owned()));
            }
        }
        self.check_unique(rules, &fields, None)?;
        self.check_second_wireguard(rules, &fields)?;
        let before = match request.text("place-before") {
            Some(text) => {
                let id = self.find(rules, text)?;
                self.table_mut(rules.table).position(id)
            }
            None => None,
        };
        let expires = self.take_timeout(rules, &mut fields);
        let id = self.table_mut(rules.table).insert(before, fields, Origin::Configured);
        if let Some(item) = self.table_mut(rules.table).get_mut(id) {
            item.expires = expires;
        }
        if rules.menu == "/system/scheduler" {
            self.set_timer(id);
        }
        self.announce(rules.table, id, false);
        Ok(show_id(id))
    }

    /// Whether a fault keeps a site from having a second WireGuard interface.
    fn check_second_wireguard(&self, rules: &Rules, fields: &Fields) -> Result<(), Refusal> {
        let is_second = rules.menu == "/interface/wireguard" && self.tunnels_of(fields).next().is_some();
        let refused = is_second && self.options.faults.contains(&Fault::OneWireguard);
        if refused { Err(Refusal::WriteFault) } else { Ok(()) }
    }

    /// Whether a fault keeps an address where it is.
    fn check_address_stays(&self, rules: &Rules, request: &Request) -> Result<(), Refusal> {
        let leads_away = rules.menu.ends_with("/address") && request.get("interface").is_some();
        let refused = leads_away && self.options.faults.contains(&Fault::AddressStays);
        if refused { Err(Refusal::WriteFault) } else { Ok(()) }
    }

    fn take_timeout(&self, rules: &Rules, fields: &mut Fields) -> Option<std::time::Instant> {
        if !rules.menu.ends_with("/address-list") {
            return None;
        }
        let timeout = fields.text("timeout").and_then(crate::sim::schema::parse_duration);
        fields.unset("timeout");
        timeout.map(|t| self.clock.monotonic() + t)
    }

    fn set(
        &mut self,
        rules: &'static Rules,
        viewer: &Viewer,
        request: &Request,
        fixed: &[(&str, &str)],
    ) -> Result<(), Refusal> {
        self.check_address_stays(rules, request)?;
        for id in self.addressed(rules, request)? {
            let Some(item) = self.changeable(rules, id)? else { continue };
            let mut fields = item.fields.clone();
            self.apply(rules, viewer, request, &mut fields)?;
            for (name, value) in fixed {
                fields.set(name, *value);
            }
            Self::follow_address(rules, request, &mut fields);
            self.check_unique(rules, &fields, Some(id))?;
            self.before_change(rules, id, &fields, request);
            let expires = self.take_timeout(rules, &mut fields);
            if let Some(item) = self.table_mut(rules.table).get_mut(id) {
                item.fields = fields;
                item.expires = expires.or(item.expires);
            }
            if rules.menu == "/system/scheduler" {
                self.set_timer(id);
            }
            self.announce(rules.table, id, false);
        }
        Ok(())
    }

    fn set_singleton(&mut self, rules: &'static Rules, request: &Request) -> Result<(), Refusal> {
        if rules.menu == "/system/clock" && (request.get("date").is_some() || request.get("time").is_some()) {
            let set = self.clock.set(request.text("date"), request.text("time"));
            set.ok_or_else(|| Refusal::Value(BadValue::Invalid, "date".to_owned()))?;
        }
        let mut fields = self.table(rules.table).first().map(|i| i.fields.clone()).unwrap_or_default();
        self.apply(rules, &Viewer::operator(), request, &mut fields)?;
        if let Some(item) = self.table_mut(rules.table).items_mut().first_mut() {
            item.fields = fields;
        }
        Ok(())
    }

    /// Checks the values given and puts them into `fields`.
    fn apply(&self, rules: &Rules, viewer: &Viewer, request: &Request, fields: &mut Fields) -> Result<(), Refusal> {
        let menu = self.schema.menu(rules.menu).ok_or(Refusal::NoSuchMenu)?;
        for (name, raw) in &request.attrs {
            if ADDRESSING.contains(&name.as_str()) {
                continue;
            }
            if let Some(cleared) = name.strip_prefix('!') {
                fields.unset(cleared);
                continue;
            }
            if self.empties(rules, name, raw) {
                fields.unset(name);
                continue;
            }
            let target = target_of(rules.menu, name);
            let known = |value: &str| self.exists(target, value);
            let value = type_of(menu, rules.menu, name).canonical(raw, &known);
            let value = value.map_err(|why| Refusal::Value(why, name.clone()))?;
            check_policies(rules, viewer, name, &value)?;
            if type_of(menu, rules.menu, name) == Type::Presence && (raw == b"no" || raw == b"false") {
                fields.unset(name);
            } else {
                fields.set(self.stored_name(rules, name), finish_value(rules, name, value)?);
            }
        }
        Ok(())
    }

    /// Values that mean "not set".
    fn empties(&self, rules: &Rules, name: &str, raw: &[u8]) -> bool {
        let Some(menu) = self.schema.menu(rules.menu) else { return false };
        let kind = type_of(menu, rules.menu, name);
        match (name, raw) {
            ("comment", b"")
            | ("mtu", b"auto")
            | ("preshared-key" | "pref-src" | "check-gateway", b"" | b"none")
            | ("persistent-keepalive" | "client-keepalive", b"" | b"none" | b"0" | b"0s") => true,
            (_, b"") => matches!(kind.inner(), Type::Range | Type::Ports | Type::Flags(_) | Type::Number { .. }),
            _ => false,
        }
    }

    /// `/ip/service` still takes the old name of a field that is printed by its new one. *Source*: schema of 7.24, which has both.
    fn stored_name<'a>(&self, rules: &Rules, name: &'a str) -> &'a str {
        let renamed = self.schema.menu(rules.menu).is_some_and(|menu| menu.writes("available-from"));
        if rules.menu == "/ip/service" && name == "address" && renamed { "available-from" } else { name }
    }

    fn exists(&self, target: Target, name: &str) -> bool {
        let named = |table: &str| self.table(table).iter().any(|item| item.fields.is("name", name));
        match target {
            Target::Interface => named("/interface") || INTERFACE_GROUPS.contains(&name),
            Target::InterfaceList => named("/interface/list"),
            Target::RoutingTable => named("/routing/table") || name == "main",
            Target::UserGroup => named("/user/group"),
            Target::Protocol => PROTOCOLS.contains(&name) || name.parse::<u8>().is_ok(),
            Target::Vrf => name == "main",
            Target::Free => !name.is_empty(),
        }
    }

    fn check_unique(&self, rules: &Rules, fields: &Fields, own: Option<u32>) -> Result<(), Refusal> {
        let Some((names, same)) = rules.unique else { return Ok(()) };
        let alike = |item: &Item| {
            Some(item.id) != own && names.iter().all(|n| fields.get(n).is_some() && item.fields.get(n) == fields.get(n))
        };
        if self.table(rules.table).iter().any(alike) { Err(Refusal::Same(same)) } else { Ok(()) }
    }

    fn remove(&mut self, rules: &'static Rules, request: &Request) -> Result<(), Refusal> {
        let ids = self.addressed(rules, request)?;
        if rules.menu == "/user/active" {
            for id in ids {
                self.log_out(id);
            }
            return Ok(());
        }
        let timed_stay = self.options.faults.contains(&Fault::TimedRowsStay);
        for id in &ids {
            let item = self.changeable(rules, *id)?;
            if timed_stay && item.is_some_and(|item| item.expires.is_some()) {
                return Err(Refusal::DynamicItem);
            }
        }
        for id in ids {
            if let Some(item) = self.table_mut(rules.table).remove(id) {
                self.announce(rules.table, id, true);
                if rules.menu == "/system/scheduler" {
                    self.set_timer(id);
                }
                if let (Some(target), Some(name)) = (named_by(rules.table), item.fields.text("name")) {
                    self.rename(target, name, &show_id(id));
                }
            }
        }
        Ok(())
    }

    fn unset(&mut self, rules: &'static Rules, request: &Request) -> Result<(), Refusal> {
        let name = request.text("value-name").ok_or_else(|| Refusal::MissingArgument("value-name".to_owned()))?;
        for id in self.addressed(rules, request)? {
            self.changeable(rules, id)?;
            if let Some(item) = self.table_mut(rules.table).get_mut(id) {
                item.fields.unset(name);
            }
            self.announce(rules.table, id, false);
        }
        Ok(())
    }

    fn relocate(&mut self, rules: &'static Rules, request: &Request) -> Result<(), Refusal> {
        let ids = self.addressed(rules, request)?;
        for id in &ids {
            self.changeable(rules, *id)?;
        }
        let before = request.text("destination").map(|text| self.find(rules, text)).transpose()?;
        self.table_mut(rules.table).relocate(&ids, before);
        for id in ids {
            self.announce(rules.table, id, false);
        }
        Ok(())
    }

    /// A row that may be written; rows of RouterOS's own may not.
    fn changeable(&self, rules: &Rules, id: u32) -> Result<Option<&Item>, Refusal> {
        let item = self.table(rules.table).iter().find(|item| item.id == id);
        match item.map(|item| &item.origin) {
            Some(Origin::Dynamic(_)) => Err(Refusal::DynamicItem),
            Some(Origin::Builtin) if rules.menu != "/ip/service" && rules.table != "/interface" => {
                Err(Refusal::BuiltinItem)
            }
            _ => Ok(item),
        }
    }

    fn addressed(&self, rules: &Rules, request: &Request) -> Result<Vec<u32>, Refusal> {
        let text = request.text(".id").or(request.text("numbers")).ok_or(Refusal::NoSuchItem)?;
        self.find_all(rules, text)
    }

    pub(super) fn find_all(&self, rules: &Rules, text: &str) -> Result<Vec<u32>, Refusal> {
        text.split(',').map(|one| self.find(rules, one)).collect()
    }

    /// A row by `*HEX` or, as RouterOS takes it in most menus, by name.
    fn find(&self, rules: &Rules, text: &str) -> Result<u32, Refusal> {
        let wanted = parse_id(text);
        let matches = |item: &Item| match wanted {
            Some(id) => item.id == id,
            None => item.fields.is("name", text),
        };
        let items = self.items_of(rules);
        let found = items.iter().find(|item| belongs(rules, item) && matches(item));
        found.map(|item| item.id).ok_or(Refusal::NoSuchItem)
    }

    /// Rows that name something follow its new name, or show the id of what is gone.
    pub(super) fn rename(&mut self, target: Target, old: &str, new: &str) {
        for rules in super::rules::RULES.iter().filter(|r| r.kind.is_none()) {
            let Some(menu) = self.schema.menu(rules.menu) else { continue };
            let Some(table) = self.tables.get_mut(rules.table) else { continue };
            for item in table.items_mut().iter_mut().filter(|item| !item.is_dynamic()) {
                for (name, value) in item.fields.values_mut() {
                    let kind = type_of(menu, rules.menu, name);
                    let refers = matches!(kind.inner(), Type::Interface | Type::Name | Type::Address(_));
                    if refers && target_of(rules.menu, name) == target {
                        replace_name(value, old, new);
                    }
                }
            }
        }
    }
}

/// Values whose printed form depends on the menu.
fn finish_value(rules: &Rules, name: &str, value: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let text = || String::from_utf8_lossy(&value).into_owned();
    Ok(match (rules.menu, name) {
        ("/ip/route" | "/ipv6/route", "dst-address") => match text().parse::<ipnet::IpNet>() {
            Ok(net) => net.trunc().to_string().into_bytes(),
            Err(_) => value,
        },
        ("/user/group", "policy") => {
            canonical_policies(&text()).ok_or_else(|| Refusal::Value(BadValue::NoMatch, name.to_owned()))?.into_bytes()
        }
        _ => value,
    })
}

/// Nobody can give a script more rights than they have. *Source*: manual, Scripting, policies.
fn check_policies(rules: &Rules, viewer: &Viewer, name: &str, value: &[u8]) -> Result<(), Refusal> {
    let runs = rules.menu == "/system/scheduler" || rules.menu == "/system/script";
    if runs && name == "policy" {
        let asked = String::from_utf8_lossy(value).into_owned();
        if asked.split(',').any(|p| !p.is_empty() && !viewer.may(p)) {
            return Err(Refusal::NoPermission);
        }
    }
    Ok(())
}

fn named_by(table: &str) -> Option<Target> {
    match table {
        "/interface" => Some(Target::Interface),
        "/interface/list" => Some(Target::InterfaceList),
        "/routing/table" => Some(Target::RoutingTable),
        _ => None,
    }
}

/// Replaces a whole name, one after `!`, or one after the `%` of a gateway.
fn replace_name(value: &mut Vec<u8>, old: &str, new: &str) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let kept = match text.rfind(['!', '%']) {
        Some(at) => at + 1,
        None => 0,
    };
    if text.get(kept..) == Some(old) {
        let front = text.get(..kept).unwrap_or_default();
        *value = format!("{front}{new}").into_bytes();
    }
}
