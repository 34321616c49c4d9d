//! The tables of a site config, and the [`Site`] they make.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::{
    Endpoint, Host, Hub, MAX_ADDRESSES, MAX_ENDPOINTS, MAX_KEEPALIVE_SECS, MAX_MTU, MAX_PROBES, MAX_SUBNETS, MIN_MTU,
    PresharedKey, PublicKey, Routing, Secret, Site, SiteConflict, SiteFault, SubnetSet, Tunnel,
};

use super::document::{Field, Keys, Section, Source};
use super::error::ConfigError;
use super::file::{FileError, Privacy};
use super::value;

/// Keepalive in seconds if none is named: what keeps the mapping of ordinary NAT alive.
/// *Source:* `wg(8)`, `PersistentKeepalive`.
pub const DEFAULT_KEEPALIVE_SECS: u16 = 25;

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Longest name of a routing table in bytes; RouterOS' own limit is not documented.
const MAX_TABLE_NAME: usize = 32;

const TOP: Keys = Keys { table: "", keys: &["version", "id", "instance", "tunnel", "hub", "subnets", "routing"] };
const TUNNEL: Keys = Keys { table: "tunnel", keys: &["protocol", "addresses", "mtu", "listen_port", "probe"] };
const HUB: Keys =
    Keys { table: "hub", keys: &["public_key", "endpoints", "preshared_key", "preshared_key_file", "keepalive_secs"] };
const SUBNETS: Keys = Keys { table: "subnets", keys: &["advertise", "reach"] };
const ROUTING: Keys = Keys { table: "routing", keys: &["distance", "table"] };
const TABLES: &[Keys] = &[TOP, TUNNEL, HUB, SUBNETS, ROUTING];

/// Turns the text of a site config into a [`Site`].
///
/// `file` is for messages only; `read_secret` is asked for the file that `hub.preshared_key_file` names.
///
/// # Errors
/// As [`super::load`].
pub fn parse(
    text: &str,
    file: &Path,
    privacy: Privacy,
    read_secret: impl FnOnce(&Path) -> Result<Secret, FileError>,
) -> Result<Site, ConfigError> {
    let source = Source { file, text, tables: TABLES };
    let document = source.parse()?;
    let top = Section::open(source, TOP, document.get_ref(), 0)?;
    top.version(VERSION)?;
    let (tunnel, probes) = tunnel(&required(&top, TUNNEL)?)?;
    let (hub, endpoints) = hub(&required(&top, HUB)?, privacy, read_secret)?;
    let subnets = required(&top, SUBNETS)?;
    let advertise = networks(&subnets, "advertise")?;
    let reach = networks(&subnets, "reach")?;
    let site = Site {
        id: value::word(&string(&top, "id", "4 to 12 characters of a-z and 0-9, chosen once: it marks the rows")?)?,
        instance: value::word(&string(&top, "instance", "the name for people, such as \"acme\"")?)?,
        tunnel,
        hub,
        advertise: set(&advertise),
        reach: set(&reach),
        routing: routing(top.section(ROUTING)?.as_ref())?,
        generation: 0,
        beside: None,
        fence: None,
    };
    check_probes(&site, &probes)?;
    site.check().map_err(|conflict| conflict_at(conflict, source, &advertise, &reach, &endpoints))?;
    Ok(site)
}

fn required<'a>(top: &Section<'a>, keys: Keys) -> Result<Section<'a>, ConfigError> {
    top.section(keys)?.ok_or_else(|| top.missing(keys.table, &format!("the table [{}] is needed", keys.table)))
}

fn string<'a>(section: &Section<'a>, key: &str, what: &str) -> Result<Field<'a, &'a str>, ConfigError> {
    section.string(key)?.ok_or_else(|| section.missing(key, what))
}

/// A list that must have an entry.
fn strings<'a>(
    section: &Section<'a>,
    key: &str,
    most: usize,
    what: &str,
) -> Result<Vec<Field<'a, &'a str>>, ConfigError> {
    match section.strings(key, most)? {
        Some(list) if !list.is_empty() => Ok(list),
        _ => Err(section.missing(key, what)),
    }
}

type Probes<'a> = Vec<Field<'a, IpAddr>>;

fn tunnel<'a>(section: &Section<'a>) -> Result<(Tunnel, Probes<'a>), ConfigError> {
    let protocol = string(section, "protocol", "write `protocol = \"wireguard\"`")?;
    if protocol.value != "wireguard" {
        return Err(
            protocol.wrong(format_args!("{:?} is not supported", protocol.value), Some("use \"wireguard\"".into()))
        );
    }
    let mut addresses: Vec<IpNet> = Vec::new();
    for field in strings(section, "addresses", MAX_ADDRESSES, "the router's address in the tunnel, with its length")? {
        let address = value::interface_address(&field)?;
        if addresses.iter().any(|other| other.addr() == address.addr()) {
            return Err(field.wrong(format_args!("{} stands here twice", address.addr()), None));
        }
        addresses.push(address);
    }
    let probes =
        strings(section, "probe", MAX_PROBES, "an address that answers pings through the tunnel, such as the hub's")?
            .iter()
            .map(|field| Ok(field.with(value::address(field)?)))
            .collect::<Result<Probes<'a>, ConfigError>>()?;
    let tunnel = Tunnel {
        addresses,
        mtu: section.integer("mtu", MIN_MTU, MAX_MTU)?.map(|field| field.value),
        listen_port: section.integer("listen_port", 1, u16::MAX)?.map(|field| field.value),
        probe: probes.iter().map(|field| field.value).collect(),
    };
    Ok((tunnel, probes))
}

type Endpoints<'a> = Vec<Field<'a, Endpoint>>;

fn hub<'a>(
    section: &Section<'a>,
    privacy: Privacy,
    read_secret: impl FnOnce(&Path) -> Result<Secret, FileError>,
) -> Result<(Hub, Endpoints<'a>), ConfigError> {
    let public_key: PublicKey = value::word(&string(section, "public_key", "the hub's WireGuard public key")?)?;
    let endpoints =
        strings(section, "endpoints", MAX_ENDPOINTS, "where the hub listens, such as \"hub.example.net:51820\"")?
            .iter()
            .map(|field| Ok(field.with(value::word(field)?)))
            .collect::<Result<Endpoints<'a>, ConfigError>>()?;
    let keepalive_secs =
        section.integer("keepalive_secs", 0, MAX_KEEPALIVE_SECS)?.map_or(DEFAULT_KEEPALIVE_SECS, |field| field.value);
    let hub = Hub {
        public_key,
        endpoints: endpoints.iter().map(|field| field.value.clone()).collect(),
        preshared_key: preshared_key(section, privacy, read_secret)?,
        keepalive: (keepalive_secs > 0).then(|| Duration::from_secs(keepalive_secs.into())),
    };
    Ok((hub, endpoints))
}

fn preshared_key(
    section: &Section<'_>,
    privacy: Privacy,
    read_secret: impl FnOnce(&Path) -> Result<Secret, FileError>,
) -> Result<Option<PresharedKey>, ConfigError> {
    match (section.string("preshared_key")?, section.string("preshared_key_file")?) {
        (None, None) => Ok(None),
        (Some(_), Some(file)) => {
            Err(file.wrong("stands beside `hub.preshared_key`", Some("keep one of the two".into())))
        }
        (Some(inline), None) => match privacy {
            Privacy::Private => value::word(&inline).map(Some),
            Privacy::Shared { mode } => Err(inline.wrong(
                format_args!("a secret in a file that others can read (mode {mode:04o})"),
                Some("chmod 600 the file, or use `preshared_key_file`".into()),
            )),
        },
        (None, Some(file)) => {
            let refused = |source| ConfigError::SecretFile { place: file.place(), key: file.key.clone(), source };
            let secret = read_secret(Path::new(file.value)).map_err(refused)?;
            let key = secret.expose().trim().parse::<PresharedKey>();
            key.map(Some).map_err(|error| file.wrong(format_args!("{}: {error}", file.value), None))
        }
    }
}

fn routing(section: Option<&Section<'_>>) -> Result<Routing, ConfigError> {
    let mut routing = Routing::default();
    let Some(section) = section else { return Ok(routing) };
    if let Some(distance) = section.integer("distance", 1, u8::MAX)? {
        routing.distance = distance.value;
    }
    if let Some(table) = section.string("table")? {
        let plain = table.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if table.value.is_empty() || table.value.len() > MAX_TABLE_NAME || !plain {
            let problem = format!("must be 1 to {MAX_TABLE_NAME} characters of a-z, A-Z, 0-9, '-', '_' and '.'");
            return Err(table.wrong(problem, None));
        }
        table.value.clone_into(&mut routing.table);
    }
    Ok(routing)
}

type Networks<'a> = Vec<Field<'a, IpNet>>;

fn networks<'a>(section: &Section<'a>, key: &str) -> Result<Networks<'a>, ConfigError> {
    let fields = section.strings(key, MAX_SUBNETS)?.unwrap_or_default();
    fields.iter().map(|field| Ok(field.with(value::network(field)?))).collect()
}

fn set(networks: &Networks<'_>) -> SubnetSet {
    networks.iter().map(|field| field.value).collect()
}

/// A probe proves the tunnel only if its way leads through it.
fn check_probes(site: &Site, probes: &Probes<'_>) -> Result<(), ConfigError> {
    for probe in probes {
        if let Err(fault) = site.check_probe(probe.value) {
            let hint = if let SiteFault::OwnProbe(_) = fault {
                "probe an address at the other end, such as the hub's tunnel address".to_owned()
            } else {
                let all = format!("probe an address in one of: {},{}", site.tunnel_networks(), site.reach);
                all.trim_end_matches(',').to_owned()
            };
            return Err(probe.wrong(fault, Some(hint)));
        }
    }
    Ok(())
}

/// Finds the value that a conflict is about.
fn conflict_at(
    conflict: SiteConflict,
    source: Source<'_>,
    advertise: &Networks<'_>,
    reach: &Networks<'_>,
    endpoints: &Endpoints<'_>,
) -> ConfigError {
    let of = |list: &Networks<'_>, prefix: IpNet| list.iter().find(|field| field.value == prefix).map(Field::place);
    let place = match &conflict {
        SiteConflict::Broad { list: "reach", prefix } => of(reach, *prefix),
        SiteConflict::Broad { prefix, .. } => of(advertise, *prefix),
        SiteConflict::AdvertiseReach { ours, .. } | SiteConflict::AdvertiseTunnel { ours, .. } => of(advertise, *ours),
        SiteConflict::EndpointInTunnel { endpoint, .. } => {
            endpoints.iter().find(|field| field.value.host == Host::Address(*endpoint)).map(Field::place)
        }
        // A file has one tunnel.
        SiteConflict::SameTunnel(_) => None,
    };
    ConfigError::Conflict { place: place.unwrap_or_else(|| source.place(0)), source: conflict }
}
