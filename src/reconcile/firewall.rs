//! Which firewall rows this router needs, and before which foreign rule they must stand.
//!
//! The one table that says when is [`needs`]. It looks at foreign rules only, so that what it says does not change
//! once our rules are there. When in doubt a rule counts as hindering: a needless accept for our own subnets does no
//! harm, a missing one is a dead tunnel.

use ipnet::IpNet;

use super::entry::Entry;
use super::names::Names;
use super::observe::Observed;
use crate::domain::{Hub, Role, Site, SubnetSet, overlap};
use crate::routeros::menu::{self, Access, Family, Menu};

/// A firewall row that the router needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which.
    pub role: Role,
    /// In which menu.
    pub menu: &'static Menu,
    /// The id of the foreign rule it must stand before; `None` puts it last.
    pub before: Option<Vec<u8>>,
    /// Of an `in-wg`: which tunnel it is for, and the UDP port of that.
    pub port: Option<(u32, u16)>,
}

/// The menus of one family.
struct Menus {
    family: Family,
    filter: &'static Menu,
    nat: &'static Menu,
    mangle: &'static Menu,
}

const FAMILIES: [Menus; 2] = [
    Menus { family: Family::V4, filter: &menu::FILTER, nat: &menu::NAT, mangle: &menu::MANGLE },
    Menus { family: Family::V6, filter: &menu::FILTER6, nat: &menu::NAT6, mangle: &menu::MANGLE6 },
];

/// Returns the firewall rows this router needs for this site.
///
/// | row | when |
/// |---|---|
/// | `fwd-in`, `fwd-out` | chain forward can drop, reject, divert or FastTrack; both stand before the first rule that does, so that neither a drop nor FastTrack (which passes by the MSS clamp) meets the sites' traffic |
/// | `in-icmp` | chain input can drop and no general accept of ICMP stands there |
/// | `in-wg` | chain input can drop and the listen port is fixed: only then can a hub know it and dial; a port that the router chose is opened from inside, by the keepalive |
/// | `no-nat` | a source NAT rule could rewrite what goes from our subnets to theirs |
/// | `mss` | no general clamp to the path's MTU stands in chain forward; it stands before the first rule that ends the chain |
///
/// A family without a subnet on both sides needs no forwarding rows.
#[must_use]
pub fn needs(site: &Site, observed: &Observed, names: &Names) -> Vec<Need> {
    let mut found = Vec::new();
    for menus in &FAMILIES {
        let ours = of_family(&site.advertise, menus.family);
        let theirs = of_family(&site.reach, menus.family);
        let mut need_of = |role, menu: &'static Menu, before: Option<&Entry>, port| {
            found.push(Need { role, menu, before: before.map(|rule| rule.id().to_vec()), port });
        };
        let forward = foreign(observed, menus.filter, "forward");
        let forwards = !ours.is_empty() && !theirs.is_empty();
        if let Some(first) = forward.iter().find(|rule| hinders(rule)).filter(|_| forwards) {
            need_of(Role::ForwardIn, menus.filter, Some(first), None);
            need_of(Role::ForwardOut, menus.filter, Some(first), None);
        }
        let input = foreign(observed, menus.filter, "input");
        if let Some(first) = input.iter().find(|rule| hinders(rule)) {
            // What stands behind a drop that ICMP could meet lets nothing in.
            let open = input.iter().take_while(|rule| !hinders(rule) || drops_invalid_only(rule));
            if !theirs.is_empty() && !open.into_iter().any(|rule| accepts_icmp(rule)) {
                need_of(Role::InputIcmp, menus.filter, Some(first), None);
            }
            let dialled = site.ends().filter(|end| dialled_over(end.hub, menus.family));
            for port in dialled.filter_map(|end| end.input_port()) {
                need_of(Role::InputPort, menus.filter, Some(first), Some(port));
            }
        }
        let nat = foreign(observed, menus.nat, "srcnat");
        if let Some(first) =
            nat.iter().find(|rule| rewrites(rule, &ours, &theirs, observed, names)).filter(|_| forwards)
        {
            need_of(Role::NoNat, menus.nat, Some(first), None);
        }
        let mangle = foreign(observed, menus.mangle, "forward");
        if forwards && !mangle.iter().any(|rule| clamps(rule)) {
            need_of(Role::Mss, menus.mangle, mangle.iter().find(|rule| ends_mangle(rule)).copied(), None);
        }
    }
    found
}

/// Whether the hub can dial over a family: by the family of its own endpoints, a name may be both.
fn dialled_over(hub: &Hub, family: Family) -> bool {
    hub.endpoints.iter().any(|endpoint| match endpoint.host {
        crate::domain::Host::Address(address) => address.is_ipv4() == (family == Family::V4),
        crate::domain::Host::Name(_) => true,
    })
}

/// Returns the prefixes of one family.
#[must_use]
pub fn of_family(set: &SubnetSet, family: Family) -> SubnetSet {
    set.iter().filter(|net| matches!((family, net), (Family::V4, IpNet::V4(_)) | (Family::V6, IpNet::V6(_)))).collect()
}

/// The enabled rules of a chain that are neither ours nor made by the router, in order.
///
/// Dynamic rules (such as the one that shows FastTrack's counters) cannot be a place to stand before. *Source:* manual, Connection tracking.
fn foreign<'a>(observed: &'a Observed, menu: &Menu, chain: &str) -> Vec<&'a Entry> {
    let of_chain = |rule: &&Entry| {
        rule.get("chain") == Some(chain.as_bytes())
            && !rule.is_true("disabled")
            && !rule.is_true("dynamic")
            && rule.marker().is_none()
    };
    observed.rows(menu).iter().filter(of_chain).collect()
}

fn hinders(rule: &Entry) -> bool {
    matches!(rule.get("action"), Some(b"drop" | b"reject" | b"tarpit" | b"jump" | b"fasttrack-connection"))
}

/// Whether a rule has no matcher but those named.
fn matches_only(rule: &Entry, allowed: &[&str]) -> bool {
    let fields = menu::FILTER.fields.iter();
    fields
        .filter(|f| f.access == Access::Matcher && !allowed.contains(&f.name))
        .all(|f| rule.get(f.name).is_none_or(<[u8]>::is_empty))
}

fn drops_invalid_only(rule: &Entry) -> bool {
    rule.get("connection-state") == Some(b"invalid")
}

/// Whether a mangle rule keeps those behind it from seeing what it matches.
fn ends_mangle(rule: &Entry) -> bool {
    matches!(rule.get("passthrough"), Some(b"false" | b"no"))
        || matches!(rule.get("action"), Some(b"accept" | b"jump" | b"return"))
}

fn accepts_icmp(rule: &Entry) -> bool {
    rule.get("action") == Some(b"accept")
        && matches!(rule.get("protocol"), Some(b"icmp" | b"icmpv6"))
        && matches_only(rule, &["protocol"])
}

fn clamps(rule: &Entry) -> bool {
    rule.get("action") == Some(b"change-mss")
        && rule.get("new-mss") == Some(b"clamp-to-pmtu")
        && matches_only(rule, &["protocol", "tcp-flags", "new-mss"])
}

/// Whether a source NAT rule could rewrite traffic from our subnets to theirs out of our interface.
fn rewrites(rule: &Entry, ours: &SubnetSet, theirs: &SubnetSet, observed: &Observed, names: &Names) -> bool {
    let rewriting = matches!(
        rule.get("action"),
        Some(b"masquerade" | b"src-nat" | b"same" | b"netmap" | b"endpoint-independent-nat" | b"jump")
    );
    rewriting
        && leaves_by(rule, observed, names)
        && could_match(rule.get("src-address"), ours)
        && could_match(rule.get("dst-address"), theirs)
}

fn leaves_by(rule: &Entry, observed: &Observed, names: &Names) -> bool {
    let interface = match rule.text("out-interface").filter(|text| !text.is_empty()) {
        None => true,
        Some(text) => match text.strip_prefix('!') {
            Some(other) => names.interfaces().any(|name| name != other),
            None => names.interfaces().any(|name| name == text),
        },
    };
    let list = match rule.text("out-interface-list").filter(|text| !text.is_empty()) {
        None => true,
        Some(text) => match text.strip_prefix('!') {
            Some(list) => !in_list(list, observed, names),
            None => in_list(&text, observed, names),
        },
    };
    interface && list
}

/// Deepest chain of lists that include lists that is followed; a deeper one counts as including us.
const MAX_INCLUDES: usize = 8;

fn in_list(list: &str, observed: &Observed, names: &Names) -> bool {
    includes_us(list, observed, names, MAX_INCLUDES)
}

/// Whether a list holds our interface, by itself or by what it includes; what it excludes is left in, when in doubt.
fn includes_us(list: &str, observed: &Observed, names: &Names, depth: usize) -> bool {
    // `static` holds every interface that was not made by the router itself.
    if depth == 0 || matches!(list, "all" | "static") || list == names.interface_list {
        return true;
    }
    let is_member = observed.rows(&menu::LIST_MEMBER).iter().any(|member| {
        member.text("list").as_deref() == Some(list)
            && names.interfaces().any(|name| member.get("interface") == Some(name.as_bytes()))
    });
    let row = observed.rows(&menu::INTERFACE_LIST).iter().find(|row| row.text("name").as_deref() == Some(list));
    let included = row.and_then(|row| row.text("include")).unwrap_or_default();
    is_member
        || included.split(',').filter(|name| !name.is_empty()).any(|name| includes_us(name, observed, names, depth - 1))
}

/// Whether an address matcher leaves room for any of the prefixes; what is not one plain prefix counts as matching.
fn could_match(matcher: Option<&[u8]>, prefixes: &SubnetSet) -> bool {
    match matcher.and_then(menu::parse_prefix) {
        Some(net) => prefixes.iter().any(|mine| overlap(mine, net)),
        None => true,
    }
}
