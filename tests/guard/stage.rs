//! A router whose sessions come over a way that rows make, somebody who watches it, and plans made by hand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sitepeer::domain::{Marker, SiteId};
use sitepeer::reconcile::apply::LocalLock;
use sitepeer::reconcile::converge::{Progress, Task};
use sitepeer::reconcile::decide::Decision;
use sitepeer::reconcile::guard::{GuardError, Guarded, Guarding, Reach, Timing, When, apply_guarded};
use sitepeer::reconcile::observe::{Interest, Observed, observe};
use sitepeer::reconcile::plan::{Change, Op, Plan};
use sitepeer::reconcile::preflight::Session;
use sitepeer::routeros::Client;
use sitepeer::routeros::menu::Menu;
use sitepeer::routeros::target::{ConnectError, connect};
use sitepeer::sim::{DeviceState, SessionPath, SimOptions, SimRouter, StateOptions, Through};

use crate::run::access;

/// What is promised: back within a minute.
pub const PROMISED: Duration = Duration::from_mins(1);
/// Longest wait for something that comes at once or never.
const PATIENCE: Duration = Duration::from_mins(1);
/// A person on the LAN.
pub const NEAR: &str = "192.168.88.10";
pub const SITE: &str = "k3f9q2";

pub fn site_id() -> SiteId {
    SITE.parse().unwrap()
}

/// Without a data plane: the rows alone decide who gets in.
pub async fn router(change: impl FnOnce(&mut SimOptions)) -> SimRouter {
    crate::world::router(|options| {
        options.plane = false;
        change(options);
    })
    .await
}

pub fn from_lan(router: &SimRouter, source: &str) {
    router.come_from(Some(SessionPath {
        source: source.parse().unwrap(),
        address: "192.168.88.1".parse().unwrap(),
        through: Through::Interface("bridge".into()),
    }));
}

/// Everything but what a router makes or counts by itself, with the order of rows.
///
/// Interfaces keep their row in their table of all interfaces; an entry's time of creation is that of its making.
pub fn rows(router: &SimRouter) -> BTreeMap<String, Vec<String>> {
    of_state(&router.state(StateOptions::default()))
}

fn of_state(state: &DeviceState) -> BTreeMap<String, Vec<String>> {
    let menus = [
        "/interface",
        "/interface/list",
        "/interface/list/member",
        "/interface/bridge/port",
        "/interface/wireguard/peers",
        "/ip/address",
        "/ip/dhcp-client",
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
        "/routing/table",
        "/system/script",
        "/system/scheduler",
        "/user",
        "/user/group",
    ];
    let ordered = |menu: &str| menu.contains("/firewall/") && !menu.ends_with("/address-list");
    let show = |row: &BTreeMap<String, Vec<u8>>| {
        let kept = row
            .iter()
            .filter(|(name, value)| *name != "creation-time" && !(*name == "disabled" && value.as_slice() == b"false"));
        kept.map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect::<Vec<_>>().join(" ")
    };
    let of_menu = |menu: &str| {
        let mut rows: Vec<String> = state.rows(menu).iter().map(show).collect();
        if !ordered(menu) {
            rows.sort_unstable();
        }
        (menu.to_owned(), rows)
    };
    menus.into_iter().map(of_menu).collect()
}

#[track_caller]
pub fn assert_back(before: &BTreeMap<String, Vec<String>>, router: &SimRouter, when: &str) {
    let after = rows(router);
    let differs = before.iter().filter(|(menu, rows)| after[*menu] != **rows);
    let told: Vec<String> = differs
        .map(|(menu, rows)| format!("{menu}\n- {}\n+ {}", rows.join("\n- "), after[menu].join("\n+ ")))
        .collect();
    assert!(told.is_empty(), "{when}:\n{}\nlog: {:?}", told.join("\n"), router.log());
}

/// Waits for something that comes by itself.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never came about: {what}");
        tokio::task::yield_now().await;
    }
}

pub async fn until_cut(router: &SimRouter) {
    until("the router is cut off", || !router.is_reachable()).await;
}

pub async fn client(router: &SimRouter) -> Client {
    connect(&access("admin", "", router.api_addr())).await.unwrap()
}

pub fn session() -> Session {
    Session {
        user: "admin".into(),
        local: "127.0.0.1".parse().unwrap(),
        endpoint_addresses: Vec::new(),
        now: 0,
        writes: true,
    }
}

/// A change of the row whose comment is a marker of ours, or of one with a name.
pub fn change(observed: &Observed, menu: &'static Menu, which: &str, change: impl FnOnce(Vec<u8>) -> Change) -> Op {
    let is_it = |row: &&sitepeer::reconcile::entry::Entry| {
        row.get("comment").is_some_and(|comment| comment == which.as_bytes())
            || row.get("name") == Some(which.as_bytes())
    };
    let row = observed.rows(menu).iter().find(is_it).unwrap_or_else(|| panic!("{} has no {which}", menu.path));
    let marker = Marker::of_comment(which.as_bytes());
    let marker = marker.unwrap_or_else(|| Marker::of_comment(format!("sitepeer:{SITE}:x").as_bytes()).unwrap());
    Op { menu, marker, change: change(row.id().to_vec()), reason: "test".into() }
}

/// Whether a reading shows a change.
fn is_done(op: &Op, observed: &Observed) -> bool {
    let rows = observed.rows(op.menu);
    let at = |id: &[u8]| rows.iter().position(|row| row.id() == id);
    match &op.change {
        Change::Add { comment, .. } => rows.iter().any(|row| row.get("comment") == Some(comment.as_bytes())),
        Change::Set { id, fields } => at(id).is_some_and(|at| {
            let says = |name: &str, value: &[u8]| rows[at].canonical(op.menu, name) == value;
            fields.iter().all(|field| says(field.name, field.to.as_bytes()))
        }),
        Change::Unset { id, field, .. } => at(id).is_some_and(|at| rows[at].get(field).is_none()),
        Change::Move { id, before } => at(id).map(|at| at + 1) == at(before),
        Change::Remove { id } => at(id).is_none(),
    }
}

/// What of a plan a reading does not show.
pub fn left_of(planned: &Plan, observed: &Observed) -> Plan {
    let rest = planned.ops.iter().filter(|op| !is_done(op, observed)).cloned().collect();
    Plan { ops: rest, notes: Vec::new() }
}

/// How it ended, in a line.
pub fn told(result: &Result<Guarded, GuardError>) -> String {
    match result {
        Ok(guarded) => format!("carried out, guarded: {}", guarded.client.is_some()),
        Err(error) => format!("{error:?}: {error}"),
    }
}

/// A way in again; the tunnel is no part of these plans.
pub struct Again(pub std::net::SocketAddr);

impl Reach for Again {
    async fn connect(&self) -> Result<Client, ConnectError> {
        connect(&access("admin", "", self.0)).await
    }

    async fn carries(&self, _: &Client, _: &Observed, _: &Progress, _: Duration) -> bool {
        true
    }
}

/// Carries a plan out that somebody made by hand.
pub async fn carry_out(
    router: &SimRouter,
    client: &Client,
    plan: impl Fn(&Observed) -> Plan,
    timing: Timing,
) -> Result<Guarded, GuardError> {
    let site = site_id();
    let before = observe(client, &Interest::default()).await.unwrap();
    let decide = |observed: &Observed| Ok(Decision { plan: plan(observed), warnings: Vec::new() });
    let planned = plan(&before);
    let settled = |observed: &Observed| Ok(left_of(&planned, observed));
    let task = Task { site: &site, interest: Interest::default(), decide, settled, agreed: None };
    let local = LocalLock::claim(&client.peer_addr().to_string()).unwrap();
    let reach = Again(router.api_addr());
    let guarding = Guarding { when: When::Session, session: &session(), timing, reach: &reach };
    apply_guarded(client, task, local, &before, &mut Progress::default(), |_| {}, guarding).await
}

/// Lets a run cut the router off, and a minute pass there; a run that ends before that has cut nothing.
pub async fn through_a_cut<R>(router: &SimRouter, run: impl Future<Output = R>) -> R {
    let mut run = Box::pin(run);
    tokio::select! {
        result = &mut run => return result,
        () = until_cut(router) => {}
    }
    let (result, ()) = tokio::join!(run, router.pass_time(PROMISED));
    result
}
