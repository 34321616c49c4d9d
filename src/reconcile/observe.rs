//! Reads a router: every menu we need, in one round trip.
//!
//! All prints are sent at once and read as they come; of the menus that can be huge only the rows that matter are
//! kept. A print that does not end with `!done` is an error, never a short list. Nothing here writes.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::try_join_all;
use ipnet::IpNet;

use super::entry::Entry;
use super::names::NAME_PREFIX;
use crate::domain::{Marker, RouterOsVersion, Site, SiteId, SubnetSet};
use crate::routeros::client::{Client, MAX_REPLY_BYTES};
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu::{self, Menu};

/// Most rows kept of one menu: a router with more interfaces, rules or peers than this is not one we know how to judge.
const MAX_KEPT_ROWS: usize = 50_000;

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
const OPTIONAL: [&Menu; 15] = [
    &menu::WIREGUARD,
    &menu::PEERS,
    &menu::IDENTITY,
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
        Self { prefixes, preshared_key: site.hub.preshared_key.is_some() }
    }
}

/// What a router had, at one moment.
#[derive(Clone, Debug)]
pub struct Observed {
    tables: BTreeMap<&'static str, Table>,
    /// When the reading began; ages the router reported count from here.
    pub at: Instant,
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
        Self { tables, at: Instant::now() }
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
/// Any [`CallError`] but the refusal of an optional menu: a list that ends without `!done` is never taken for a short one.
///
/// # Cancel safety
/// Dropping the future cancels its prints on the router; nothing was written.
pub async fn observe(client: &Client, interest: &Interest) -> Result<Observed, CallError> {
    let at = Instant::now();
    let required = REQUIRED.into_iter().map(|menu| (menu, false));
    let optional = OPTIONAL.into_iter().map(|menu| (menu, true));
    let reads = required.chain(optional).map(|(menu, optional)| read(client, menu, optional, interest));
    let tables = try_join_all(reads).await?.into_iter().collect();
    Ok(Observed { tables, at })
}

async fn read(
    client: &Client,
    menu: &'static Menu,
    optional: bool,
    interest: &Interest,
) -> Result<(&'static str, Table), CallError> {
    match rows(client, menu, interest).await {
        Ok(rows) => Ok((menu.path, Table::Rows(rows))),
        Err(error) => {
            let words = error.refusal().map(ToString::to_string);
            match words {
                Some(words) if is_missing(&words) => Ok((menu.path, Table::Missing(words))),
                Some(words) if optional && is_closed(&words) => Ok((menu.path, Table::Closed(words))),
                _ => Err(error),
            }
        }
    }
}

/// *Source:* error texts observed by API clients of 7.23; `(9)` of the scripting manual.
fn is_missing(words: &str) -> bool {
    words.contains("no such command") || words.contains("no such directory")
}

fn is_closed(words: &str) -> bool {
    words.contains("not enough permissions")
}

async fn rows(client: &Client, menu: &'static Menu, interest: &Interest) -> Result<Vec<Entry>, CallError> {
    let mut fields: Vec<&str> = vec![".id"];
    fields.extend(menu.proplist());
    if interest.preshared_key && menu.field("preshared-key").is_some() {
        fields.push("preshared-key");
    }
    let command = Command::new(&format!("{}/print", menu.path)).proplist(&fields);
    let mut call = client.stream(&command).await?;
    let mut kept = Vec::new();
    while let Some(row) = call.next().await {
        let row = row?;
        let matters = match menu.path {
            "/ip/route" | "/ipv6/route" => {
                is_marked(row.get("comment")) || route_matters(row.get("dst-address"), interest)
            }
            "/ip/firewall/address-list" | "/ipv6/firewall/address-list" => {
                is_marked(row.get("comment"))
                    || row.get("list").is_some_and(|list| list.starts_with(NAME_PREFIX.as_bytes()))
            }
            _ => true,
        };
        if matters {
            if kept.len() >= MAX_KEPT_ROWS {
                return Err(CallError::ReplyTooLong { rows: MAX_KEPT_ROWS, bytes: MAX_REPLY_BYTES });
            }
            kept.push(Entry::new(
                row.iter().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value))),
            ));
        }
    }
    Ok(kept)
}

fn is_marked(comment: Option<&[u8]>) -> bool {
    comment.is_some_and(|comment| Marker::of_comment(comment).is_some())
}

fn route_matters(dst: Option<&[u8]>, interest: &Interest) -> bool {
    let net: Option<IpNet> = dst.and_then(menu::parse_prefix);
    net.is_some_and(|net| net.prefix_len() > 0 && interest.prefixes.overlapping(net).is_some())
}
