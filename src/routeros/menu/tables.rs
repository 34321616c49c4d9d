//! The tables themselves.

use super::{Access, Family, Field, Kind, Menu, Name};

const fn field(name: &'static str, kind: Kind, default: Option<&'static str>, access: Access) -> Field {
    Field { name, kind, default, access, names: &[] }
}

/// Configuration, with what an absent field means.
const fn config(name: &'static str, kind: Kind, default: &'static str) -> Field {
    field(name, kind, Some(default), Access::Config)
}

/// Configuration without a default.
const fn required(name: &'static str, kind: Kind) -> Field {
    field(name, kind, None, Access::Config)
}

/// State that RouterOS reports.
const fn state(name: &'static str, kind: Kind) -> Field {
    field(name, kind, None, Access::ReadOnly)
}

/// A matcher of a firewall rule: absent unless set.
const fn matcher(name: &'static str, kind: Kind) -> Field {
    field(name, kind, None, Access::Matcher)
}

const DISABLED: Field = config("disabled", Kind::Bool, "false");
const DYNAMIC: Field = state("dynamic", Kind::Bool);

const fn menu(path: &'static str, family: Family, ordered: bool, fields: &'static [Field]) -> Menu {
    Menu { path, fields, family, ordered }
}

/// A singleton: version, board and architecture.
pub static RESOURCE: Menu = menu(
    "/system/resource",
    Family::Any,
    false,
    &[
        state("version", Kind::Text),
        state("board-name", Kind::Text),
        state("architecture-name", Kind::Text),
        state("uptime", Kind::Duration),
        state("cpu-load", Kind::Number),
        state("free-memory", Kind::Number),
    ],
);

/// Sensors; virtual routers have none. *Source:* the manual's Health page.
pub static HEALTH: Menu = menu(
    "/system/health",
    Family::Any,
    false,
    &[state("name", Kind::Text), state("value", Kind::Text), state("type", Kind::Text)],
);

/// A singleton: the router's name.
pub static IDENTITY: Menu = menu("/system/identity", Family::Any, false, &[config("name", Kind::Text, "MikroTik")]);

/// A singleton: the hardware; virtual routers say `routerboard=no` and nothing else.
///
/// *Source:* the manual's page about `/system/routerboard`.
pub static ROUTERBOARD: Menu = menu("/system/routerboard", Family::Any, false, &[state("serial-number", Kind::Text)]);

/// A singleton: the wall clock.
pub static CLOCK: Menu = menu(
    "/system/clock",
    Family::Any,
    false,
    &[state("date", Kind::Text), state("time", Kind::Text), state("gmt-offset", Kind::Text)],
);

/// Who may log in.
pub static USER: Menu =
    menu("/user", Family::Any, false, &[required("name", Kind::Text), required("group", Kind::Text)]);

/// What a group may do.
pub static USER_GROUP: Menu =
    menu("/user/group", Family::Any, false, &[required("name", Kind::Text), required("policy", Kind::Words)]);

/// Who is logged in, and from where.
pub static USER_ACTIVE: Menu = menu(
    "/user/active",
    Family::Any,
    false,
    &[state("name", Kind::Text), state("address", Kind::Text), state("via", Kind::Text)],
);

/// Services and, on newer versions, their live connections as dynamic rows.
pub static SERVICE: Menu = menu(
    "/ip/service",
    Family::Any,
    false,
    &[
        required("name", Kind::Text),
        required("port", Kind::Number),
        state("proto", Kind::Text),
        state("connection", Kind::Bool),
        // Which addresses may come. *Source:* the schemas; printed as `available-from` in 7.24, `address` before.
        Field {
            name: "available-from",
            kind: Kind::Prefixes,
            default: Some(""),
            access: Access::Config,
            names: &[Name { since: (7, 1), name: "address" }, Name { since: (7, 24), name: "available-from" }],
        },
        DISABLED,
        DYNAMIC,
    ],
);

/// Stored scripts; what they say is not read.
pub static SCRIPT: Menu =
    menu("/system/script", Family::Any, false, &[required("name", Kind::Text), required("comment", Kind::Text)]);

/// What the router runs by itself.
pub static SCHEDULER: Menu = menu(
    "/system/scheduler",
    Family::Any,
    false,
    &[
        required("name", Kind::Text),
        DISABLED,
        required("comment", Kind::Text),
        // Why an entry does nothing. [I]
        state(".about", Kind::Text),
    ],
);

/// Every interface of every kind.
pub static INTERFACE: Menu = menu(
    "/interface",
    Family::Any,
    false,
    &[required("name", Kind::Text), state("type", Kind::Text), state("running", Kind::Bool), DISABLED],
);

/// WireGuard interfaces. The private key is made and kept by the router, and never asked for.
pub static WIREGUARD: Menu = menu(
    "/interface/wireguard",
    Family::Any,
    false,
    &[
        required("name", Kind::Text),
        // Newer versions may say `auto` where nothing was set, so there is no default to rely on. [I]
        required("mtu", Kind::Number),
        required("listen-port", Kind::Number),
        DISABLED,
        required("comment", Kind::Text),
        state("public-key", Kind::Text),
        state("running", Kind::Bool),
    ],
);

/// WireGuard peers.
pub static PEERS: Menu = menu(
    "/interface/wireguard/peers",
    Family::Any,
    false,
    &[
        required("interface", Kind::Text),
        required("public-key", Kind::Text),
        config("endpoint-address", Kind::Text, ""),
        config("endpoint-port", Kind::Number, "0"),
        config("allowed-address", Kind::Prefixes, ""),
        config("persistent-keepalive", Kind::Duration, "0s"),
        field("preshared-key", Kind::Text, Some(""), Access::Secret),
        Field {
            name: "responder",
            kind: Kind::Bool,
            default: Some("false"),
            access: Access::Config,
            names: &[Name { since: (7, 15), name: "is-responder" }, Name { since: (7, 17), name: "responder" }],
        },
        DISABLED,
        required("comment", Kind::Text),
        DYNAMIC,
        state("current-endpoint-address", Kind::Text),
        state("current-endpoint-port", Kind::Number),
        state("last-handshake", Kind::Duration),
        state("rx", Kind::Number),
        state("tx", Kind::Number),
    ],
);

/// Interface lists.
pub static INTERFACE_LIST: Menu = menu(
    "/interface/list",
    Family::Any,
    false,
    &[
        required("name", Kind::Text),
        config("include", Kind::Words, ""),
        config("exclude", Kind::Words, ""),
        required("comment", Kind::Text),
        DYNAMIC,
    ],
);

/// Which interface is in which list.
pub static LIST_MEMBER: Menu = menu(
    "/interface/list/member",
    Family::Any,
    false,
    &[
        required("list", Kind::Text),
        required("interface", Kind::Text),
        DISABLED,
        required("comment", Kind::Text),
        DYNAMIC,
    ],
);

const ADDRESS_FIELDS: [Field; 8] = [
    required("address", Kind::HostPrefix),
    // Written along, because RouterOS may keep the old one when the length of the network changes. [I]
    required("network", Kind::Text),
    required("interface", Kind::Text),
    DISABLED,
    required("comment", Kind::Text),
    state("actual-interface", Kind::Text),
    state("invalid", Kind::Bool),
    DYNAMIC,
];

/// IPv4 addresses.
pub static IP_ADDRESS: Menu = menu("/ip/address", Family::V4, false, &ADDRESS_FIELDS);

/// IPv6 addresses; `advertise` is on unless told, which would announce the tunnel's prefix into it.
pub static IP_ADDRESS6: Menu = menu(
    "/ipv6/address",
    Family::V6,
    false,
    &[
        required("address", Kind::HostPrefix),
        required("interface", Kind::Text),
        config("advertise", Kind::Bool, "true"),
        DISABLED,
        required("comment", Kind::Text),
        state("actual-interface", Kind::Text),
        state("invalid", Kind::Bool),
        DYNAMIC,
    ],
);

const ROUTE_FIELDS: [Field; 12] = [
    required("dst-address", Kind::Prefix),
    required("gateway", Kind::Text),
    config("distance", Kind::Number, "1"),
    config("routing-table", Kind::Text, "main"),
    matcher("blackhole", Kind::Flag),
    matcher("check-gateway", Kind::Text),
    matcher("pref-src", Kind::Text),
    DISABLED,
    required("comment", Kind::Text),
    DYNAMIC,
    // A route is printed with the one or the other. *Source:* captures of v7 that print `inactive` and no `active`.
    state("active", Kind::Bool),
    state("inactive", Kind::Bool),
];

/// IPv4 routes.
pub static IP_ROUTE: Menu = menu("/ip/route", Family::V4, false, &ROUTE_FIELDS);
/// IPv6 routes.
pub static IP_ROUTE6: Menu = menu("/ipv6/route", Family::V6, false, &ROUTE_FIELDS);

/// Routing tables; `main` is always there.
pub static ROUTING_TABLE: Menu = menu(
    "/routing/table",
    Family::Any,
    false,
    &[required("name", Kind::Text), field("fib", Kind::Flag, None, Access::Config), DISABLED],
);

const LIST_FIELDS: [Field; 6] = [
    required("list", Kind::Text),
    required("address", Kind::Prefix),
    DISABLED,
    required("comment", Kind::Text),
    DYNAMIC,
    state("timeout", Kind::Duration),
];

/// IPv4 address lists.
pub static ADDRESS_LIST: Menu = menu("/ip/firewall/address-list", Family::V4, false, &LIST_FIELDS);
/// IPv6 address lists.
pub static ADDRESS_LIST6: Menu = menu("/ipv6/firewall/address-list", Family::V6, false, &LIST_FIELDS);

// Every matcher a rule can have in 7.12 to 7.24 is listed: one that somebody added to a rule of ours is seen and taken
// away again, and one on a foreign rule says that the rule is not a general one. *Source:* the schemas' `add` arguments.
macro_rules! rules {
    ($path:literal, $family:ident, [$($extra:literal),* $(,)?]) => {
        rules!(@ $path, $family, [
            "connection-bytes", "connection-limit", "connection-mark", "connection-rate", "connection-type", "content",
            "dscp", "dst-address", "dst-address-list", "dst-address-type", "dst-limit", "dst-port", "icmp-options",
            "in-bridge-port", "in-bridge-port-list", "in-interface", "in-interface-list", "ingress-priority",
            "ipsec-policy", "limit", "nth", "out-bridge-port", "out-bridge-port-list", "out-interface",
            "out-interface-list", "packet-mark", "packet-size", "per-connection-classifier", "port", "priority",
            "protocol", "random", "routing-mark", "src-address", "src-address-list", "src-address-type",
            "src-mac-address", "src-port", "tcp-mss", "time", "tls-host", "tos", $($extra),*
        ])
    };
    (@ $path:literal, $family:ident, [$($matcher:literal),*]) => {
        menu($path, Family::$family, true, &[
            required("chain", Kind::Text),
            required("action", Kind::Text),
            required("new-mss", Kind::Text),
            config("passthrough", Kind::Bool, "true"),
            DISABLED,
            required("comment", Kind::Text),
            DYNAMIC,
            $(matcher($matcher, Kind::Text)),*
        ])
    };
}

/// IPv4 filter rules.
pub static FILTER: Menu = rules!(
    "/ip/firewall/filter",
    V4,
    [
        "connection-nat-state",
        "connection-state",
        "fragment",
        "hotspot",
        "ipv4-options",
        "layer7-protocol",
        "p2p",
        "psd",
        "realm",
        "tcp-flags",
        "ttl",
    ]
);
/// IPv6 filter rules.
pub static FILTER6: Menu = rules!(
    "/ipv6/firewall/filter",
    V6,
    ["connection-nat-state", "connection-state", "headers", "hop-limit", "tcp-flags",]
);
/// IPv4 NAT rules.
pub static NAT: Menu =
    rules!("/ip/firewall/nat", V4, ["fragment", "hotspot", "ipv4-options", "layer7-protocol", "psd", "realm", "ttl",]);
/// IPv6 NAT rules.
pub static NAT6: Menu = rules!("/ipv6/firewall/nat", V6, ["connection-state", "headers", "hop-limit", "tcp-flags"]);
/// IPv4 mangle rules.
pub static MANGLE: Menu = rules!(
    "/ip/firewall/mangle",
    V4,
    [
        "connection-nat-state",
        "connection-state",
        "fragment",
        "hotspot",
        "ipv4-options",
        "layer7-protocol",
        "p2p",
        "psd",
        "realm",
        "tcp-flags",
        "ttl",
    ]
);
/// IPv6 mangle rules.
pub static MANGLE6: Menu = rules!(
    "/ipv6/firewall/mangle",
    V6,
    ["connection-nat-state", "connection-state", "dst-prefix", "headers", "hop-limit", "src-prefix", "tcp-flags",]
);
