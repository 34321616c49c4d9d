//! Simulated routers and the hub end of all their tunnels, in a process of their own: see [`crate::crowd`].

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sitepeer::routeros::menu::{
    ADDRESS_LIST, Access, FILTER, Field, INTERFACE_LIST, IP_ADDRESS, IP_ROUTE, LIST_MEMBER, MANGLE, Menu, NAT, PEERS,
    WIREGUARD,
};
use sitepeer::sim::plane::{HubEnd, HubOptions, HubPeer};
use sitepeer::sim::{Fault, OperatorRow, SimOptions, SimRouter, StateOptions};
use sitepeer::wireguard::keys::generate_private;

use crate::crowd::{HUB, Nature, site_id, tunnel_address};
use tokio::net::TcpListener;

/// Menus in which a site has rows, in the order in which they can be made.
const COPIED: [&Menu; 10] =
    [&WIREGUARD, &INTERFACE_LIST, &LIST_MEMBER, &PEERS, &ADDRESS_LIST, &IP_ADDRESS, &IP_ROUTE, &FILTER, &MANGLE, &NAT];
/// Delay of a slow router in each direction.
const SLOW: &str = "latency=150";

type Row = BTreeMap<String, Vec<u8>>;

/// Serves routers with these numbers until standard input ends. It says the hub's key and endpoint in a line, each router's address in
/// another, and answers each line with a number in one.
pub async fn serve(numbers: Range<usize>) {
    let mut routers = Routers::start(numbers).await;
    println!("{} {}", STANDARD.encode(routers.hub.public_key()), routers.hub.endpoint());
    for router in &routers.each {
        println!("{}", router.as_ref().map_or_else(|| routers.hole.local_addr().unwrap(), SimRouter::api_addr));
    }
    let line = || std::io::stdin().lines().next().transpose().unwrap();
    while let Some(line) = tokio::task::spawn_blocking(line).await.unwrap() {
        let answer = match line.as_str() {
            "writes" => routers.each.iter().flatten().map(SimRouter::writes).sum(),
            "tell" => routers.tell_hub().await,
            "copy" => routers.copy_from_first().await,
            other => panic!("nobody says {other:?}"),
        };
        println!("{answer}");
    }
}

struct Routers {
    hub: HubEnd,
    first: usize,
    /// `None` is a black hole.
    each: Vec<Option<SimRouter>>,
    hole: TcpListener,
    /// Routers whose key the hub has.
    known: HashSet<usize>,
}

impl Routers {
    async fn start(numbers: Range<usize>) -> Self {
        let address = format!("{HUB}/16").parse().unwrap();
        let hub = HubEnd::start(HubOptions::new(generate_private().unwrap(), vec![address])).await.unwrap();
        // Connections are taken by the system, and nobody ever answers.
        let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (first, mut each) = (numbers.start, Vec::new());
        for number in numbers {
            let faults: Vec<Fault> = match Nature::of(number) {
                Nature::Dead => {
                    each.push(None);
                    continue;
                }
                Nature::Slow => vec![SLOW.parse().unwrap()],
                Nature::Healthy => Vec::new(),
            };
            let options = SimOptions { api_ssl: None, faults, foreign: false, ..SimOptions::default() };
            each.push(Some(SimRouter::start(options).await.unwrap()));
        }
        Self { hub, first, each, hole, known: HashSet::new() }
    }

    /// Gives all routers the rows that the first got from the proxy, by their own consoles: they are as the proxy would have made them.
    ///
    /// Ids of rows are those of the factory on each of them, so what our rules stand before is the same everywhere.
    async fn copy_from_first(&self) -> u64 {
        let state = self.each[0].as_ref().unwrap().state(StateOptions { ids: true, dynamic: false });
        let is_ours = |row: &&Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
        let mut copies = 0;
        for (number, router) in (self.first..).zip(&self.each).skip(1) {
            let Some(router) = router else { continue };
            let names = [(site_id(self.first), site_id(number)), (tunnel_address(self.first), tunnel_address(number))];
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
            copies += 1;
        }
        copies
    }

    /// Enters the keys that routers have made at the hub, as somebody has to; returns how many it has then.
    async fn tell_hub(&mut self) -> u64 {
        for (number, router) in (self.first..).zip(&self.each) {
            let Some(router) = router.as_ref().filter(|_| !self.known.contains(&number)) else { continue };
            let rows = router.operator("/interface/wireguard/print", &[]).await.unwrap();
            let has = |row: &OperatorRow, name: &str| {
                row.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            };
            let is_ours = |row: &&OperatorRow| has(row, "name").is_some_and(|name| name.starts_with(b"sitepeer-"));
            let Some(key) = rows.iter().find(is_ours).and_then(|row| has(row, "public-key")) else { continue };
            let public_key = STANDARD.decode(key).unwrap().try_into().unwrap();
            let allowed = vec![format!("{}/32", tunnel_address(number)).parse().unwrap()];
            self.hub.set_peer(HubPeer { public_key, preshared_key: None, allowed }).await.unwrap();
            self.known.insert(number);
        }
        self.known.len() as u64
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
