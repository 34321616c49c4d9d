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
    ],
);

/// A singleton: the router's name.
pub static IDENTITY: Menu = menu("/system/identity", Family::Any, false, &[config("name", Kind::Text, "MikroTik")]);

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
        DISABLED,
        DYNAMIC,
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

const ADDRESS_FIELDS: [Field; 7] = [
    required("address", Kind::HostPrefix),
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

const ROUTE_FIELDS: [Field; 11] = [
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
    state("active", Kind::Bool),
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

// Every matcher a rule can have in 7.12 to 7.24: one that somebody added to a rule of ours is seen and taken away
// again, and one on a foreign rule says that the rule is not a general one.
const RULE_FIELDS: [Field; 57] = [
    required("chain", Kind::Text),
    required("action", Kind::Text),
    matcher("new-mss", Kind::Text),
    config("passthrough", Kind::Bool, "true"),
    DISABLED,
    required("comment", Kind::Text),
    DYNAMIC,
    state("invalid", Kind::Bool),
    matcher("connection-bytes", Kind::Text),
    matcher("connection-limit", Kind::Text),
    matcher("connection-mark", Kind::Text),
    matcher("connection-nat-state", Kind::Words),
    matcher("connection-rate", Kind::Text),
    matcher("connection-state", Kind::Words),
    matcher("connection-type", Kind::Text),
    matcher("content", Kind::Text),
    matcher("dscp", Kind::Text),
    matcher("dst-address", Kind::Text),
    matcher("dst-address-list", Kind::Text),
    matcher("dst-address-type", Kind::Text),
    matcher("dst-limit", Kind::Text),
    matcher("dst-port", Kind::Text),
    matcher("fragment", Kind::Text),
    matcher("hotspot", Kind::Text),
    matcher("icmp-options", Kind::Text),
    matcher("in-bridge-port", Kind::Text),
    matcher("in-bridge-port-list", Kind::Text),
    matcher("in-interface", Kind::Text),
    matcher("in-interface-list", Kind::Text),
    matcher("ingress-priority", Kind::Text),
    matcher("ipsec-policy", Kind::Text),
    matcher("ipv4-options", Kind::Text),
    matcher("jump-target", Kind::Text),
    matcher("layer7-protocol", Kind::Text),
    matcher("limit", Kind::Text),
    matcher("nth", Kind::Text),
    matcher("out-bridge-port", Kind::Text),
    matcher("out-bridge-port-list", Kind::Text),
    matcher("out-interface", Kind::Text),
    matcher("out-interface-list", Kind::Text),
    matcher("packet-mark", Kind::Text),
    matcher("packet-size", Kind::Text),
    matcher("per-connection-classifier", Kind::Text),
    matcher("port", Kind::Text),
    matcher("priority", Kind::Text),
    matcher("protocol", Kind::Text),
    matcher("psd", Kind::Text),
    matcher("random", Kind::Text),
    matcher("routing-mark", Kind::Text),
    matcher("src-address", Kind::Text),
    matcher("src-address-list", Kind::Text),
    matcher("src-address-type", Kind::Text),
    matcher("src-mac-address", Kind::Text),
    matcher("src-port", Kind::Text),
    matcher("tcp-flags", Kind::Words),
    matcher("time", Kind::Text),
    matcher("ttl", Kind::Text),
];

/// IPv4 filter rules.
pub static FILTER: Menu = menu("/ip/firewall/filter", Family::V4, true, &RULE_FIELDS);
/// IPv6 filter rules.
pub static FILTER6: Menu = menu("/ipv6/firewall/filter", Family::V6, true, &RULE_FIELDS);
/// IPv4 NAT rules.
pub static NAT: Menu = menu("/ip/firewall/nat", Family::V4, true, &RULE_FIELDS);
/// IPv6 NAT rules.
pub static NAT6: Menu = menu("/ipv6/firewall/nat", Family::V6, true, &RULE_FIELDS);
/// IPv4 mangle rules.
pub static MANGLE: Menu = menu("/ip/firewall/mangle", Family::V4, true, &RULE_FIELDS);
/// IPv6 mangle rules.
pub static MANGLE6: Menu = menu("/ipv6/firewall/mangle", Family::V6, true, &RULE_FIELDS);
