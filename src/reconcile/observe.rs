//! Reads a router: every menu we need, in one round trip.
//!
//! All prints are sent at once and read as they come; of the menus that can be huge only the rows that matter are
//! kept. A print that does not end with `!done` is an error, never a short list. Nothing here writes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::future::try_join_all;
use ipnet::IpNet;

use super::entry::Entry;
use super::names::NAME_PREFIX;
use crate::domain::shown;
use crate::domain::{Marker, RouterOsVersion, Site, SiteId, SubnetSet};
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::{CallError, Refusal};
use crate::routeros::menu::{self, Menu};
use crate::routeros::row::Row;

/// Most rows kept of one menu: a router with more interfaces, rules or peers than this is not one we know how to judge.
const MAX_KEPT_ROWS: usize = 50_000;
/// Most rows looked at of one menu: twice the full routing table of the Internet.
const MAX_SEEN_ROWS: usize = 2_000_000;
/// Longest time a whole reading may take: a full table over a slow link. One that trickles for ever ends here.
const READ_DEADLINE: Duration = Duration::from_mins(2);

/// Why a router could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A print did not end well.
    #[error("reading {path}")]
    Call {
        /// The menu.
        path: &'static str,
        /// What came instead of `!done`.
        source: CallError,
    },
    /// More rows than are believed.
    #[error("{path} has more than {limit} rows that matter")]
    TooManyRows {
        /// The menu.
        path: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Rows that cannot be told apart: a write by such an id could hit another row.
    #[error("{path} has a row whose .id is {id:?}: missing, used twice, or no id at all")]
    BadId {
        /// The menu.
        path: &'static str,
        /// The id, fit to be shown.
        id: String,
    },
    /// The whole reading took too long.
    #[error("the router was not read within {} s", READ_DEADLINE.as_secs())]
    Deadline,
}

impl ReadError {
    /// Returns the router's own refusal, if that is what it was.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call { source, .. } => source.refusal(),
            _ => None,
        }
    }
}

/// Menus that every router has on which a tunnel can be made.
const REQUIRED: [&Menu; 10] = [
    &menu::RESOURCE,
    &menu::INTERFACE,
    &menu::INTERFACE_LIST,
    &menu::LIST_MEMBER,
    &menu::IP_ADDRESS,
    &menu::IP_ROUTE,
    &menu::FILTER,
    &menu::NAT,
    &menu::MANGLE,
    &menu::ADDRESS_LIST,
];

/// Menus that may be missing, by version or package, or closed to this user.
const OPTIONAL: [&Menu; 16] = [
    &menu::WIREGUARD,
    &menu::PEERS,
    &menu::IDENTITY,
    &menu::ROUTERBOARD,
    &menu::CLOCK,
    &menu::USER,
    &menu::USER_GROUP,
    &menu::USER_ACTIVE,
    &menu::SERVICE,
    &menu::ROUTING_TABLE,
    &menu::IP_ADDRESS6,
    &menu::IP_ROUTE6,
    &menu::FILTER6,
    &menu::NAT6,
    &menu::MANGLE6,
    &menu::ADDRESS_LIST6,
];

/// Menus in which a guard can stand: their rows are no part of a plan.
const OF_GUARDS: [&Menu; 2] = [&menu::SCRIPT, &menu::SCHEDULER];

/// What to look for beside our own rows.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Routes and addresses that share an address with these are kept.
    pub prefixes: SubnetSet,
    /// Whether the preshared key must be read to be compared.
    pub preshared_key: bool,
}

impl Interest {
    /// Returns what provisioning a site has to know of its router.
    #[must_use]
    pub fn of(site: &Site) -> Self {
        let prefixes = site.reach.iter().chain(site.advertise.iter()).chain(site.tunnel_networks().iter()).collect();
        Self { prefixes, preshared_key: site.ends().any(|end| end.hub.preshared_key.is_some()) }
    }
}

/// What a router had, at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    tables: BTreeMap<&'static str, Table>,
}

/// What came of one menu's print.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Table {
    Rows(Vec<Entry>),
    /// The router has no such menu, in its own words.
    Missing(String),
    /// This user may not read it, in the router's own words.
    Closed(String),
}

/// What a menu's print came to, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread<'a> {
    /// The router has no such menu.
    Missing(&'a str),
    /// This user may not read it.
    Closed(&'a str),
}

impl Observed {
    /// Makes an observation of given rows, for tests and for planning without a router.
    pub fn new(tables: impl IntoIterator<Item = (&'static Menu, Vec<Entry>)>) -> Self {
        let tables = tables.into_iter().map(|(menu, rows)| (menu.path, Table::Rows(rows))).collect();
        Self { tables }
    }

    /// Returns a menu's rows in the router's order; none if the menu is missing or closed.
    #[must_use]
    pub fn rows(&self, menu: &Menu) -> &[Entry] {
        match self.tables.get(menu.path) {
            Some(Table::Rows(rows)) => rows,
            _ => &[],
        }
    }

    /// Returns why a menu could not be read, or `None` if it was.
    #[must_use]
    pub fn unread(&self, menu: &Menu) -> Option<Unread<'_>> {
        match self.tables.get(menu.path)? {
            Table::Rows(_) => None,
            Table::Missing(words) => Some(Unread::Missing(words)),
            Table::Closed(words) => Some(Unread::Closed(words)),
        }
    }

    /// Returns the only row of a singleton menu.
    #[must_use]
    pub fn singleton(&self, menu: &Menu) -> Option<&Entry> {
        self.rows(menu).first()
    }

    /// Returns the router's version, if it gave one that can be read.
    #[must_use]
    pub fn version(&self) -> Option<RouterOsVersion> {
        self.singleton(&menu::RESOURCE)?.parse("version")
    }

    /// Returns every marked row of every menu, with its menu.
    pub fn marked(&self) -> impl Iterator<Item = (&'static Menu, &Entry, Marker)> + '_ {
        REQUIRED.into_iter().chain(OPTIONAL).flat_map(move |menu| {
            self.rows(menu).iter().filter_map(move |row| row.marker().map(|marker| (menu, row, marker)))
        })
    }

    /// Returns the ids of the sites that have rows here, in order.
    #[must_use]
    pub fn sites(&self) -> Vec<SiteId> {
        let mut ids: Vec<SiteId> = self.marked().map(|(_, _, marker)| marker.site).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns a user's policies, or `None` if the router does not let this user see them.
    #[must_use]
    pub fn policies(&self, user: &str) -> Option<Vec<String>> {
        let of = |menu: &Menu, name: &[u8]| self.rows(menu).iter().find(|row| row.get("name") == Some(name));
        let group = of(&menu::USER, user.as_bytes())?.get("group")?;
        let policy = of(&menu::USER_GROUP, group)?.text("policy")?;
        Some(policy.split(',').filter(|word| !word.starts_with('!')).map(str::to_owned).collect())
    }

    /// Tells whether the user may see secrets; `None` if that cannot be known.
    #[must_use]
    pub fn may_read_secrets(&self, user: &str) -> Option<bool> {
        self.policies(user).map(|policies| policies.iter().any(|policy| policy == "sensitive"))
    }

    /// Returns the router's clock as seconds since 1970, if it tells.
    #[must_use]
    pub fn clock(&self) -> Option<i64> {
        let clock = self.singleton(&menu::CLOCK)?;
        menu::clock_seconds(clock.get("date")?, clock.get("time")?, clock.get("gmt-offset"))
    }
}

/// Reads all menus at once.
///
/// # Errors
/// [`ReadError`]: a list that ends without `!done` is never taken for a short one.
///
/// # Cancel safety
/// Dropping the future cancels its prints on the router; nothing was written.
pub async fn observe(client: &Client, interest: &Interest) -> Result<Observed, ReadError> {
    let required = REQUIRED.into_iter().map(|menu| (menu, false));
    let optional = OPTIONAL.into_iter().chain(OF_GUARDS).map(|menu| (menu, true));
    let reads = try_join_all(required.chain(optional).map(|(menu, optional)| read(client, menu, optional, interest)));
    let all = async { futures_util::try_join!(reads, secrets(client, interest)) };
    let (tables, secrets) = tokio::time::timeout(READ_DEADLINE, all).await.map_err(|_| ReadError::Deadline)??;
    let mut tables: BTreeMap<&'static str, Table> = tables.into_iter().collect();
    if let Some(Table::Rows(peers)) = tables.get_mut(menu::PEERS.path) {
        for peer in peers {
            add_secret(peer, &secrets);
        }
    }
    Ok(Observed { tables })
}

async fn read(
    client: &Client,
    menu: &'static Menu,
    optional: bool,
    interest: &Interest,
) -> Result<(&'static str, Table), ReadError> {
    let error = match rows(client, menu, interest).await {
        Ok(rows) => return Ok((menu.path, Table::Rows(rows))),
        Err(error) => error,
    };
    match error.refusal().filter(|_| optional).map(ToString::to_string) {
        Some(words) if is_missing(&words) => Ok((menu.path, Table::Missing(words))),
        Some(words) if is_closed(&words) => Ok((menu.path, Table::Closed(words))),
        _ => Err(error),
    }
}

/// *Source:* error texts observed by API clients of 7.23; `(9)` of the scripting manual.
fn is_missing(words: &str) -> bool {
    words.contains("no such command") || words.contains("no such directory")
}

fn is_closed(words: &str) -> bool {
    words.contains("not enough permissions")
}

async fn rows(client: &Client, menu: &'static Menu, interest: &Interest) -> Result<Vec<Entry>, ReadError> {
    let path = menu.path;
    let failed = |source| ReadError::Call { path, source };
    let mut fields: Vec<&str> = vec![".id"];
    fields.extend(menu.proplist());
    if interest.preshared_key && *menu == menu::PEERS {
        fields.push(PRESHARED_KEY);
    }
    let mut call = client.stream(&Command::new(&format!("{path}/print")).proplist(&fields)).await.map_err(failed)?;
    let mut kept = Kept::of(menu);
    let mut seen = 0;
    while let Some(row) = call.next().await {
        let row = row.map_err(failed)?;
        seen += 1;
        if seen > MAX_SEEN_ROWS {
            return Err(ReadError::TooManyRows { path, limit: MAX_SEEN_ROWS });
        }
        if matters(menu, &row, interest) {
            kept.push(Entry::of_row(&row))?;
        }
    }
    Ok(kept.rows)
}

/// Rows that can be told apart.
struct Kept {
    menu: &'static Menu,
    rows: Vec<Entry>,
    ids: HashSet<Vec<u8>>,
}

impl Kept {
    fn of(menu: &'static Menu) -> Self {
        Self { menu, rows: Vec::new(), ids: HashSet::new() }
    }

    fn push(&mut self, entry: Entry) -> Result<(), ReadError> {
        let path = self.menu.path;
        if self.rows.len() >= MAX_KEPT_ROWS {
            return Err(ReadError::TooManyRows { path, limit: MAX_KEPT_ROWS });
        }
        let is_singleton = [&menu::RESOURCE, &menu::IDENTITY, &menu::ROUTERBOARD, &menu::CLOCK].contains(&self.menu);
        let id = entry.id();
        // RouterOS takes a list of ids where one is meant: an id must not be one.
        let is_one = !id.is_empty() && !id.iter().any(|b| *b == b',' || b.is_ascii_whitespace());
        let is_known_by_id = is_one && self.ids.insert(id.to_vec());
        if !is_singleton && !is_known_by_id {
            return Err(ReadError::BadId { path, id: shown(id) });
        }
        self.rows.push(entry);
        Ok(())
    }
}

/// Whether a row is worth keeping: of menus that can be huge only what is ours or in our way is.
fn matters(menu: &Menu, row: &Row, interest: &Interest) -> bool {
    let is_marked = || row.get("comment").is_some_and(|comment| Marker::of_comment(comment).is_some());
    if [&menu::IP_ROUTE, &menu::IP_ROUTE6].contains(&menu) {
        let net: Option<IpNet> = row.get("dst-address").and_then(menu::parse_prefix);
        let in_the_way = |net: IpNet| net.prefix_len() > 0 && interest.prefixes.overlapping(net).is_some();
        return is_marked() || net.is_some_and(in_the_way);
    }
    if OF_GUARDS.contains(&menu) {
        return is_marked();
    }
    if [&menu::ADDRESS_LIST, &menu::ADDRESS_LIST6].contains(&menu) {
        return is_marked() || row.get("list").is_some_and(|list| list.starts_with(NAME_PREFIX.as_bytes()));
    }
    true
}

const PRESHARED_KEY: &str = "preshared-key";

/// Reads the preshared keys the way 7.21 and later want to be asked; an older router refuses the word, and shows them
/// in the plain print. *Source:* `show-sensitive` of `print` is in the schemas from 7.21 on.
async fn secrets(client: &Client, interest: &Interest) -> Result<Vec<Entry>, ReadError> {
    if !interest.preshared_key {
        return Ok(Vec::new());
    }
    let path = menu::PEERS.path;
    let command = Command::new(&format!("{path}/print")).attr("show-sensitive", "").proplist(&[".id", PRESHARED_KEY]);
    match client.call(&command).await {
        Ok(reply) => Ok(reply.rows.iter().map(Entry::of_row).collect()),
        Err(error) if error.refusal().is_some() => Ok(Vec::new()),
        Err(source) => Err(ReadError::Call { path, source }),
    }
}

fn add_secret(peer: &mut Entry, secrets: &[Entry]) {
    let shown = secrets.iter().find(|row| row.id() == peer.id()).and_then(|row| row.get(PRESHARED_KEY));
    if let Some(key) = shown {
        peer.put(PRESHARED_KEY, key);
    }
}
