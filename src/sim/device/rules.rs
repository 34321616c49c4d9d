//! What the menus' recordings do not say: which table holds the rows, what is printed unasked, what must be unique.

use super::refusal::Same;
use crate::sim::schema::{AddressKind, Menu, Type};

/// How `print` shows a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Show {
    /// Always; with this value where none was set.
    Default(&'static str),
    /// Only where it was set.
    IfSet,
    /// Only where it is `true`.
    IfTrue,
    /// Worked out when it is asked for; left out where there is nothing.
    Computed,
    /// Only where it was set, and only to users with the policy `sensitive`.
    Secret,
}

/// One field of a menu, since which minor release of RouterOS 7 it is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) name: &'static str,
    pub(crate) show: Show,
    pub(crate) since_minor: u16,
}

/// The rules of one menu.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) menu: &'static str,
    /// The table with its rows: `/interface/wireguard` shows rows of `/interface`.
    pub(crate) table: &'static str,
    /// Only rows of this `type`.
    pub(crate) kind: Option<&'static str>,
    pub(crate) singleton: bool,
    pub(crate) shown: &'static [Shown],
    pub(crate) required: &'static [&'static str],
    /// Fields that no two rows may have alike, and what is said if they have.
    pub(crate) unique: Option<(&'static [&'static str], Same)>,
}

const fn default(name: &'static str, value: &'static str) -> Shown {
    Shown { name, show: Show::Default(value), since_minor: 0 }
}
const fn if_set(name: &'static str) -> Shown {
    Shown { name, show: Show::IfSet, since_minor: 0 }
}
const fn if_true(name: &'static str) -> Shown {
    Shown { name, show: Show::IfTrue, since_minor: 0 }
}
const fn computed(name: &'static str) -> Shown {
    Shown { name, show: Show::Computed, since_minor: 0 }
}
const fn secret(name: &'static str) -> Shown {
    Shown { name, show: Show::Secret, since_minor: 0 }
}
const fn since(minor: u16, mut shown: Shown) -> Shown {
    shown.since_minor = minor;
    shown
}

const fn list(menu: &'static str, shown: &'static [Shown]) -> Rules {
    Rules { menu, table: menu, kind: None, singleton: false, shown, required: &[], unique: None }
}
const fn single(menu: &'static str, shown: &'static [Shown]) -> Rules {
    Rules { menu, table: menu, kind: None, singleton: true, shown, required: &[], unique: None }
}

const INTERFACE: &[Shown] = &[
    if_set("name"),
    if_set("default-name"),
    if_set("type"),
    default("mtu", "1500"),
    computed("actual-mtu"),
    if_set("mac-address"),
    default("link-downs", "0"),
    default("rx-byte", "0"),
    default("tx-byte", "0"),
    default("rx-packet", "0"),
    default("tx-packet", "0"),
    computed("running"),
    computed("slave"),
    default("disabled", "false"),
    if_set("comment"),
];
const WIREGUARD: &[Shown] = &[
    if_set("name"),
    default("mtu", "1420"),
    if_set("listen-port"),
    secret("private-key"),
    computed("public-key"),
    computed("running"),
    default("disabled", "false"),
    if_set("comment"),
];
const BRIDGE: &[Shown] = &[
    if_set("name"),
    default("mtu", "auto"),
    computed("actual-mtu"),
    if_set("mac-address"),
    default("protocol-mode", "rstp"),
    computed("running"),
    default("disabled", "false"),
    if_set("comment"),
];
const ETHERNET: &[Shown] = &[
    if_set("name"),
    if_set("default-name"),
    default("mtu", "1500"),
    if_set("mac-address"),
    computed("running"),
    computed("slave"),
    default("disabled", "false"),
    if_set("comment"),
];
const PEERS: &[Shown] = &[
    if_set("interface"),
    if_set("name"),
    if_set("public-key"),
    default("endpoint-address", ""),
    default("endpoint-port", "0"),
    computed("current-endpoint-address"),
    computed("current-endpoint-port"),
    default("allowed-address", ""),
    secret("preshared-key"),
    secret("private-key"),
    if_set("persistent-keepalive"),
    if_set("client-address"),
    if_set("client-dns"),
    since(21, default("client-endpoint", "")),
    if_set("client-keepalive"),
    if_set("client-listen-port"),
    since(21, default("client-allowed-address", "")),
    if_true("responder"),
    if_true("is-responder"),
    computed("rx"),
    computed("tx"),
    computed("last-handshake"),
    computed("dynamic"),
    default("disabled", "false"),
    if_set("comment"),
];
const ADDRESS: &[Shown] = &[
    if_set("address"),
    if_set("network"),
    if_set("interface"),
    computed("actual-interface"),
    computed("invalid"),
    computed("dynamic"),
    since(24, default("slave", "false")),
    since(24, default("vrf", "main")),
    default("disabled", "false"),
    if_set("comment"),
];
const ADDRESS6: &[Shown] = &[
    if_set("address"),
    default("from-pool", ""),
    if_set("interface"),
    computed("actual-interface"),
    default("eui-64", "false"),
    default("advertise", "true"),
    default("no-dad", "false"),
    computed("invalid"),
    computed("dynamic"),
    computed("link-local"),
    computed("global"),
    default("disabled", "false"),
    if_set("comment"),
];
const ROUTE: &[Shown] = &[
    if_set("dst-address"),
    default("routing-table", "main"),
    if_set("pref-src"),
    if_set("gateway"),
    computed("immediate-gw"),
    if_set("local-address"),
    if_set("check-gateway"),
    default("distance", "1"),
    default("scope", "30"),
    default("target-scope", "10"),
    if_set("vrf-interface"),
    if_set("suppress-hw-offload"),
    if_set("blackhole"),
    if_true("dynamic"),
    computed("inactive"),
    computed("active"),
    if_true("connect"),
    computed("static"),
    if_true("dhcp"),
    default("disabled", "false"),
    if_set("comment"),
];
const RULE_HEAD: &[Shown] = &[if_set("chain"), default("action", "accept")];
const FIREWALL: &[Shown] = &[
    RULE_HEAD[0],
    RULE_HEAD[1],
    default("log", "false"),
    default("log-prefix", ""),
    default("bytes", "0"),
    default("packets", "0"),
    computed("invalid"),
    computed("dynamic"),
    default("disabled", "false"),
    if_set("comment"),
];
const ADDRESS_LIST: &[Shown] = &[
    if_set("list"),
    if_set("address"),
    if_set("creation-time"),
    computed("timeout"),
    computed("dynamic"),
    default("disabled", "false"),
    if_set("comment"),
];
const LISTS: &[Shown] = &[
    if_set("name"),
    default("include", ""),
    default("exclude", ""),
    computed("builtin"),
    computed("dynamic"),
    if_set("comment"),
];
const MEMBERS: &[Shown] =
    &[if_set("list"), if_set("interface"), computed("dynamic"), default("disabled", "false"), if_set("comment")];
const TABLES: &[Shown] =
    &[if_set("name"), if_set("fib"), if_true("dynamic"), computed("invalid"), if_true("disabled"), if_set("comment")];
const SERVICE: &[Shown] = &[
    if_set("name"),
    if_set("port"),
    if_set("proto"),
    if_set("address"),
    if_set("available-from"),
    if_set("certificate"),
    if_set("tls-version"),
    since(16, if_set("max-sessions")),
    if_set("vrf"),
    computed("invalid"),
    computed("dynamic"),
    default("disabled", "false"),
];
const USER: &[Shown] = &[
    if_set("name"),
    if_set("group"),
    default("address", ""),
    since(16, default("inactivity-timeout", "10m")),
    since(16, default("inactivity-policy", "none")),
    default("expired", "false"),
    if_set("last-logged-in"),
    default("disabled", "false"),
    if_set("comment"),
];
const GROUP: &[Shown] = &[if_set("name"), if_set("policy"), default("skin", "default"), if_set("comment")];
const DEVICE_MODE: &[Shown] =
    &[default("mode", "advanced"), computed("scheduler"), default("fetch", "true"), default("container", "false")];
const SCHEDULER: &[Shown] = &[
    computed(".about"),
    if_set("name"),
    if_set("start-date"),
    if_set("start-time"),
    default("interval", "0s"),
    default("on-event", ""),
    if_set("owner"),
    if_set("policy"),
    default("run-count", "0"),
    default("disabled", "false"),
    if_set("comment"),
];
const SCRIPT: &[Shown] = &[
    if_set("name"),
    if_set("owner"),
    if_set("policy"),
    default("dont-require-permissions", "false"),
    default("run-count", "0"),
    default("source", ""),
    default("invalid", "false"),
    if_set("comment"),
];
const CLOCK: &[Shown] = &[
    computed("time"),
    computed("date"),
    default("time-zone-autodetect", "true"),
    default("time-zone-name", "manual"),
    default("gmt-offset", "+00:00"),
    default("dst-active", "false"),
];
const LOG: &[Shown] = &[if_set("time"), if_set("topics"), if_set("message")];
const IP_SETTINGS: &[Shown] = &[default("ip-forward", "true"), default("rp-filter", "no")];
const RESOURCE: &[Shown] = &[computed("uptime"), if_set("version")];

/// All menus the device keeps rows for.
pub(crate) const RULES: &[Rules] = &[
    list("/certificate", &[]),
    Rules { unique: Some((&["name"], Same::Interface)), ..list("/interface", INTERFACE) },
    Rules { unique: Some((&["name"], Same::Interface)), ..kind("/interface/bridge", "bridge", BRIDGE) },
    Rules { required: &["bridge", "interface"], ..list("/interface/bridge/port", &[]) },
    Rules { unique: Some((&["name"], Same::Interface)), ..kind("/interface/ethernet", "ether", ETHERNET) },
    Rules { required: &["name"], unique: Some((&["name"], Same::Name)), ..list("/interface/list", LISTS) },
    Rules {
        required: &["interface", "list"],
        unique: Some((&["list", "interface"], Same::Entry)),
        ..list("/interface/list/member", MEMBERS)
    },
    Rules { unique: Some((&["name"], Same::Interface)), ..kind("/interface/wireguard", "wg", WIREGUARD) },
    Rules {
        required: &["interface", "allowed-address", "public-key"],
        unique: Some((&["public-key"], Same::Entry)),
        ..list("/interface/wireguard/peers", PEERS)
    },
    Rules {
        required: &["address", "interface"],
        unique: Some((&["address", "interface"], Same::Address)),
        ..list("/ip/address", ADDRESS)
    },
    single("/ip/cloud", &[]),
    Rules { required: &["interface"], ..list("/ip/dhcp-client", &[]) },
    single("/ip/dns", &[]),
    Rules {
        required: &["address", "list"],
        unique: Some((&["list", "address"], Same::ListEntry)),
        ..list("/ip/firewall/address-list", ADDRESS_LIST)
    },
    Rules { required: &["chain"], ..list("/ip/firewall/filter", FIREWALL) },
    Rules { required: &["chain"], ..list("/ip/firewall/mangle", FIREWALL) },
    Rules { required: &["chain"], ..list("/ip/firewall/nat", FIREWALL) },
    list("/ip/route", ROUTE),
    list("/ip/service", SERVICE),
    single("/ip/settings", IP_SETTINGS),
    Rules {
        required: &["interface"],
        unique: Some((&["address", "interface"], Same::Address)),
        ..list("/ipv6/address", ADDRESS6)
    },
    Rules {
        required: &["address", "list"],
        unique: Some((&["list", "address"], Same::ListEntry)),
        ..list("/ipv6/firewall/address-list", ADDRESS_LIST)
    },
    Rules { required: &["chain"], ..list("/ipv6/firewall/filter", FIREWALL) },
    Rules { required: &["chain"], ..list("/ipv6/firewall/mangle", FIREWALL) },
    Rules { required: &["chain"], ..list("/ipv6/firewall/nat", FIREWALL) },
    list("/ipv6/route", ROUTE),
    single("/ipv6/settings", &[]),
    list("/log", LOG),
    Rules { required: &["name"], unique: Some((&["name"], Same::Name)), ..list("/routing/table", TABLES) },
    single("/system/clock", CLOCK),
    single("/system/device-mode", DEVICE_MODE),
    single("/system/identity", &[]),
    single("/system/license", &[]),
    list("/system/package", &[]),
    single("/system/resource", RESOURCE),
    Rules { required: &["name"], unique: Some((&["name"], Same::Name)), ..list("/system/scheduler", SCHEDULER) },
    Rules { required: &["name"], unique: Some((&["name"], Same::Name)), ..list("/system/script", SCRIPT) },
    Rules { required: &["name", "group"], unique: Some((&["name"], Same::User)), ..list("/user", USER) },
    list("/user/active", &[]),
    Rules { required: &["name"], unique: Some((&["name"], Same::Name)), ..list("/user/group", GROUP) },
];

const fn kind(menu: &'static str, kind: &'static str, shown: &'static [Shown]) -> Rules {
    Rules { table: "/interface", kind: Some(kind), ..list(menu, shown) }
}

pub(crate) fn rules_of(menu: &str) -> Option<&'static Rules> {
    RULES.iter().find(|rules| rules.menu == menu)
}

/// What a name in a field has to be the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Interface,
    InterfaceList,
    RoutingTable,
    UserGroup,
    Protocol,
    Vrf,
    /// Names that exist by being used: chains, address lists, marks.
    Free,
}

pub(crate) fn target_of(menu: &str, field: &str) -> Target {
    match field {
        "list" if menu == "/interface/list/member" => Target::InterfaceList,
        "in-interface-list" | "out-interface-list" | "in-bridge-port-list" | "out-bridge-port-list" => {
            Target::InterfaceList
        }
        "routing-table" => Target::RoutingTable,
        "group" => Target::UserGroup,
        "protocol" => Target::Protocol,
        "vrf" => Target::Vrf,
        "interface" | "bridge" | "gateway" | "vrf-interface" => Target::Interface,
        _ if field.ends_with("-interface") || field.ends_with("-bridge-port") => Target::Interface,
        _ => Target::Free,
    }
}

/// The type of an argument: as recorded, or narrower where the recording only says "string" or "number".
pub(crate) fn type_of(menu: &Menu, path: &str, field: &str) -> Type {
    const PORT: Type = Type::Number { min: 0, max: 65_535 };
    match (path, field) {
        ("/ip/address", "address") => Type::Address(AddressKind::V4_PREFIX),
        ("/ipv6/address" | "/ipv6/firewall/address-list", "address") => Type::Address(AddressKind::V6_PREFIX),
        ("/interface/wireguard" | "/interface/wireguard/peers", "private-key" | "public-key" | "preshared-key") => {
            Type::Key
        }
        ("/interface/wireguard/peers", "persistent-keepalive" | "client-keepalive") => Type::Keepalive,
        (_, "disabled" | "is-responder" | "responder") => Type::Bool,
        (_, "listen-port" | "endpoint-port" | "client-listen-port") => PORT,
        ("/ip/service", "port") => Type::Number { min: 1, max: 65_535 },
        ("/ip/service", "max-sessions") => Type::Number { min: 1, max: 1000 },
        ("/ip/service", "certificate") => Type::Text,
        ("/interface/wireguard", "mtu") => Type::Number { min: 68, max: 65_535 },
        ("/ip/route" | "/ipv6/route", "distance") => Type::Number { min: 1, max: 255 },
        _ => menu.type_of(field),
    }
}
