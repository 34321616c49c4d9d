//! The rows a home router comes with, and those that others put there.
//!
//! *Source*: MikroTik's default configuration script as its rules appear in public exports; recorded rows in
//! `tests/sim/golden/`.

mod foreign;

use super::Device;
use super::policy::{POLICIES, canonical_policies};
use super::rows::{FIRST_DYNAMIC_ROUTE, Fields, Origin, Table};
use crate::domain::RouterOsVersion;

/// *Source*: ids of the built-in lists in public exports of `/interface/list`.
const BUILTIN_LISTS: u32 = 0x0200_0000;

/// The first id of a group that is not built in: no row may share one.
const FIRST_OWN_GROUP: u32 = 4;

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// *Source*: `write` and `read` groups of the manual's User page.
const READ_POLICY: &str = "local,telnet,ssh,reboot,read,test,winbox,password,web,sniff,sensitive,api,romon";
const WRITE_POLICY: &str = "local,telnet,ssh,reboot,read,write,test,winbox,password,web,sniff,sensitive,api,romon";

impl Device {
    fn put(&mut self, table: &'static str, pairs: Pairs<'_>) -> u32 {
        self.table_mut(table).insert(None, Fields::of(pairs), Origin::Configured)
    }

    fn put_builtin(&mut self, table: &'static str, id: u32, pairs: Pairs<'_>) {
        self.table_mut(table).insert_with_id(None, id, Fields::of(pairs), Origin::Builtin);
    }
}

pub(super) fn fill(device: &mut Device) {
    system(device);
    users(device);
    services(device);
    interfaces(device);
    addresses(device);
    if device.options.firewall {
        firewall4(device);
        firewall6(device);
    }
    foreign::fill(device);
}

fn system(device: &mut Device) {
    let version = device.options.version.to_string();
    let identity = device.options.identity.clone();
    device.put("/system/identity", &[("name", &identity)]);
    device.put("/system/clock", &[]);
    device.put("/system/device-mode", &[]);
    device.put(
        "/system/resource",
        &[
            ("version", &format!("{version} (stable)")),
            ("build-time", "2026-08-20 09:00:00"),
            ("factory-software", "7.8"),
            ("free-memory", "712368128"),
            ("total-memory", "1073741824"),
            ("cpu", "ARM64"),
            ("cpu-count", "4"),
            ("cpu-frequency", "864"),
            ("cpu-load", "1"),
            ("free-hdd-space", "91234304"),
            ("total-hdd-space", "134217728"),
            ("write-sect-since-reboot", "1024"),
            ("write-sect-total", "40960"),
            ("bad-blocks", "0"),
            ("architecture-name", "arm64"),
            ("board-name", "hAP ax^3"),
            ("platform", "MikroTik"),
        ],
    );
    device.put(
        "/system/package",
        &[
            ("name", "routeros"),
            ("version", &version),
            ("build-time", "2026-08-20 09:00:00"),
            ("scheduled", ""),
            ("disabled", "false"),
        ],
    );
    device.put("/system/license", &[("software-id", "SIM0-0000"), ("nlevel", "4"), ("features", "")]);
    device.put(
        "/ip/dns",
        &[
            ("servers", ""),
            ("dynamic-servers", "203.0.113.1"),
            ("allow-remote-requests", "true"),
            ("cache-size", "2048"),
        ],
    );
    device.put("/ip/cloud", &[("ddns-enabled", "auto"), ("ddns-update-interval", "none"), ("update-time", "true")]);
    device.put("/ip/settings", &[("ip-forward", "true"), ("rp-filter", "no")]);
    device.put(
        "/ipv6/settings",
        &[
            ("disable-ipv6", "false"),
            ("forward", "true"),
            ("accept-redirects", "yes-if-forwarding-disabled"),
            ("accept-router-advertisements", "yes-if-forwarding-disabled"),
        ],
    );
    if device.options.version.major() >= 7 {
        let table = device.table_mut("/routing/table");
        *table = Table::new(0x400);
        device.put_builtin("/routing/table", 0, &[("name", "main"), ("fib", ""), ("dynamic", "true")]);
    }
}

fn users(device: &mut Device) {
    *device.table_mut("/user/group") = Table::new(FIRST_OWN_GROUP);
    for (id, name, policy) in [(1, "read", READ_POLICY), (2, "write", WRITE_POLICY), (3, "full", &POLICIES.join(","))] {
        let policy = canonical_policies(policy).unwrap_or_default();
        device.put_builtin("/user/group", id, &[("name", name), ("policy", &policy), ("skin", "default")]);
    }
    for (name, policy) in device.options.groups.clone() {
        let policy = canonical_policies(&policy).unwrap_or_default();
        device.put("/user/group", &[("name", &name), ("policy", &policy)]);
    }
    let users = device.options.users.clone();
    if !users.iter().any(|user| user.name == "admin") {
        device.put(
            "/user",
            &[("name", "admin"), ("group", "full"), ("password", ""), ("comment", "system default user")],
        );
    }
    for user in &users {
        let pairs = [("name", user.name.as_str()), ("group", &user.group), ("password", user.password.expose())];
        device.put("/user", &pairs);
    }
}

/// *Source*: `/ip/service/print` recorded on 7.24.3.
fn services(device: &mut Device) {
    let limits = if device.options.version >= RouterOsVersion::new(7, 24, 0) { "available-from" } else { "address" };
    for (id, name, port, certificate) in [
        (1, "ftp", 21, false),
        (4, "ssh", 22, false),
        (0, "telnet", 23, false),
        (2, "www", 80, false),
        (6, "www-ssl", 443, true),
        (8, "winbox", 8291, false),
        (7, "api", 8728, false),
        (9, "api-ssl", 8729, true),
    ] {
        let port = port.to_string();
        let mut fields = Fields::of(&[
            ("name", name),
            ("port", &port),
            ("proto", "tcp"),
            (limits, ""),
            ("max-sessions", "20"),
            ("vrf", "main"),
        ]);
        if certificate {
            fields.set("certificate", if name == "api-ssl" { "api-ssl" } else { "none" });
            fields.set("tls-version", "any");
        }
        if name == "www-ssl" {
            fields.set("disabled", "true");
        }
        device.table_mut("/ip/service").insert_with_id(None, id, fields, Origin::Builtin);
    }
}

fn interfaces(device: &mut Device) {
    for number in 1..=5_u8 {
        let name = format!("ether{number}");
        let mac = format!("02:53:49:4D:00:{number:02X}");
        let link = if number <= 2 { "up" } else { "down" };
        let pairs = [
            ("name", name.as_str()),
            ("default-name", &name),
            ("type", "ether"),
            ("mac-address", &mac),
            ("sim-link", link),
        ];
        device.table_mut("/interface").insert(None, Fields::of(&pairs), Origin::Builtin);
    }
    let bridge = [("name", "bridge"), ("type", "bridge"), ("mac-address", "02:53:49:4D:00:02"), ("comment", "defconf")];
    device.put("/interface", &bridge);
    for number in 2..=5_u8 {
        let port = format!("ether{number}");
        device.put("/interface/bridge/port", &[("interface", &port), ("bridge", "bridge"), ("comment", "defconf")]);
    }
    for (offset, name, what) in [
        (0, "all", "contains all interfaces"),
        (1, "none", "contains no interfaces"),
        (2, "dynamic", "contains dynamic interfaces"),
        (3, "static", "contains static interfaces"),
    ] {
        device.put_builtin("/interface/list", BUILTIN_LISTS + offset, &[("name", name), ("comment", what)]);
    }
    for (list, member) in [("WAN", "ether1"), ("LAN", "bridge")] {
        device.put("/interface/list", &[("name", list), ("comment", "defconf")]);
        device.put("/interface/list/member", &[("list", list), ("interface", member), ("comment", "defconf")]);
    }
}

fn addresses(device: &mut Device) {
    *device.table_mut("/ip/route") = Table::new(1).with_dynamic_from(FIRST_DYNAMIC_ROUTE);
    *device.table_mut("/ipv6/route") = Table::new(1).with_dynamic_from(FIRST_DYNAMIC_ROUTE);
    let (lan, wan) = (device.options.lan, device.options.wan);
    device.put(
        "/ip/address",
        &[
            ("address", &lan.to_string()),
            ("network", &lan.network().to_string()),
            ("interface", "bridge"),
            ("comment", "defconf"),
        ],
    );
    device.put(
        "/ip/dhcp-client",
        &[
            ("interface", "ether1"),
            ("add-default-route", "yes"),
            ("use-peer-dns", "yes"),
            ("use-peer-ntp", "true"),
            ("status", "bound"),
            ("address", &wan.to_string()),
            ("gateway", &device.options.wan_gateway.to_string()),
            ("dynamic", "false"),
            ("disabled", "false"),
            ("comment", "defconf"),
        ],
    );
}

const ESTABLISHED: (&str, &str) = ("connection-state", "established,related,untracked");

fn rules(device: &mut Device, table: &'static str, rows: &[(&str, &str, &str, Pairs<'_>)]) {
    for (chain, action, comment, matchers) in rows {
        let mut fields = Fields::of(&[("chain", chain), ("action", action)]);
        for (name, value) in *matchers {
            fields.set(name, *value);
        }
        fields.set("comment", format!("defconf: {comment}"));
        device.table_mut(table).insert(None, fields, Origin::Configured);
    }
}

fn firewall4(device: &mut Device) {
    let dummy =
        [("chain", "forward"), ("action", "passthrough"), ("comment", "special dummy rule to show fasttrack counters")];
    let origin = Origin::Dynamic("fasttrack".to_owned());
    device.table_mut("/ip/firewall/filter").insert(None, Fields::of(&dummy), origin);
    rules(
        device,
        "/ip/firewall/filter",
        &[
            ("input", "accept", "accept established,related,untracked", &[ESTABLISHED]),
            ("input", "drop", "drop invalid", &[("connection-state", "invalid")]),
            ("input", "accept", "accept ICMP", &[("protocol", "icmp")]),
            ("input", "accept", "accept to local loopback (for CAPsMAN)", &[("dst-address", "127.0.0.1")]),
            ("input", "drop", "drop all not coming from LAN", &[("in-interface-list", "!LAN")]),
            ("forward", "accept", "accept in ipsec policy", &[("ipsec-policy", "in,ipsec")]),
            ("forward", "accept", "accept out ipsec policy", &[("ipsec-policy", "out,ipsec")]),
            (
                "forward",
                "fasttrack-connection",
                "fasttrack",
                &[("connection-state", "established,related"), ("hw-offload", "true")],
            ),
            ("forward", "accept", "accept established,related, untracked", &[ESTABLISHED]),
            ("forward", "drop", "drop invalid", &[("connection-state", "invalid")]),
            (
                "forward",
                "drop",
                "drop all from WAN not DSTNATed",
                &[("connection-state", "new"), ("connection-nat-state", "!dstnat"), ("in-interface-list", "WAN")],
            ),
        ],
    );
    rules(
        device,
        "/ip/firewall/nat",
        &[("srcnat", "masquerade", "masquerade", &[("out-interface-list", "WAN"), ("ipsec-policy", "out,none")])],
    );
}

fn firewall6(device: &mut Device) {
    for (address, comment) in [
        ("::/128", "unspecified address"),
        ("::1/128", "lo"),
        ("fec0::/10", "site-local"),
        ("::ffff:0.0.0.0/96", "ipv4-mapped"),
        ("::/96", "ipv4 compat"),
        ("100::/64", "discard only "),
        ("2001:db8::/32", "documentation"),
        ("2001:10::/28", "ORCHID"),
        ("3ffe::/16", "6bone"),
    ] {
        let comment = format!("defconf: {comment}");
        device.put("/ipv6/firewall/address-list", &[("list", "bad_ipv6"), ("address", address), ("comment", &comment)]);
    }
    rules(
        device,
        "/ipv6/firewall/filter",
        &[
            ("input", "accept", "accept established,related,untracked", &[ESTABLISHED]),
            ("input", "drop", "drop invalid", &[("connection-state", "invalid")]),
            ("input", "accept", "accept ICMPv6", &[("protocol", "icmpv6")]),
            ("input", "accept", "accept UDP traceroute", &[("protocol", "udp"), ("dst-port", "33434-33534")]),
            (
                "input",
                "accept",
                "accept DHCPv6-Client prefix delegation.",
                &[("protocol", "udp"), ("dst-port", "546"), ("src-address", "fe80::/10")],
            ),
            ("input", "accept", "accept IKE", &[("protocol", "udp"), ("dst-port", "500,4500")]),
            ("input", "accept", "accept ipsec AH", &[("protocol", "ipsec-ah")]),
            ("input", "accept", "accept ipsec ESP", &[("protocol", "ipsec-esp")]),
            ("input", "accept", "accept all that matches ipsec policy", &[("ipsec-policy", "in,ipsec")]),
            ("input", "drop", "drop everything else not coming from LAN", &[("in-interface-list", "!LAN")]),
            ("forward", "accept", "accept established,related,untracked", &[ESTABLISHED]),
            ("forward", "drop", "drop invalid", &[("connection-state", "invalid")]),
            ("forward", "drop", "drop packets with bad src ipv6", &[("src-address-list", "bad_ipv6")]),
            ("forward", "drop", "drop packets with bad dst ipv6", &[("dst-address-list", "bad_ipv6")]),
            ("forward", "drop", "rfc4890 drop hop-limit=1", &[("protocol", "icmpv6"), ("hop-limit", "equal:1")]),
            ("forward", "accept", "accept ICMPv6", &[("protocol", "icmpv6")]),
            ("forward", "accept", "accept HIP", &[("protocol", "139")]),
            ("forward", "accept", "accept IKE", &[("protocol", "udp"), ("dst-port", "500,4500")]),
            ("forward", "accept", "accept ipsec AH", &[("protocol", "ipsec-ah")]),
            ("forward", "accept", "accept ipsec ESP", &[("protocol", "ipsec-esp")]),
            ("forward", "accept", "accept all that matches ipsec policy", &[("ipsec-policy", "in,ipsec")]),
            ("forward", "drop", "drop everything else not coming from LAN", &[("in-interface-list", "!LAN")]),
        ],
    );
}
