//! Types of argument values: what a device refuses, and how it stores what it takes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::{parse_duration, print_duration};

/// Longest keepalive RouterOS takes: 65535 s. *Source*: schema text `0s..18h12m15s`.
const MAX_KEEPALIVE: Duration = Duration::from_secs(65_535);

/// What an argument takes. Anything the simulator cannot check is [`Type::Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    /// A set field has the value `""`, an unset one is absent.
    Presence,
    Bool,
    Number {
        min: u64,
        max: u64,
    },
    Time,
    Keepalive,
    Choice(Vec<String>),
    Flags(Vec<String>),
    /// An interface by name.
    Interface,
    /// Something by name; which, the rules of the menu say.
    Name,
    Address(AddressKind),
    AddressList(AddressKind),
    /// An IPv4 address, network or range.
    Range,
    /// The same, or a domain name.
    RangeOrName,
    Mac,
    Ports,
    /// 32 bytes as base64.
    Key,
    Negatable(Box<Type>),
}

/// Which addresses an argument takes, by the letters of the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a letter of its own in the manual")]
pub(crate) struct AddressKind {
    v4: bool,
    v6: bool,
    /// A prefix length may follow.
    prefix: bool,
    /// A domain name is taken.
    name: bool,
    /// An interface name is taken.
    interface: bool,
}

/// Why a value is refused; the device puts it in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadValue {
    Invalid,
    NoMatch,
    Ambiguous,
    MacRequired,
    RangeExpected,
    RangeWithoutStart,
}

/// What a name refers to: asked of the device.
pub(crate) type Reference<'a> = &'a dyn Fn(&str) -> bool;

impl Type {
    pub(super) fn parse(text: &str) -> Self {
        if let Some(inner) = text.strip_prefix('!') {
            return Self::Negatable(Box::new(Self::parse(inner)));
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "switch" => Self::Presence,
            "bool" => Self::Bool,
            "num" => {
                let (min, max) = rest.split_once("..").unwrap_or_default();
                Self::Number { min: min.parse().unwrap_or(0), max: max.parse().unwrap_or(u64::from(u32::MAX)) }
            }
            "time" => Self::Time,
            "enum" => Self::Choice(rest.split('|').map(str::to_owned).collect()),
            "flags" => Self::Flags(rest.split('|').map(str::to_owned).collect()),
            "interface" => Self::Interface,
            "name" => Self::Name,
            "address" => Self::Address(AddressKind::parse(rest)),
            "list" => match rest.strip_prefix("address ") {
                Some(flags) => Self::AddressList(AddressKind::parse(flags)),
                None => Self::Text,
            },
            "range" => Self::Range,
            "range-or-name" => Self::RangeOrName,
            "mac" => Self::Mac,
            "ports" => Self::Ports,
            _ => Self::Text,
        }
    }

    /// Checks a value and returns it as the device stores and prints it.
    ///
    /// # Errors
    /// [`BadValue`] says why it is refused.
    pub(crate) fn canonical(&self, raw: &[u8], known: Reference<'_>) -> Result<Vec<u8>, BadValue> {
        if let Self::Text = self {
            return Ok(raw.to_vec());
        }
        let text = std::str::from_utf8(raw).map_err(|_| BadValue::Invalid)?;
        self.canonical_text(text, known).map(String::into_bytes)
    }

    fn canonical_text(&self, text: &str, known: Reference<'_>) -> Result<String, BadValue> {
        match self {
            Self::Text => Ok(text.to_owned()),
            Self::Presence => Ok(String::new()),
            Self::Bool => boolean(text).map(|b| b.to_string()).ok_or(BadValue::Invalid),
            Self::Number { min, max } => number(text, *min, *max),
            Self::Time => parse_duration(text).map(print_duration).ok_or(BadValue::Invalid),
            Self::Keepalive => {
                parse_duration(text).filter(|d| *d <= MAX_KEEPALIVE).map(print_duration).ok_or(BadValue::Invalid)
            }
            Self::Choice(values) => choice(text, values),
            Self::Flags(values) => {
                text.split(',').map(|v| choice(v, values)).collect::<Result<Vec<_>, _>>().map(|v| v.join(","))
            }
            Self::Interface | Self::Name if text.is_empty() => Err(BadValue::Ambiguous),
            Self::Interface | Self::Name => known(text).then(|| text.to_owned()).ok_or(BadValue::NoMatch),
            Self::Address(kind) => kind.canonical(text, known).ok_or(BadValue::Invalid),
            Self::AddressList(_) if text.is_empty() => Ok(String::new()),
            Self::AddressList(kind) => text
                .split(',')
                .map(|part| kind.canonical(part, known).ok_or(BadValue::Invalid))
                .collect::<Result<Vec<_>, _>>()
                .map(|parts| parts.join(",")),
            Self::Range => range(text),
            Self::RangeOrName => range(text).or_else(|why| {
                let is_name = text.contains(|c: char| c.is_ascii_alphabetic()) && is_domain_name(text);
                if is_name { Ok(text.to_owned()) } else { Err(why) }
            }),
            Self::Mac => mac(text).ok_or(BadValue::MacRequired),
            Self::Ports => ports(text).ok_or(BadValue::Invalid),
            Self::Key => key(text).ok_or(BadValue::Invalid),
            Self::Negatable(inner) => match text.strip_prefix('!') {
                Some(rest) => Ok(format!("!{}", inner.canonical_text(rest, known)?)),
                None => inner.canonical_text(text, known),
            },
        }
    }

    /// The kind below a possible `!`.
    pub(crate) fn inner(&self) -> &Self {
        match self {
            Self::Negatable(inner) => inner,
            other => other,
        }
    }
}

impl AddressKind {
    pub(crate) const V4_PREFIX: Self = Self { v4: true, v6: false, prefix: true, name: false, interface: false };
    pub(crate) const V6_PREFIX: Self = Self { v4: false, v6: true, prefix: true, name: false, interface: false };

    fn parse(flags: &str) -> Self {
        Self {
            v4: flags.contains('4'),
            v6: flags.contains('6'),
            prefix: flags.contains('/'),
            name: flags.contains('D'),
            interface: flags.contains('i'),
        }
    }

    fn canonical(self, text: &str, known: Reference<'_>) -> Option<String> {
        if text.is_empty() {
            // An empty endpoint unsets it. *Source*: recorded peers have `endpoint-address=""`.
            return self.name.then(String::new);
        }
        let (plain, zone) = text.split_once('%').unwrap_or((text, ""));
        if !zone.is_empty() && !known(zone) {
            return None;
        }
        if let Ok(address) = plain.parse::<IpAddr>() {
            let suffix = if zone.is_empty() { String::new() } else { format!("%{zone}") };
            let full = if address.is_ipv4() { 32 } else { 128 };
            let length = if self.prefix { format!("/{full}") } else { String::new() };
            return self.takes(address).then(|| format!("{address}{length}{suffix}"));
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return (self.prefix && self.takes(net.addr())).then(|| net.to_string());
        }
        let by_name = (self.name && is_domain_name(text)) || (self.interface && known(text));
        by_name.then(|| text.to_owned())
    }

    fn takes(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn number(text: &str, min: u64, max: u64) -> Result<String, BadValue> {
    let value: u64 = text.parse().map_err(|_| BadValue::Invalid)?;
    if (min..=max).contains(&value) { Ok(value.to_string()) } else { Err(BadValue::Invalid) }
}

fn choice(text: &str, values: &[String]) -> Result<String, BadValue> {
    // A choice of `yes`/`no` and more is printed as written; RouterOS prints plain booleans as true/false.
    let wanted = match text {
        "true" => "yes",
        "false" => "no",
        other => other,
    };
    if wanted.is_empty() {
        return Err(BadValue::Ambiguous);
    }
    values.iter().find(|v| *v == wanted).cloned().ok_or(BadValue::NoMatch)
}

/// One address, a network or a range; a network of one address prints without its length.
fn range(text: &str) -> Result<String, BadValue> {
    if let Some((from, to)) = text.split_once('-') {
        let from: Ipv4Addr = from.parse().map_err(|_| BadValue::RangeWithoutStart)?;
        let to: Ipv4Addr = to.parse().map_err(|_| BadValue::RangeExpected)?;
        return if from <= to { Ok(format!("{from}-{to}")) } else { Err(BadValue::RangeExpected) };
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(address.to_string());
    }
    match text.parse::<ipnet::Ipv4Net>() {
        Ok(net) if net.prefix_len() == 32 => Ok(net.addr().to_string()),
        Ok(net) => Ok(net.trunc().to_string()),
        Err(_) => Err(BadValue::RangeExpected),
    }
}

fn mac(text: &str) -> Option<String> {
    let bytes: Vec<u8> = text.split(':').map(|p| u8::from_str_radix(p, 16).ok()).collect::<Option<_>>()?;
    (bytes.len() == 6).then(|| bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":"))
}

fn ports(text: &str) -> Option<String> {
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        if from > to {
            return None;
        }
    }
    Some(text.to_owned())
}

fn key(text: &str) -> Option<String> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    (bytes.len() == 32).then(|| text.to_owned())
}

fn is_domain_name(text: &str) -> bool {
    let fits =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.len() <= 253 && text.split('.').all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: &str, value: &str) -> Result<String, BadValue> {
        Type::parse(kind).canonical_text(value, &|name| name == "bridge")
    }

    #[test]
    fn a_value_is_stored_as_routeros_prints_it() {
        for (kind, given, printed) in [
            ("bool", "yes", "true"),
            ("time", "25", "25s"),
            ("num", "007", "7"),
            ("range-or-name", "10.0.0.1/32", "10.0.0.1"),
            ("range", "10.0.0.9/24", "10.0.0.0/24"),
            ("!interface", "!bridge", "!bridge"),
            ("list address 46/", "10.0.0.1,fd00::/8", "10.0.0.1/32,fd00::/8"),
            ("address 46ivL", "bridge", "bridge"),
            ("address 46D", "hub.example.net", "hub.example.net"),
            ("mac", "aa:bb:cc:00:11:22", "AA:BB:CC:00:11:22"),
            ("switch", "yes", ""),
        ] {
            assert_eq!(stored(kind, given), Ok(printed.to_owned()), "{kind} {given}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused_for_its_own_reason() {
        for (kind, given, why) in [
            ("bool", "maybe", BadValue::Invalid),
            ("num 0..63", "64", BadValue::Invalid),
            ("interface", "asdf", BadValue::NoMatch),
            ("interface", "", BadValue::Ambiguous),
            ("enum accept|drop", "acept", BadValue::NoMatch),
            ("range", "ten", BadValue::RangeExpected),
            ("range", "x-10.0.0.1", BadValue::RangeWithoutStart),
            ("mac", "aa:bb", BadValue::MacRequired),
            ("address 4", "fd00::1", BadValue::Invalid),
            ("ports", "70000", BadValue::Invalid),
        ] {
            assert_eq!(stored(kind, given), Err(why), "{kind} {given}");
        }
    }
}
