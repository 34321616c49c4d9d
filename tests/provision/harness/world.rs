//! A hub on loopback and routers around it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use sitepeer::cli::args::{self, Subject};
use sitepeer::domain::Secret;
use sitepeer::routeros::target::Access;
use sitepeer::sim::plane::{HubEnd, HubOptions};
use sitepeer::sim::{DeviceState, Fault, SimOptions, SimRouter, SimUser, StateOptions};
use sitepeer::wireguard::keys;

use crate::run::{self, Run, access, provision_of};
use crate::site::SiteText;

/// Long enough for a handshake that is tried again three times.
pub const LONG_PROOF: Duration = Duration::from_secs(20);

/// Long enough for a few looks where no proof is to come.
pub const SHORT_PROOF: Duration = Duration::from_millis(1500);

pub type Row = BTreeMap<String, Vec<u8>>;

/// A user who may do all that is needed, and not read secrets.
pub const INSTALLER: &str = "installer";

pub struct World {
    pub hub: HubEnd,
    pub router: SimRouter,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut SimOptions)) -> Self {
        Self { hub: hub().await, router: router(change).await }
    }

    pub async fn faulty(faults: &[&str]) -> Self {
        let faults: Vec<Fault> = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        Self::start_with(|options| options.faults = faults).await
    }

    pub fn site(&self) -> SiteText {
        SiteText::a(&self.hub)
    }

    pub fn access(&self) -> Access {
        access("admin", "", self.router.api_addr())
    }

    /// Provisions, as a person does who enters the router's key at the hub as soon as it is shown.
    pub async fn provision(&self, site: &SiteText) -> Run {
        self.provision_as(site, |_| {}).await
    }

    pub async fn provision_as(&self, site: &SiteText, change: impl FnOnce(&mut args::Provision)) -> Run {
        provision_on(&self.router, &self.hub, site, change).await
    }

    /// Provisions at a hub that nobody tells the router's key, and which need not answer.
    pub async fn apply_only(&self, site: &SiteText) -> Run {
        let mut command = provision_of(self.access(), site.load());
        command.proof_timeout = Duration::ZERO;
        run::provision(command, async |_| {}).await
    }

    pub async fn plan(&self, site: &SiteText) -> Run {
        run::plan(args::Plan { access: self.access(), source: run::from_file(site.load()) }).await
    }

    pub async fn status(&self, subject: Subject) -> Run {
        run::status(args::Status { access: self.access(), subject, hub: None }).await
    }

    pub async fn remove(&self, subject: Subject) -> Run {
        run::remove(self.access(), subject).await
    }

    /// The configuration, row by row, without ids, counters and dynamic rows.
    pub fn state(&self) -> DeviceState {
        self.router.state(StateOptions::default())
    }

    /// The same with ids: rows that were neither removed nor made anew.
    pub fn state_with_ids(&self) -> DeviceState {
        self.router.state(StateOptions { ids: true, dynamic: false })
    }

    /// Runs a command at the router's own console.
    pub async fn operator(&self, path: &str, attrs: &[(&str, &str)]) -> Vec<sitepeer::sim::OperatorRow> {
        let attrs: Vec<(&str, &[u8])> = attrs.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        self.router.operator(path, &attrs).await.unwrap_or_else(|trap| panic!("{path}: {trap:?}"))
    }

    /// The id of the only row of a menu whose field begins with a text.
    pub fn id_of(&self, menu: &str, field: &str, begins: &str) -> String {
        let state = self.state_with_ids();
        let fits = |row: &&Row| row.get(field).is_some_and(|value| value.starts_with(begins.as_bytes()));
        let found: Vec<_> = state.rows(menu).iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{menu} {field}={begins}: {found:?}");
        String::from_utf8(found[0][".id"].clone()).unwrap()
    }
}

pub async fn provision_on(
    router: &SimRouter,
    hub: &HubEnd,
    site: &SiteText,
    change: impl FnOnce(&mut args::Provision),
) -> Run {
    let mut command = provision_of(access("admin", "", router.api_addr()), site.load());
    change(&mut command);
    run::provision(command, async |event| {
        if event["event"] == "public_key" {
            hub.set_peer(site.hub_peer(event["public_key"].as_str().unwrap())).await.unwrap();
        }
    })
    .await
}

pub async fn hub() -> HubEnd {
    let addresses = vec!["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()];
    HubEnd::start(HubOptions::new(keys::generate_private().unwrap(), addresses)).await.unwrap()
}

pub async fn router(change: impl FnOnce(&mut SimOptions)) -> SimRouter {
    let mut options = SimOptions {
        api_ssl: None,
        lan_hosts: vec![ip("192.168.88.10")],
        users: vec![SimUser {
            name: INSTALLER.into(),
            password: Secret::new("secret".into()),
            group: "installers".into(),
        }],
        groups: vec![("installers".into(), "read,write,test,api".into())],
        ..SimOptions::default()
    };
    change(&mut options);
    SimRouter::start(options).await.unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Menus in which we have rows, or others have some that we could harm.
const MENUS: [&str; 20] = [
    "/interface",
    "/interface/list",
    "/interface/list/member",
    "/interface/wireguard/peers",
    "/ip/address",
    "/ip/dhcp-client",
    "/ip/dns",
    "/ip/firewall/address-list",
    "/ip/firewall/filter",
    "/ip/firewall/mangle",
    "/ip/firewall/nat",
    "/ip/route",
    "/ip/service",
    "/ipv6/address",
    "/ipv6/firewall/address-list",
    "/ipv6/firewall/filter",
    "/ipv6/firewall/mangle",
    "/ipv6/firewall/nat",
    "/ipv6/route",
    "/user",
];

/// Menus whose order means something.
const ORDERED: [&str; 6] = [
    "/ip/firewall/filter",
    "/ip/firewall/mangle",
    "/ip/firewall/nat",
    "/ipv6/firewall/filter",
    "/ipv6/firewall/mangle",
    "/ipv6/firewall/nat",
];

/// Rows by menu, each as text, in order where that means something.
pub type Rows = BTreeMap<&'static str, Vec<String>>;

fn rows(state: &DeviceState, show: impl Fn(&Row) -> Option<String>) -> Rows {
    let of_menu = |menu: &'static str| {
        let mut rows: Vec<String> = state.rows(menu).iter().filter_map(&show).collect();
        if !ORDERED.contains(&menu) {
            rows.sort_unstable();
        }
        (menu, rows)
    };
    MENUS.into_iter().map(of_menu).collect()
}

fn show(row: &Row, without: &[&str]) -> String {
    // A row that was disabled once may say that it is not.
    let says_nothing = |name: &str, value: &[u8]| name == "disabled" && value == b"false";
    let kept = row.iter().filter(|(name, value)| !without.contains(&name.as_str()) && !says_nothing(name, value));
    kept.map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect::<Vec<_>>().join(" ")
}

/// All rows, without what differs between any two routers.
pub fn shape(world: &World) -> Rows {
    shape_of(&world.state())
}

/// The same of a router's state.
pub fn shape_of(state: &DeviceState) -> Rows {
    const OF_ITS_OWN: [&str; 5] = ["private-key", "public-key", "endpoint-port", "creation-time", "mac-address"];
    rows(state, |row| Some(show(row, &OF_ITS_OWN)))
}

/// All rows of one router with their ids, to be compared with the same router later.
pub fn with_ids(world: &World) -> Rows {
    rows(&world.state_with_ids(), |row| Some(show(row, &[])))
}

/// The rows that are not ours, with their ids.
pub fn foreign(world: &World) -> Rows {
    let is_ours = |row: &Row| row.get("comment").is_some_and(|comment| comment.starts_with(b"sitepeer:"));
    rows(&world.state_with_ids(), |row| (!is_ours(row)).then(|| show(row, &[])))
}

/// States or rows that can be compared.
pub trait Compare: PartialEq {
    fn differences(&self, other: &Self) -> Vec<String>;
}

impl Compare for DeviceState {
    fn differences(&self, other: &Self) -> Vec<String> {
        self.difference(other)
    }
}

impl Compare for Rows {
    fn differences(&self, other: &Self) -> Vec<String> {
        let lines = self.iter().filter(|(menu, rows)| other[*menu] != **rows);
        lines.map(|(menu, rows)| format!("{menu}\n- {}\n+ {}", rows.join("\n- "), other[menu].join("\n+ "))).collect()
    }
}

#[track_caller]
pub fn assert_same<T: Compare>(before: &T, after: &T, when: &str) {
    assert!(before == after, "{when}:\n{}", before.differences(after).join("\n"));
}
