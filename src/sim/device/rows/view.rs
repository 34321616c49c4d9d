//! Rows as `print` shows them.

use std::borrow::Cow;

use super::super::rules::{Rules, Show};
use super::super::{Device, LoggedIn, Viewer, way};
use super::query::{Answers, passes};
use super::table::{Fields, Item, Origin, show_id};
use crate::domain::RouterOsVersion;
use crate::sim::schema::Menu;

/// The first release that lists live connections in `/ip/service`. *Source*: fields in the schema of 7.21.5.
const CONNECTIONS_LISTED_SINCE: RouterOsVersion = RouterOsVersion::new(7, 21, 0);

/// One row to be sent: names and values in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View(pub(crate) Vec<(String, Vec<u8>)>);

impl Answers for View {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_slice())
    }
}

impl View {
    fn push(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Keeps the fields asked for, in the order asked for.
    fn only(mut self, proplist: &[String]) -> Self {
        let mut kept = Vec::with_capacity(proplist.len());
        for name in proplist {
            if let Some(at) = self.0.iter().position(|(k, _)| k == name) {
                kept.push(self.0.swap_remove(at));
            }
        }
        Self(kept)
    }
}

/// What a print asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) proplist: Option<Vec<String>>,
    pub(crate) queries: Vec<Vec<u8>>,
    /// Only these rows.
    pub(crate) from: Option<Vec<u32>>,
}

impl Device {
    /// All rows of a menu that a print asks for.
    pub(crate) fn print(&self, rules: &'static Rules, wanted: &Wanted, viewer: &Viewer) -> Vec<View> {
        self.items_of(rules).iter().filter_map(|item| self.show(rules, item, wanted, viewer)).collect()
    }

    /// One row by its id, if it is there and asked for.
    pub(crate) fn print_one(&self, rules: &'static Rules, id: u32, wanted: &Wanted, viewer: &Viewer) -> Option<View> {
        let item = self.table(rules.table).iter().find(|item| item.id == id && belongs(rules, item))?;
        self.show(rules, item, wanted, viewer)
    }

    fn show(&self, rules: &'static Rules, item: &Item, wanted: &Wanted, viewer: &Viewer) -> Option<View> {
        if wanted.from.as_ref().is_some_and(|ids| !ids.contains(&item.id)) {
            return None;
        }
        let menu = self.schema.menu(rules.menu)?;
        let view = self.view(rules, menu, item, viewer);
        if !passes(&view, &wanted.queries) {
            return None;
        }
        Some(match &wanted.proplist {
            Some(names) => view.only(names),
            None => view,
        })
    }

    /// The rows of a menu, with those that exist only while they are looked at.
    pub(crate) fn items_of(&self, rules: &Rules) -> Vec<Cow<'_, Item>> {
        let mut items: Vec<Cow<'_, Item>> =
            self.table(rules.table).iter().filter(|item| belongs(rules, item)).map(Cow::Borrowed).collect();
        match rules.menu {
            "/log" => items.extend(self.log_items().map(Cow::Owned)),
            "/user/active" => items.extend(self.sessions.iter().map(|s| Cow::Owned(active_user(s)))),
            "/ip/service" if self.options.version >= CONNECTIONS_LISTED_SINCE => {
                let by_api = self.sessions.iter().filter(|s| way(s.via) == "api");
                items.extend(by_api.map(|s| Cow::Owned(connection(s))));
            }
            _ => {}
        }
        items
    }

    fn view(&self, rules: &Rules, menu: &Menu, item: &Item, viewer: &Viewer) -> View {
        let mut view = View::default();
        if !rules.singleton {
            view.push(".id", show_id(item.id));
        }
        for shown in rules.shown {
            if shown.since_minor > 0 && self.options.version < RouterOsVersion::new(7, shown.since_minor, 0) {
                continue;
            }
            let stored = item.fields.get(shown.name);
            match shown.show {
                Show::Default(value) => view.push(shown.name, stored.unwrap_or(value.as_bytes())),
                Show::IfTrue if stored != Some(b"true") => {}
                Show::Secret if !viewer.may("sensitive") => {}
                Show::IfSet | Show::IfTrue | Show::Secret => {
                    if let Some(value) = stored {
                        view.push(shown.name, value);
                    }
                }
                Show::Computed => {
                    if let Some(value) = self.computed(rules, item, shown.name) {
                        view.push(shown.name, value);
                    }
                }
            }
        }
        rest(rules, menu, item, &mut view);
        view
    }
}

/// Fields the rules do not name: matchers of a firewall rule, settings of a menu that has no rules.
fn rest(rules: &Rules, menu: &Menu, item: &Item, view: &mut View) {
    for (name, value) in item.fields.iter() {
        let is_ruled = rules.shown.iter().any(|shown| shown.name == name);
        let is_hidden = rules.menu == "/user" && name == "password";
        let is_known = rules.shown.is_empty() || menu.writes(name) || menu.reads(name) || item.is_dynamic();
        if !is_ruled && !is_hidden && is_known {
            view.push(name, value);
        }
    }
}

pub(in crate::sim::device) fn belongs(rules: &Rules, item: &Item) -> bool {
    rules.kind.is_none_or(|kind| item.fields.is("type", kind))
}

fn active_user(session: &LoggedIn) -> Item {
    let fields = Fields::of(&[
        ("when", &session.when),
        ("name", &session.user),
        ("address", &session.remote.ip().to_string()),
        ("via", way(session.via)),
        ("group", &session.group),
        ("radius", "false"),
    ]);
    Item { id: session.id, fields, origin: Origin::Builtin, expires: None }
}

/// *Source*: `/ip/service/print` recorded on 7.24.3.
fn connection(session: &LoggedIn) -> Item {
    /// Far above the rows of the services themselves.
    const FIRST_ID: u32 = 0x10;
    let fields = Fields::of(&[
        ("connection", "true"),
        ("name", session.via),
        ("proto", "tcp"),
        ("port", &session.local.port().to_string()),
        ("local", &session.local.ip().to_string()),
        ("remote", &session.remote.to_string()),
    ]);
    let origin = Origin::Dynamic(format!("session:{}", session.id));
    Item { id: FIRST_ID + session.id, fields, origin, expires: None }
}
