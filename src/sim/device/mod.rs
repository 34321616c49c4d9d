//! The device: its rows, and what each command does to them.
//!
//! Pure but for the clock and random keys: no sockets and no tasks here. A session hands in a [`Request`] and gets an
//! [`Answer`]; the data plane's facts are put into [`Device::live`] before a print.

mod clock;
mod command;
mod complete;
mod derive;
mod factory;
mod forwarding;
mod log;
mod policy;
mod reach;
mod refusal;
mod rows;
mod rules;
mod safe_mode;
mod schedule;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::broadcast;

pub(crate) use clock::Clock;
pub(crate) use command::{Answer, PingSpec, Request};
pub(crate) use policy::{Viewer, parse_policies};
pub(crate) use reach::Gate;
pub use refusal::Trap;
pub(crate) use refusal::{Refusal, Texts};
pub use rows::{DeviceState, StateOptions};
pub(crate) use rows::{Item, Table, View, Wanted};
pub(crate) use rules::{Rules, rules_of};

use super::options::SimOptions;
use super::schema::{Schema, SchemaError};

/// Changes a `listen` can be behind before it loses some.
const CHANGE_BACKLOG: usize = 4096;

/// What the data plane knows and rows show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// By the id of the interface row.
    pub(crate) running: HashMap<u32, bool>,
    /// By the id of the peer row.
    pub(crate) peers: HashMap<u32, LivePeer>,
}

/// What the data plane knows of one WireGuard peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LivePeer {
    pub(crate) rx: u64,
    pub(crate) tx: u64,
    pub(crate) handshake_age: Option<Duration>,
    pub(crate) endpoint: Option<SocketAddr>,
}

/// A row that came, changed or went, for `listen`.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) table: &'static str,
    pub(crate) id: u32,
    pub(crate) gone: bool,
}

/// Someone who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct LoggedIn {
    pub(crate) id: u32,
    pub(crate) user: String,
    pub(crate) group: String,
    pub(crate) via: &'static str,
    pub(crate) when: String,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// The simulated device.
pub(crate) struct Device {
    pub(crate) options: SimOptions,
    pub(crate) schema: Schema,
    pub(crate) texts: Texts,
    pub(crate) clock: Clock,
    pub(crate) live: Live,
    pub(crate) sessions: Vec<LoggedIn>,
    tables: BTreeMap<&'static str, Table>,
    changes: broadcast::Sender<Change>,
    next_session: u32,
    /// Writing commands executed since the start.
    pub(crate) writes: u64,
    /// How often the sessions of a peer were dropped by a `set`: the plane takes another number for another peer.
    pub(crate) resets: HashMap<u32, u32>,
    /// Peers whose endpoint is to be looked up again, though it may be the same.
    pub(crate) resolve_again: Vec<u32>,
    /// When an entry of the scheduler runs next, by its id.
    timers: HashMap<u32, Instant>,
    /// How deep in scripts that run scripts.
    script_depth: usize,
    /// Where sessions come from; they are all let in if `None`.
    pub(crate) path: Option<super::options::SessionPath>,
    /// What scripts and the scheduler had to say.
    pub(crate) log: Vec<String>,
    safe_mode: safe_mode::SafeMode,
    /// What `/log` shows.
    journal: log::Log,
}

impl Device {
    /// Makes a device with its factory rows.
    ///
    /// # Errors
    /// [`SchemaError`] if the data built into the program is malformed.
    pub(crate) fn new(options: SimOptions) -> Result<Self, SchemaError> {
        let mut schema = Schema::of_version(&options.version)?;
        if options.version.major() < 7 {
            schema.without(&["/interface/wireguard", "/routing/table"]);
        } else if !options.wireguard {
            schema.without(&["/interface/wireguard"]);
        }
        let old_dates = options.version < crate::domain::RouterOsVersion::new(7, 10, 0);
        let (changes, _) = broadcast::channel(CHANGE_BACKLOG);
        let mut device = Self {
            schema,
            texts: Texts::load()?,
            clock: Clock::new(old_dates),
            live: Live::default(),
            sessions: Vec::new(),
            tables: BTreeMap::new(),
            changes,
            next_session: 1,
            writes: 0,
            resets: HashMap::new(),
            resolve_again: Vec::new(),
            timers: HashMap::new(),
            script_depth: 0,
            path: None,
            log: Vec::new(),
            safe_mode: safe_mode::SafeMode::default(),
            journal: log::Log::default(),
            options,
        };
        factory::fill(&mut device);
        device.settle();
        Ok(device)
    }

    pub(crate) fn table(&self, name: &str) -> &[Item] {
        self.tables.get(name).map(Table::items).unwrap_or_default()
    }

    pub(crate) fn table_mut(&mut self, name: &'static str) -> &mut Table {
        self.tables.entry(name).or_insert_with(|| Table::new(1))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn announce(&self, table: &'static str, id: u32, gone: bool) {
        // Nobody listening is the usual case, and no error.
        drop(self.changes.send(Change { table, id, gone }));
    }

    /// Enters a session into `/user/active` and returns its number.
    pub(crate) fn log_in(&mut self, user: &str, via: &'static str, local: SocketAddr, remote: SocketAddr) -> u32 {
        let id = self.next_session;
        self.next_session += 1;
        let group = self.user(user).and_then(|i| i.fields.text("group")).unwrap_or("full").to_owned();
        let when = self.clock.stamp();
        self.log_account(user, &format!("in from {} via {}", remote.ip(), way(via)));
        self.sessions.push(LoggedIn { id, user: user.to_owned(), group, via, when, local, remote });
        id
    }

    pub(crate) fn log_out(&mut self, id: u32) {
        let gone: Vec<(String, &str)> =
            self.sessions.iter().filter(|s| s.id == id).map(|s| (s.user.clone(), way(s.via))).collect();
        self.sessions.retain(|s| s.id != id);
        self.end_of_session(id);
        for (user, via) in gone {
            self.log_account(&user, &format!("out via {via}"));
        }
    }

    pub(crate) fn user(&self, name: &str) -> Option<&Item> {
        self.table("/user").iter().find(|item| item.fields.is("name", name) && item.is_enabled())
    }

    /// What a user may do, by the policies of their group.
    pub(crate) fn viewer(&self, user: &str) -> Viewer {
        let group = self.user(user).and_then(|item| item.fields.text("group"));
        let policies = group
            .and_then(|group| self.table("/user/group").iter().find(|item| item.fields.is("name", group)))
            .and_then(|item| item.fields.text("policy"))
            .map(parse_policies)
            .unwrap_or_default();
        Viewer { user: user.to_owned(), policies, session: None, from: user.to_owned() }
    }

    /// Tells whether a service is on, and takes connections from an address.
    pub(crate) fn serves(&self, service: &str, remote: IpAddr) -> bool {
        let Some(row) = self.table("/ip/service").iter().find(|item| item.fields.is("name", service)) else {
            return false;
        };
        let from = row.fields.text("available-from").or(row.fields.text("address")).unwrap_or_default();
        let within = |part: &str| {
            part.parse::<IpNet>().is_ok_and(|net| net.contains(&remote)) || part.parse::<IpAddr>() == Ok(remote)
        };
        row.is_enabled() && (from.is_empty() || from.split(',').any(within))
    }

    /// The limit that `/ip/service` sets for a service.
    pub(crate) fn max_sessions(&self, service: &str) -> usize {
        let row = self.table("/ip/service").iter().find(|item| item.fields.is("name", service));
        row.and_then(|item| item.fields.text("max-sessions")).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX)
    }

    /// Starts anew as after a power cut: configuration stays, everything else is lost.
    pub(crate) fn reboot(&mut self) {
        self.reboot_safe_mode();
        self.sessions.clear();
        self.live = Live::default();
        self.clock.reboot();
        for name in ["/ip/firewall/address-list", "/ipv6/firewall/address-list"] {
            self.table_mut(name).retain(|item| item.expires.is_none());
        }
        self.log.clear();
        self.restart_log();
        self.restart_timers();
        self.settle();
    }
}

/// What `/user/active` and the log call the service that a session came by.
pub(crate) fn way(via: &str) -> &str {
    if via.starts_with("api") { "api" } else { via }
}
