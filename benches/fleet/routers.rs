//! Simulated routers, and the hub end of all their tunnels.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sitepeer::routeros::menu::{
    ADDRESS_LIST, Access, FILTER, Field, INTERFACE_LIST, IP_ADDRESS, IP_ROUTE, LIST_MEMBER, MANGLE, Menu, NAT, PEERS,
    WIREGUARD,
};
use sitepeer::sim::plane::{HubEnd, HubOptions, HubPeer};
use sitepeer::sim::{Fault, OperatorRow, SimOptions, SimRouter, StateOptions};
use sitepeer::wireguard::keys::generate_private;
use tokio::net::TcpListener;

/// Where tunnel addresses come from.
const NETWORK: &str = "10.64.0.0/16";
const HUB: &str = "10.64.0.1";
/// Menus in which a site has rows, in the order in which they can be made.
const COPIED: [&Menu; 10] =
    [&WIREGUARD, &INTERFACE_LIST, &LIST_MEMBER, &PEERS, &ADDRESS_LIST, &IP_ADDRESS, &IP_ROUTE, &FILTER, &MANGLE, &NAT];
/// Delay of a slow router in each direction.
const SLOW: &str = "latency=150";

type Row = BTreeMap<String, Vec<u8>>;

pub struct Routers {
    hub: HubEnd,
    /// `None` is a black hole.
    each: Vec<Option<SimRouter>>,
    hole: TcpListener,
    one_odd: usize,
    /// Routers whose key the hub has.
    known: Mutex<HashSet<usize>>,
}

impl Routers {
    pub async fn start(count: usize, one_odd: usize) -> Self {
        let address = format!("{HUB}/16").parse().unwrap();
        let hub = HubEnd::start(HubOptions::new(generate_private().unwrap(), vec![address])).await.unwrap();
        // Connections are taken by the system, and nobody ever answers.
        let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut routers = Vec::new();
        for number in 0..count {
            let faults: Vec<Fault> = match number % one_odd {
                1 => {
                    routers.push(None);
                    continue;
                }
                2 => vec![SLOW.parse().unwrap()],
                _ => Vec::new(),
            };
            let options = SimOptions { api_ssl: None, faults, foreign: false, ..SimOptions::default() };
            routers.push(Some(SimRouter::start(options).await.unwrap()));
        }
        Self { hub, each: routers, hole, one_odd, known: Mutex::default() }
    }

    pub fn count(&self) -> usize {
        self.each.len()
    }

    pub fn living(&self) -> usize {
        self.each.iter().flatten().count()
    }

    pub fn slow(&self) -> usize {
        (0..self.count()).filter(|number| number % self.one_odd == 2).count()
    }

    /// Neither a black hole nor slow.
    pub fn is_healthy(&self, number: usize) -> bool {
        !matches!(number % self.one_odd, 1 | 2)
    }

    pub fn is_living(&self, number: usize) -> bool {
        self.each[number].is_some()
    }

    pub fn address(&self, number: usize) -> SocketAddr {
        self.each[number].as_ref().map_or_else(|| self.hole.local_addr().unwrap(), SimRouter::api_addr)
    }

    /// Writes to all routers.
    pub fn writes(&self) -> u64 {
        self.each.iter().flatten().map(SimRouter::writes).sum()
    }

    /// A site config as a person writes it.
    pub fn site(&self, number: usize) -> String {
        let (key, endpoint) = (STANDARD.encode(self.hub.public_key()), self.hub.endpoint());
        format!(
            "version = 1\nid = \"{}\"\ninstance = \"acme\"\n[tunnel]\nprotocol = \"wireguard\"\naddresses = [\"{}/16\"]\n\
             probe = [\"{HUB}\"]\n[hub]\npublic_key = \"{key}\"\nendpoints = [\"{endpoint}\"]\n[subnets]\n\
             advertise = [\"192.168.88.0/24\"]\nreach = [\"{NETWORK}\"]\n",
            site_id(number),
            tunnel_address(number)
        )
    }

    /// Gives all routers the rows that one got from the proxy, by their own consoles: they are as the proxy would have made them.
    ///
    /// Ids of rows are those of the factory on each of them, so what our rules stand before is the same everywhere.
    pub async fn copy_from(&self, model: usize) {
        let state = self.each[model].as_ref().unwrap().state(StateOptions { ids: true, dynamic: false });
        let is_ours = |row: &&Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
        let others = self.each.iter().enumerate().filter(|(number, _)| *number != model);
        for (number, router) in others.filter_map(|(number, router)| Some((number, router.as_ref()?))) {
            let names = [(site_id(model), site_id(number)), (tunnel_address(model), tunnel_address(number))];
            for menu in COPIED {
                // The simulator has all interfaces in one table.
                let rows = state.rows(if menu == &WIREGUARD { "/interface" } else { menu.path });
                for (place, row) in rows.iter().enumerate().filter(|(_, row)| is_ours(row)) {
                    let mut attrs = copied(menu, row, &names);
                    let follows = rows[place..].iter().find(|row| !is_ours(row)).filter(|_| menu.ordered);
                    attrs.extend(follows.map(|row| ("place-before", row[".id"].clone())));
                    let attrs: Vec<(&str, &[u8])> =
                        attrs.iter().map(|(name, value)| (*name, value.as_slice())).collect();
                    let added = router.operator(&format!("{}/add", menu.path), &attrs).await;
                    added.unwrap_or_else(|trap| panic!("{}: {trap:?}: {attrs:?}", menu.path));
                }
            }
        }
    }

    /// Enters the keys that routers have made at the hub, as somebody has to; returns how many.
    pub async fn tell_hub(&self) -> usize {
        let mut told = 0;
        for (number, router) in self.each.iter().enumerate() {
            let Some(router) = router else { continue };
            if self.known.lock().unwrap().contains(&number) {
                continue;
            }
            let rows = router.operator("/interface/wireguard/print", &[]).await.unwrap();
            let has = |row: &OperatorRow, name: &str| {
                row.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            };
            let is_ours = |row: &&OperatorRow| has(row, "name").is_some_and(|name| name.starts_with(b"sitepeer-"));
            let Some(key) = rows.iter().find(is_ours).and_then(|row| has(row, "public-key")) else { continue };
            let public_key = STANDARD.decode(key).unwrap().try_into().unwrap();
            let allowed = vec![format!("{}/32", tunnel_address(number)).parse().unwrap()];
            self.hub.set_peer(HubPeer { public_key, preshared_key: None, allowed }).await.unwrap();
            self.known.lock().unwrap().insert(number);
            told += 1;
        }
        told
    }
}

/// What a row is made with on another router.
fn copied(menu: &'static Menu, row: &Row, names: &[(String, String); 2]) -> Vec<(&'static str, Vec<u8>)> {
    // The router chooses its port by itself.
    let is_set =
        |field: &&Field| matches!(field.access, Access::Config | Access::Matcher) && field.name != "listen-port";
    let fields = menu.fields.iter().filter(is_set);
    let with = |text: &str| names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let value = |name| row.get(name).map(|value| with(std::str::from_utf8(value).unwrap()).into_bytes());
    fields.filter_map(|field| Some((field.name, value(field.name)?))).collect()
}

fn site_id(number: usize) -> String {
    format!("site{number:05}")
}

fn tunnel_address(number: usize) -> String {
    format!("10.64.{}.{}", 1 + number / 250, 1 + number % 250)
}
