//! The matchers of firewall rules: one table of names, one test each.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::Context;
use super::connections::ConnectionState;
use super::rule::Lists;
use crate::wireguard::packet::Transport;

/// One condition of a rule, perhaps negated (`!`).
#[derive(Debug, Clone)]
pub struct Matcher {
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    States(Vec<ConnectionState>),
    InInterface(Interfaces),
    OutInterface(Interfaces),
    Source(Vec<IpNet>),
    Destination(Vec<IpNet>),
    Protocol(Vec<u8>),
    SourcePort(Vec<RangeInclusive<u16>>),
    DestinationPort(Vec<RangeInclusive<u16>>),
    SourceNat(bool),
    HopLimit(RangeInclusive<u8>),
    Constant(bool),
}

#[derive(Debug, Clone)]
enum Interfaces {
    All,
    Named(HashSet<String>),
}

impl Matcher {
    /// Matches packets whose source is in one of the prefixes.
    #[must_use]
    pub fn source(prefixes: Vec<IpNet>) -> Self {
        Self::from(Test::Source(prefixes))
    }

    /// Matches packets whose destination is in one of the prefixes.
    #[must_use]
    pub fn destination(prefixes: Vec<IpNet>) -> Self {
        Self::from(Test::Destination(prefixes))
    }

    pub(super) fn matches(&self, context: &Context<'_>) -> bool {
        // A test that does not apply (a port of a ping) matches neither way.
        self.test.applies(context).is_some_and(|met| met != self.negated)
    }
}

impl From<Test> for Matcher {
    fn from(test: Test) -> Self {
        Self { negated: false, test }
    }
}

type Parse = fn(&str, &Lists) -> Option<Test>;

/// The matchers that are known, by field name.
const MATCHERS: &[(&str, Parse)] = &[
    ("connection-nat-state", |value, _| nat_states(value)),
    ("connection-state", |value, _| all(value, ConnectionState::parse).map(Test::States)),
    ("dst-address", |value, _| prefixes(value).map(Test::Destination)),
    ("dst-address-list", |value, lists| Some(Test::Destination(address_list(value, lists)))),
    ("dst-port", |value, _| all(value, port_range).map(Test::DestinationPort)),
    ("hop-limit", |value, _| hop_limit(value).map(Test::HopLimit)),
    ("in-interface", |value, _| Some(Test::InInterface(interface(value)))),
    ("in-interface-list", |value, lists| Some(Test::InInterface(interface_list(value, lists)))),
    ("ipsec-policy", |value, _| ipsec_policy(value)),
    ("out-interface", |value, _| Some(Test::OutInterface(interface(value)))),
    ("out-interface-list", |value, lists| Some(Test::OutInterface(interface_list(value, lists)))),
    ("protocol", |value, _| protocol(value).map(Test::Protocol)),
    ("src-address", |value, _| prefixes(value).map(Test::Source)),
    ("src-address-list", |value, lists| Some(Test::Source(address_list(value, lists)))),
    ("src-port", |value, _| all(value, port_range).map(Test::SourcePort)),
];

/// Reads one field of a row; `None` if there is no such matcher, or its value does not parse.
pub(super) fn parse(key: &str, value: &str, lists: &Lists) -> Option<Matcher> {
    let (_, parse) = MATCHERS.iter().find(|(name, _)| *name == key)?;
    let (negated, value) = match value.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    Some(Matcher { negated, test: parse(value, lists)? })
}

impl Test {
    /// Whether the packet meets the test; `None` if the test does not apply to such a packet.
    fn applies(&self, context: &Context<'_>) -> Option<bool> {
        let packet = context.packet;
        Some(match self {
            Self::States(states) => states.contains(&context.state),
            Self::InInterface(interfaces) => interfaces.contains(context.in_interface?),
            Self::OutInterface(interfaces) => interfaces.contains(context.out_interface?),
            Self::Source(prefixes) => contains(prefixes, packet.source()),
            Self::Destination(prefixes) => contains(prefixes, packet.destination()),
            Self::Protocol(protocols) => protocols.contains(&packet.protocol()),
            Self::SourcePort(ranges) => in_ranges(ranges, ports(packet.transport())?.0),
            Self::DestinationPort(ranges) => in_ranges(ranges, ports(packet.transport())?.1),
            Self::SourceNat(wanted) => context.source_nat == *wanted,
            Self::HopLimit(range) => range.contains(&packet.ttl()),
            Self::Constant(met) => *met,
        })
    }
}

impl Interfaces {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }
}

impl ConnectionState {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "established" => Some(Self::Established),
            "related" => Some(Self::Related),
            "untracked" => Some(Self::Untracked),
            "invalid" => Some(Self::Invalid),
            _ => None,
        }
    }
}

fn contains(prefixes: &[IpNet], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(&address))
}

fn in_ranges(ranges: &[RangeInclusive<u16>], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(&port))
}

fn ports(transport: Transport) -> Option<(u16, u16)> {
    match transport {
        Transport::Tcp { source, destination, .. } | Transport::Udp { source, destination } => {
            Some((source, destination))
        }
        _ => None,
    }
}

/// Reads a comma list; `None` if one element does not parse.
fn all<T>(value: &str, parse: fn(&str) -> Option<T>) -> Option<Vec<T>> {
    value.split(',').map(parse).collect()
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// Reads `equal:1`, `less-than:2` or `greater-than:3`.
fn hop_limit(text: &str) -> Option<RangeInclusive<u8>> {
    let (relation, number) = text.split_once(':')?;
    let number: u8 = number.parse().ok()?;
    match relation {
        "equal" => Some(number..=number),
        "less-than" => Some(0..=number.checked_sub(1)?),
        "greater-than" => Some(number.checked_add(1)?..=u8::MAX),
        _ => None,
    }
}

/// Reads an address, a prefix or a range `a-b`, as RouterOS takes them.
fn prefixes(text: &str) -> Option<Vec<IpNet>> {
    if let Ok(prefix) = text.parse::<IpNet>() {
        return Some(vec![prefix.trunc()]);
    }
    let Some((first, last)) = text.split_once('-') else {
        return Some(vec![text.parse::<IpAddr>().ok()?.into()]);
    };
    match (first.parse().ok()?, last.parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()),
        (IpAddr::V6(first), IpAddr::V6(last)) => Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()),
        _ => None,
    }
}

/// Reads a protocol's name or number. `icmp` in the IPv6 firewall is `ICMPv6` there.
fn protocol(text: &str) -> Option<Vec<u8>> {
    Some(match text {
        "icmp" => vec![1, 58],
        "icmpv6" | "ipv6-icmp" => vec![58],
        "tcp" => vec![6],
        "udp" => vec![17],
        "gre" => vec![47],
        "ipsec-esp" => vec![50],
        "ipsec-ah" => vec![51],
        "ospf" => vec![89],
        _ => vec![text.parse().ok()?],
    })
}

fn interface(name: &str) -> Interfaces {
    match name {
        "all" => Interfaces::All,
        _ => Interfaces::Named(HashSet::from([name.to_owned()])),
    }
}

/// The built-in lists `all` and `none` need no members.
fn interface_list(name: &str, lists: &Lists) -> Interfaces {
    match name {
        "all" => Interfaces::All,
        _ => Interfaces::Named(lists.interfaces.get(name).cloned().unwrap_or_default()),
    }
}

fn address_list(name: &str, lists: &Lists) -> Vec<IpNet> {
    lists.addresses.get(name).cloned().unwrap_or_default()
}

/// There is no destination NAT here, so `dstnat` is never met.
fn nat_states(value: &str) -> Option<Test> {
    let states: Vec<&str> = value.split(',').collect();
    if states.iter().any(|state| !matches!(*state, "srcnat" | "dstnat")) {
        return None;
    }
    Some(if states.contains(&"srcnat") { Test::SourceNat(true) } else { Test::Constant(false) })
}

/// Nothing here travels by `IPsec`: a policy `ipsec` never matches, `none` always.
fn ipsec_policy(value: &str) -> Option<Test> {
    match value.split_once(',') {
        Some(("in" | "out", "ipsec")) => Some(Test::Constant(false)),
        Some(("in" | "out", "none")) => Some(Test::Constant(true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_limit_is_compared_as_its_word_says() {
        assert_eq!(hop_limit("equal:1"), Some(1..=1));
        assert_eq!(hop_limit("less-than:2"), Some(0..=1));
        assert_eq!(hop_limit("greater-than:254"), Some(255..=255));
        assert_eq!((hop_limit("less-than:0"), hop_limit("equal:x"), hop_limit("1")), (None, None, None));
    }
}
