//! What rows a site needs on a router: a pure function of the site and of the device's facts.

use std::time::Duration;

use ipnet::IpNet;

use super::fence::FENCE_NOTE;
use super::firewall::{self, Need, of_family};
use super::heal::Chosen;
use super::hex;
use super::names::Names;
use super::observe::Observed;
use crate::domain::{End, Endpoint, Hub, Marker, Role, Secret, Site};
use crate::routeros::menu::{self, Family, Menu, format_duration};

/// A row that must be there.
#[derive(Clone, Debug)]
pub struct DesiredRow {
    /// Where.
    pub menu: &'static Menu,
    /// Whose and what for.
    pub marker: Marker,
    /// What it must say; a field of the menu that is not named here is left to its default.
    pub fields: Vec<(&'static str, Value)>,
    /// The fields that make the row what its marker says: another value there is not drift but another row.
    pub identity: &'static [&'static str],
    /// The id of the foreign rule it must stand before.
    pub before: Option<Vec<u8>>,
    /// Words behind the marker, for what the router does not tell or has no field for.
    pub notes: Vec<Note>,
}

/// A word `name=value` behind a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it begins with, `=` included.
    pub name: &'static str,
    /// What follows; `None` if there must be none.
    pub value: Option<String>,
}

/// The probes, parted by commas: for a status without a site config.
pub const PROBE_NOTE: &str = "probe=";
/// The beginning of a digest of the preshared key: tells whether the key changed where the router does not show it.
///
/// 32 bits of a digest of 256 random bits tell nobody anything of the key.
pub const PSK_NOTE: &str = "psk=";
/// Bytes of that digest.
const PSK_DIGEST_BYTES: usize = 4;
/// RouterOS's own default. *Source:* the manual's WireGuard page.
const DEFAULT_MTU: u16 = 1420;
/// Keepalive of a tunnel that is not in use, where the site has none: nothing else would make it handshake.
const BESIDE_KEEPALIVE: Duration = Duration::from_secs(25);

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Shown in plans.
    Plain(String),
    /// What people wrote, in whatever encoding: shown lossily, written as it is.
    Bytes(Vec<u8>),
    /// Never shown.
    Secret(Secret),
}

impl Value {
    /// Returns the bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Plain(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
            Self::Secret(secret) => secret.expose().as_bytes(),
        }
    }
}

impl DesiredRow {
    fn new(menu: &'static Menu, marker: Marker, fields: Vec<(&'static str, Value)>) -> Self {
        Self { menu, marker, fields, identity: &[], before: None, notes: Vec::new() }
    }

    fn identified_by(mut self, identity: &'static [&'static str]) -> Self {
        self.identity = identity;
        self
    }

    /// Returns the comment of a new row.
    #[must_use]
    pub fn comment(&self) -> String {
        let notes = self.notes.iter().filter_map(|note| Some(format!(" {}{}", note.name, note.value.as_ref()?)));
        self.marker.to_string() + &notes.collect::<String>()
    }

    /// Returns the value wanted for a field, if the row says anything of it.
    #[must_use]
    pub fn wants(&self, field: &str) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }
}

fn plain(text: impl ToString) -> Value {
    Value::Plain(text.to_string())
}

/// Returns the rows that a site needs on this router, interface first.
#[must_use]
pub fn desired(site: &Site, observed: &Observed) -> Vec<DesiredRow> {
    desired_as(site, observed, &Chosen::of(site, observed))
}

/// Returns them with what healing chose in place of what the site says.
#[must_use]
pub fn desired_as(site: &Site, observed: &Observed, chosen: &Chosen) -> Vec<DesiredRow> {
    let [of_interface, of_peer] = chosen.notes(site);
    let (site, names) = (&*chosen.meant(site), Names::of(site));
    let mut rows = tunnel_rows(site, &names);
    for row in &mut rows {
        // What healing chose stands on the tunnel in use, and nowhere else.
        let is_in_use = row.marker.generation() == Some(site.generation);
        let note = match row.marker.role {
            Role::Interface => &of_interface,
            Role::Peer => &of_peer,
            _ => continue,
        };
        row.notes.push(Note { value: note.value.clone().filter(|_| is_in_use), ..note.clone() });
    }
    rows.extend(network_rows(site, &names));
    rows.extend(firewall::needs(site, observed, &names).into_iter().map(|need| rule(site, &names, need)));
    rows
}

/// The list, and the rows of each tunnel. A tunnel beside the one in use is all there, so that it is proven before anything is
/// sent into it, and takes what comes from the hub as long as it is there.
fn tunnel_rows(site: &Site, names: &Names) -> Vec<DesiredRow> {
    let list = vec![("name", plain(&names.interface_list)), ("include", plain("")), ("exclude", plain(""))];
    let list = DesiredRow::new(&menu::INTERFACE_LIST, Marker::new(&site.id, Role::InterfaceList), list);
    let fence = Note { name: FENCE_NOTE, value: site.fence.map(|number| number.to_string()) };
    let list = DesiredRow { notes: vec![fence], ..list };
    let tunnels = site.ends().zip(names.interfaces()).flat_map(|(end, name)| one_tunnel(site, names, end, name));
    std::iter::once(list).chain(tunnels).collect()
}

fn one_tunnel(site: &Site, names: &Names, end: End<'_>, name: &str) -> [DesiredRow; 3] {
    let marker = |role| Marker::of_tunnel(&site.id, role, end.generation);
    let mut interface = vec![("name", plain(name)), ("disabled", plain(false))];
    interface.push(("mtu", plain(site.tunnel.mtu.unwrap_or(DEFAULT_MTU))));
    interface.extend(end.listen_port.map(|port| ("listen-port", plain(port))));
    let member = vec![("list", plain(&names.interface_list)), ("interface", plain(name)), ("disabled", plain(false))];
    let peer = DesiredRow::new(&menu::PEERS, marker(Role::Peer), peer(site, end, name)).identified_by(&["interface"]);
    [
        DesiredRow::new(&menu::WIREGUARD, marker(Role::Interface), interface),
        DesiredRow::new(&menu::LIST_MEMBER, marker(Role::ListMember), member),
        DesiredRow { notes: notes(site, end.hub), ..peer },
    ]
}

fn notes(site: &Site, hub: &Hub) -> Vec<Note> {
    let probes: Vec<String> = site.tunnel.probe.iter().map(ToString::to_string).collect();
    let digest = hub.preshared_key.as_ref().map(|key| {
        let digest = ring::digest::digest(&ring::digest::SHA256, key.expose_base64().as_bytes());
        hex(digest.as_ref().get(..PSK_DIGEST_BYTES).unwrap_or_default())
    });
    vec![Note { name: PROBE_NOTE, value: Some(probes.join(",")) }, Note { name: PSK_NOTE, value: digest }]
}

fn peer(site: &Site, end: End<'_>, interface: &str) -> Vec<(&'static str, Value)> {
    let (host, port) = match end.hub.endpoints.first() {
        Some(Endpoint { host, port }) => (host.to_string(), port.to_string()),
        None => (String::new(), "0".to_owned()),
    };
    let keepalive = end.hub.keepalive.or((!end.is_in_use).then_some(BESIDE_KEEPALIVE));
    let preshared_key = end.hub.preshared_key.as_ref().map(|key| key.expose_base64().to_string()).unwrap_or_default();
    vec![
        ("interface", plain(interface)),
        ("public-key", plain(end.hub.public_key)),
        ("endpoint-address", plain(host)),
        ("endpoint-port", plain(port)),
        ("allowed-address", plain(site.allowed())),
        ("persistent-keepalive", plain(format_duration(keepalive.unwrap_or_default()))),
        ("responder", plain(false)),
        ("disabled", plain(false)),
        ("preshared-key", Value::Secret(Secret::new(preshared_key))),
    ]
}

fn network_rows(site: &Site, names: &Names) -> Vec<DesiredRow> {
    let keyed = |role, key: IpNet| Marker::keyed(&site.id, role, key);
    let mut rows = Vec::new();
    for (role, list, set) in [(Role::Ours, &names.ours, &site.advertise), (Role::Theirs, &names.theirs, &site.reach)] {
        rows.extend(set.iter().map(|net| {
            let menu = by_family(net, &menu::ADDRESS_LIST, &menu::ADDRESS_LIST6);
            let fields = vec![("list", plain(list)), ("address", plain(net)), ("disabled", plain(false))];
            DesiredRow::new(menu, keyed(role.clone(), net), fields).identified_by(&["address"])
        }));
    }
    rows.extend(site.tunnel.addresses.iter().map(|address| {
        let menu = by_family(*address, &menu::IP_ADDRESS, &menu::IP_ADDRESS6);
        let mut fields =
            vec![("address", plain(address)), ("interface", plain(&names.interface)), ("disabled", plain(false))];
        match menu.family {
            Family::V6 => fields.push(("advertise", plain(false))),
            _ => fields.push(("network", plain(address.network()))),
        }
        DesiredRow::new(menu, keyed(Role::Address, *address), fields).identified_by(&["address"])
    }));
    rows.extend(site.routed().map(|net| {
        let fields = vec![
            ("dst-address", plain(net)),
            ("gateway", plain(&names.interface)),
            ("distance", plain(site.routing.distance)),
            ("routing-table", plain(&site.routing.table)),
            ("disabled", plain(false)),
        ];
        let menu = by_family(net, &menu::IP_ROUTE, &menu::IP_ROUTE6);
        DesiredRow::new(menu, keyed(Role::Route, net), fields).identified_by(&["dst-address"])
    }));
    rows
}

fn by_family(net: IpNet, v4: &'static Menu, v6: &'static Menu) -> &'static Menu {
    match net {
        IpNet::V4(_) => v4,
        IpNet::V6(_) => v6,
    }
}

fn rule(site: &Site, names: &Names, need: Need) -> DesiredRow {
    let text = |field, value: &str| (field, plain(value));
    let icmp = if need.menu.family == Family::V6 { "icmpv6" } else { "icmp" };
    let mut fields = match need.role {
        Role::ForwardIn => vec![
            text("chain", "forward"),
            text("action", "accept"),
            text("in-interface-list", &names.interface_list),
            text("src-address-list", &names.theirs),
            text("dst-address-list", &names.ours),
        ],
        Role::ForwardOut => vec![
            text("chain", "forward"),
            text("action", "accept"),
            text("out-interface-list", &names.interface_list),
            text("src-address-list", &names.ours),
            text("dst-address-list", &names.theirs),
        ],
        Role::InputIcmp => vec![
            text("chain", "input"),
            text("action", "accept"),
            text("protocol", icmp),
            text("in-interface-list", &names.interface_list),
            text("src-address-list", &names.theirs),
        ],
        Role::InputPort => vec![
            text("chain", "input"),
            text("action", "accept"),
            text("protocol", "udp"),
            ("dst-port", plain(need.port.map(|(_, port)| port).unwrap_or_default())),
        ],
        Role::NoNat => vec![
            text("chain", "srcnat"),
            text("action", "accept"),
            text("out-interface-list", &names.interface_list),
            text("src-address-list", &names.ours),
            text("dst-address-list", &names.theirs),
        ],
        _ => vec![
            text("chain", "forward"),
            text("action", "change-mss"),
            text("new-mss", "clamp-to-pmtu"),
            text("passthrough", "true"),
            text("protocol", "tcp"),
            text("tcp-flags", "syn"),
            text("out-interface-list", &names.interface_list),
        ],
    };
    fields.push(("disabled", plain(false)));
    let marker = Marker::of_tunnel(&site.id, need.role, need.port.map_or(0, |(generation, _)| generation));
    let marker = if need.menu.family == Family::V6 { marker.twin() } else { marker };
    DesiredRow { before: need.before, ..DesiredRow::new(need.menu, marker, fields).identified_by(&["chain"]) }
}

/// Returns the rows for a router that nobody can look at: with every firewall row, for a script to place.
#[must_use]
pub fn desired_unseen(site: &Site) -> Vec<DesiredRow> {
    let names = Names::of(site);
    let mut rows = tunnel_rows(site, &names);
    rows.extend(network_rows(site, &names));
    for (family, filter, mangle) in
        [(Family::V4, &menu::FILTER, &menu::MANGLE), (Family::V6, &menu::FILTER6, &menu::MANGLE6)]
    {
        let both = !of_family(&site.advertise, family).is_empty() && !of_family(&site.reach, family).is_empty();
        let mut needs = Vec::new();
        if both {
            let roles = [(Role::ForwardIn, filter), (Role::ForwardOut, filter), (Role::Mss, mangle)];
            needs.extend(roles.map(|(role, menu)| Need { role, menu, before: None, port: None }));
        }
        let ports = site.ends().filter(|_| family == Family::V4).filter_map(|end| end.input_port());
        needs.extend(ports.map(|port| Need { role: Role::InputPort, menu: filter, before: None, port: Some(port) }));
        rows.extend(needs.into_iter().map(|need| rule(site, &names, need)));
    }
    rows
}
