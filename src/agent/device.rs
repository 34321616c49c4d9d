//! What is told of the router: what was read anyway.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::api::{AgentApplied, AppliedNext, DeviceFacts, SiteSubnet};
use crate::domain::{PublicKey, Role, Site, clean, is_broad, unroutable};
use crate::reconcile::entry::Entry;
use crate::reconcile::generation::row_of;
use crate::reconcile::observe::Observed;
use crate::routeros::menu;

/// Longest text that is told, in characters: RouterOS' own names are no longer.
const MAX_TEXT: usize = 64;
/// Most networks that are told: nobody chooses from more.
const MAX_TOLD_SUBNETS: usize = 256;
/// The list that MikroTik's default configuration has the ways out in.
const WAN: &[u8] = b"WAN";

/// What is on the router of a revision; `None` if it does not tell the key of the tunnel that is there for good.
///
/// Of two tunnels that is the older one, whichever is in use.
#[must_use]
pub fn applied(site: &Site, revision: i64, observed: &Observed) -> Option<AgentApplied> {
    let key = |generation: u32| -> Option<PublicKey> {
        row_of(observed, &site.id, &Role::Interface, generation)?.parse("public-key")
    };
    let present = site.ends().map(|end| end.generation).min()?;
    let next = site.ends().find(|end| end.generation != present).and_then(|end| {
        let generation = end.generation;
        Some(AppliedNext { generation, public_key: key(generation)?, in_use: end.is_in_use })
    });
    Some(AgentApplied { revision, public_key: key(present)?, device: facts(observed), next })
}

/// What the router is, and the networks it could offer.
#[must_use]
pub fn facts(observed: &Observed) -> DeviceFacts {
    let resource = observed.singleton(&menu::RESOURCE);
    let text = |row: Option<&Entry>, name: &str| {
        let text = row?.text(name)?;
        let text: String = clean(&text).chars().take(MAX_TEXT).collect();
        (!text.is_empty()).then_some(text)
    };
    DeviceFacts {
        identity: text(observed.singleton(&menu::IDENTITY), "name"),
        board: text(resource, "board-name"),
        version: text(resource, "version"),
        serial: text(observed.singleton(&menu::ROUTERBOARD), "serial-number"),
        uptime_secs: resource.and_then(|row| menu::parse_duration(row.get("uptime")?)).map(|uptime| uptime.as_secs()),
        subnets: subnets(observed),
    }
}

/// The networks the router is directly in: not ours, not the ways out, and what can be routed.
fn subnets(observed: &Observed) -> Vec<SiteSubnet> {
    let mut found: BTreeMap<IpNet, String> = BTreeMap::new();
    for row in observed.rows(&menu::IP_ADDRESS).iter().chain(observed.rows(&menu::IP_ADDRESS6)) {
        let Some(address) = row.parse::<IpNet>("address") else { continue };
        let interface = row.get("actual-interface").or_else(|| row.get("interface")).unwrap_or_default();
        let is_out_of_use = row.is_true("disabled") || row.is_true("invalid") || row.marker().is_some();
        let is_host = address.prefix_len() == address.max_prefix_len();
        let cannot_be_offered = is_host || is_broad(address) || unroutable(address.addr()).is_some();
        if is_out_of_use || cannot_be_offered || leads_out(observed, interface) {
            continue;
        }
        let interface: String = clean(&String::from_utf8_lossy(interface)).chars().take(MAX_TEXT).collect();
        found.entry(address.trunc()).or_insert(interface);
    }
    let told = found.into_iter().take(MAX_TOLD_SUBNETS);
    told.map(|(subnet, interface)| SiteSubnet { subnet, interface, advertised_by: Vec::new() }).collect()
}

fn leads_out(observed: &Observed, interface: &[u8]) -> bool {
    let members = observed.rows(&menu::LIST_MEMBER).iter().filter(|row| !row.is_true("disabled"));
    members.filter(|row| row.get("list") == Some(WAN)).any(|row| row.get("interface") == Some(interface))
}
