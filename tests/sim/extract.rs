//! Derives `src/sim/data/menus.json` from recorded RouterOS schemas, so that the file can be checked and made anew.
//!
//! The sources are beside the repository and not part of it; where they are missing the check says so and passes.
//! `SITEPEER_UPDATE_SIM_DATA=1` writes the file instead of comparing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Menus the simulator serves.
const MENUS: &[&str] = &[
    "/certificate",
    "/interface",
    "/interface/bridge",
    "/interface/bridge/port",
    "/interface/ethernet",
    "/interface/list",
    "/interface/list/member",
    "/interface/wireguard",
    "/interface/wireguard/peers",
    "/ip/address",
    "/ip/cloud",
    "/ip/dhcp-client",
    "/ip/dns",
    "/ip/firewall/address-list",
    "/ip/firewall/filter",
    "/ip/firewall/mangle",
    "/ip/firewall/nat",
    "/ip/route",
    "/ip/service",
    "/ip/settings",
    "/ipv6/address",
    "/ipv6/firewall/address-list",
    "/ipv6/firewall/filter",
    "/ipv6/firewall/mangle",
    "/ipv6/firewall/nat",
    "/ipv6/route",
    "/ipv6/settings",
    "/log",
    "/routing/table",
    "/safe-mode",
    "/system/clock",
    "/system/device-mode",
    "/system/identity",
    "/system/license",
    "/system/package",
    "/system/resource",
    "/system/scheduler",
    "/system/script",
    "/tool/ping",
    "/user",
    "/user/active",
    "/user/group",
];

/// Commands the simulator answers; the others are left out of the file.
const COMMANDS: &[&str] = &[
    "",
    "add",
    "comment",
    "disable",
    "enable",
    "get",
    "move",
    "print",
    "release",
    "remove",
    "request-logout",
    "reset-counters",
    "reset-counters-all",
    "run",
    "set",
    "take",
    "unroll",
    "unset",
];

const SCHEMAS: &[&str] = &["7.10.2", "7.15.3", "7.21.5", "7.22.3"];

/// Where the recorded schemas are, or `None` on a machine without them.
pub fn sources() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/routeros");
    let dir = std::env::var_os("SITEPEER_ROUTEROS_FACTS").map_or(beside, PathBuf::from);
    dir.join("schema-history.json").exists().then_some(dir)
}

/// Builds the whole data file from the sources.
pub fn extract(dir: &Path) -> Value {
    let history = read(dir, "schema-history.json");
    let reference = read(dir, "cli-reference-types.json");
    let schemas: Vec<Value> = SCHEMAS.iter().map(|v| read(dir, &format!("schema-{v}.json"))).collect();
    let versions = strings(&history["versions_compared"]);
    let menus: Map<String, Value> = MENUS
        .iter()
        .map(|menu| ((*menu).to_owned(), extract_menu(menu, &schemas, &history, &reference, &versions)))
        .collect();
    json!({
        "origin": {
            "commands": schemas[3]["source"],
            "history": history["source"],
            "types": reference["provenance"],
        },
        "versions": versions,
        "menus": menus,
    })
}

fn extract_menu(menu: &str, schemas: &[Value], history: &Value, reference: &Value, versions: &[String]) -> Value {
    let ranges = &history["menus"][menu];
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut readable = BTreeSet::new();
    for schema in schemas {
        let Some(commands) = schema["paths"][menu].as_object() else { continue };
        for (command, arguments) in commands {
            if !COMMANDS.contains(&command.as_str()) {
                continue;
            }
            let known = names.entry(command.clone()).or_default();
            known.extend(arguments.as_object().into_iter().flat_map(Map::keys).cloned());
            if command == "get" {
                readable.extend(strings(&arguments["value-name"]["enum"]));
            }
        }
    }
    for key in ranges.as_object().into_iter().flat_map(Map::keys) {
        add_from_history(key, &mut names);
    }
    readable.remove("about");
    let commands: Map<String, Value> = names
        .iter()
        .map(|(command, arguments)| {
            let own = ranged(command, &ranges[format!("{command} (cmd)")], versions);
            let list: Vec<String> = arguments
                .iter()
                .map(|argument| ranged(argument, &ranges[format!("{command} {argument}")], versions))
                .collect();
            (own, Value::String(list.join(" ")))
        })
        .collect();
    let described = &reference["menus"][menu];
    let mut types = Map::new();
    for group in ["args", "readonly"] {
        for (name, argument) in described[group].as_object().into_iter().flatten() {
            if let Some(text) = argument["type"].as_str() {
                types.insert(name.clone(), Value::String(compact(text)));
            }
        }
    }
    json!({ "commands": commands, "types": types, "read": readable.into_iter().collect::<Vec<_>>().join(" ") })
}

/// A history key is `add vrf`, `wg-import (cmd)`, `SUBMENU peers` or ends in a description.
fn add_from_history(key: &str, names: &mut BTreeMap<String, BTreeSet<String>>) {
    let words: Vec<&str> = key.split(' ').collect();
    let [command, argument] = words[..] else { return };
    if !COMMANDS.contains(&command) {
        return;
    }
    let known = names.entry(command.to_owned()).or_default();
    if argument != "(cmd)" {
        known.insert(argument.to_owned());
    }
}

/// `vrf` that came with 7.21 becomes `vrf@7.21-`; one that was always there stays `vrf`.
fn ranged(name: &str, ranges: &Value, versions: &[String]) -> String {
    let ranges = strings(ranges);
    if ranges.is_empty() {
        return name.to_owned();
    }
    let short: Vec<String> = ranges
        .iter()
        .map(|range| {
            let (from, to) = range.split_once("..").unwrap();
            let from = if from == versions[0] { "" } else { from };
            let to = if Some(to) == versions.last().map(String::as_str) { "" } else { to };
            format!("{from}-{to}")
        })
        .collect();
    format!("{name}@{}", short.join(","))
}

/// One word or two for the manual's type expression; what the simulator cannot check is a `string`.
fn compact(text: &str) -> String {
    let text = text.trim();
    if let Some(inner) = inside(text, "super {") {
        return match inner.trim_start().strip_prefix('!') {
            Some(rest) => format!("!{}", compact(rest.trim_start_matches([' ', ',']))),
            None => compact(inner),
        };
    }
    if let Some(inner) = inside(text, "multi {") {
        return match inner.trim() {
            inner if inner.starts_with("address") || inner == "enum" => format!("list {}", compact(inner)),
            inner if inner.contains("range [ .. 65535]") => "ports".to_owned(),
            _ => "string".to_owned(),
        };
    }
    if has_several_parts(text) {
        return "string".to_owned();
    }
    // The manual names one protocol of IPv6 and means all: the recorded completions have dozens, `tcp` among them.
    if text.starts_with("enum (icmpv6)") {
        return "name".to_owned();
    }
    for (prefix, kind) in [("enum (", "enum"), ("ubit (", "flags")] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let values: Vec<&str> =
                rest.split(')').next().unwrap().split(['|', ',']).map(str::trim).filter(|v| !v.is_empty()).collect();
            let values = values.join("|");
            return if values.is_empty() { "name".to_owned() } else { format!("{kind} {values}") };
        }
    }
    if let Some(rest) = text.strip_prefix("address (flags=") {
        return format!("address {}", rest.split(')').next().unwrap());
    }
    if let Some(rest) = text.strip_prefix("num [") {
        let bounds = rest.split(']').next().unwrap().replace(' ', "");
        return if rest.trim_end().ends_with(']') { format!("num {bounds}") } else { "string".to_owned() };
    }
    match text.split(' ').next().unwrap() {
        "alt" if text.starts_with("alt { ipRange , string") => "range-or-name".to_owned(),
        "alt" if text.starts_with("alt { ipAddr , ip6Addr") => "address 46".to_owned(),
        "iface_enum" => "interface".to_owned(),
        "enum" => "name".to_owned(),
        "ipAddr" => "address 4".to_owned(),
        "ip6Addr" => "address 6".to_owned(),
        "ipPrefix" => "address 4/".to_owned(),
        "ip6Prefix" => "address 6/".to_owned(),
        "ipRange" => "range".to_owned(),
        "macAddr" => "mac".to_owned(),
        word @ ("bool" | "num" | "time" | "switch") if text == word || text.starts_with(&format!("{word} {{")) => {
            word.to_owned()
        }
        _ => "string".to_owned(),
    }
}

/// A comma outside every bracket joins values of different types, as in `ipsec-policy=out,none`.
fn has_several_parts(text: &str) -> bool {
    let mut depth = 0_i32;
    text.chars().any(|c| {
        match c {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn inside<'a>(text: &'a str, opening: &str) -> Option<&'a str> {
    text.strip_prefix(opening)?.trim_end().strip_suffix('}')
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn read(dir: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join(name)).unwrap()).unwrap()
}
