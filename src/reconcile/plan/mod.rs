//! The difference between what must be there and what is: an ordered list of changes with the reason of each.
//!
//! Deciding is pure: no I/O, no clock. Rows without our marker are never in a plan but as a place to stand before.

mod diff;
mod notes;
mod ownership;

pub use notes::note;
pub use ownership::{Ambiguity, OwnRow, interface_names, own_rows};

use std::fmt;

use super::desired::{DesiredRow, Value};
use super::observe::Observed;
use crate::domain::{Marker, RouterOsVersion, SiteId};
use crate::routeros::menu::{self, Menu};

/// What is to be done to a router, in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The changes, by stage and within it in the order to send them.
    pub ops: Vec<Op>,
    /// What a person should know beside the changes.
    pub notes: Vec<String>,
}

/// One change to one row of ours.
#[derive(Clone, Debug)]
pub struct Op {
    /// Where.
    pub menu: &'static Menu,
    /// Which row.
    pub marker: Marker,
    /// What.
    pub change: Change,
    /// Why, for people.
    pub reason: String,
}

/// What happens to a row.
#[derive(Clone, Debug)]
pub enum Change {
    /// Make it; fields by the router's names.
    Add {
        /// What it says, comment left out.
        fields: Vec<(&'static str, Value)>,
        /// The marker, and a note behind it where there is one.
        comment: String,
        /// The id of the rule it must stand before.
        before: Option<Vec<u8>>,
    },
    /// Change fields of it.
    Set {
        /// Its id.
        id: Vec<u8>,
        /// What changes.
        fields: Vec<FieldChange>,
    },
    /// Take fields away from it.
    Unset {
        /// Its id.
        id: Vec<u8>,
        /// Which field, by the router's name.
        field: &'static str,
        /// What it says now.
        from: String,
    },
    /// Put it before another rule.
    Move {
        /// Its id.
        id: Vec<u8>,
        /// The other rule's id.
        before: Vec<u8>,
    },
    /// Take it out.
    Remove {
        /// Its id.
        id: Vec<u8>,
    },
}

/// One field's change.
#[derive(Clone, Debug)]
pub struct FieldChange {
    /// The router's name of the field.
    pub name: &'static str,
    /// What it says now; `None` if it is a secret or unknown.
    pub from: Option<String>,
    /// What it must say.
    pub to: Value,
}

/// Changes of one stage do not depend on each other and are sent at once; a stage begins when the one before is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// What others refer to: the interface and the lists.
    Ground,
    /// What refers to it: peer, member, addresses, rules, routes.
    Upon,
    /// What is not wanted any more: make before break.
    Clear,
    /// What nothing refers to any more.
    ClearGround,
}

impl Op {
    /// Returns the stage of the change.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let ground = self.is_ground();
        match (&self.change, ground) {
            (Change::Remove { .. }, true) => Stage::ClearGround,
            (Change::Remove { .. }, false) => Stage::Clear,
            (_, true) => Stage::Ground,
            (_, false) => Stage::Upon,
        }
    }

    /// Tells whether others may refer to the row.
    #[must_use]
    pub fn is_ground(&self) -> bool {
        is_ground(self.menu)
    }

    /// Tells whether the row is made.
    #[must_use]
    pub fn is_addition(&self) -> bool {
        matches!(self.change, Change::Add { .. })
    }

    /// Tells whether one of these fields is changed.
    #[must_use]
    pub fn sets(&self, names: &[&str]) -> bool {
        match &self.change {
            Change::Set { fields, .. } => fields.iter().any(|field| names.contains(&field.name)),
            _ => false,
        }
    }

    /// Returns the word for the change.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self.change {
            Change::Add { .. } => "add",
            Change::Set { .. } => "set",
            Change::Unset { .. } => "unset",
            Change::Move { .. } => "move",
            Change::Remove { .. } => "remove",
        }
    }
}

/// Menus whose rows others refer to.
fn is_ground(menu: &Menu) -> bool {
    [&menu::WIREGUARD, &menu::INTERFACE_LIST].contains(&menu) || (menu.path.ends_with("/address-list") && !menu.ordered)
}

/// The order within a stage: what must be passed through stands before what sends traffic there.
fn rank(menu: &Menu) -> usize {
    const ORDER: [&str; 8] = [
        "/interface/wireguard",
        "/interface/list",
        "/interface/list/member",
        "/ip/firewall/address-list",
        "/ip/firewall/filter",
        "/ip/firewall/nat",
        "/ip/firewall/mangle",
        "/interface/wireguard/peers",
    ];
    let path = menu.path.replacen("/ipv6/", "/ip/", 1);
    ORDER.iter().position(|known| *known == path).unwrap_or(ORDER.len()) * 2 + usize::from(path == "/ip/route")
}

impl Plan {
    /// Tells whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Returns how many rows would be taken out.
    #[must_use]
    pub fn removals(&self) -> usize {
        self.ops.iter().filter(|op| matches!(op.change, Change::Remove { .. })).count()
    }

    /// Returns the changes of each stage that has any, in order.
    pub fn stages(&self) -> impl Iterator<Item = &[Op]> {
        self.ops.chunk_by(|a, b| a.stage() == b.stage())
    }

    /// Tells whether two plans would do the same, whatever the ids.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let texts = |plan: &Self| plan.ops.iter().map(ToString::to_string).collect::<Vec<_>>();
        texts(self) == texts(other)
    }

    /// Tells whether RouterOS may leave something to do: it is not known to follow a renamed interface everywhere.
    #[must_use]
    pub fn may_need_another_pass(&self) -> bool {
        self.ops.iter().any(|op| op.sets(&["name"]))
    }

    fn sort(&mut self) {
        let key = |op: &Op| match op.change {
            // What was made last goes first.
            Change::Remove { .. } => (op.stage(), usize::MAX - rank(op.menu)),
            _ => (op.stage(), rank(op.menu)),
        };
        self.ops.sort_by_key(key);
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::Secret(_) => f.write_str("***"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb(), self.menu.path)?;
        match &self.change {
            Change::Add { fields, .. } => {
                for (name, value) in fields {
                    write!(f, " {name}={value}")?;
                }
            }
            Change::Set { fields, .. } => {
                for field in fields {
                    match &field.from {
                        Some(from) => write!(f, " {}={} (was {from:?})", field.name, field.to)?,
                        None => write!(f, " {}={}", field.name, field.to)?,
                    }
                }
            }
            Change::Unset { field, from, .. } => write!(f, " {field} (was {from:?})")?,
            Change::Move { .. } | Change::Remove { .. } => {}
        }
        write!(f, " [{}]", self.marker)
    }
}

/// What deciding needs beside the rows.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Whose rows.
    pub site: &'a SiteId,
    /// The router's version, which says what fields are called.
    pub version: &'a RouterOsVersion,
    /// Whether this user may see secrets; `None` if unknown.
    pub may_read_secrets: Option<bool>,
}

/// Decides what must be done.
///
/// # Errors
/// Every [`Ambiguity`] in the ownership of rows: then nothing can be decided.
pub fn plan(basis: Basis<'_>, desired: &[DesiredRow], observed: &Observed) -> Result<Plan, Vec<Ambiguity>> {
    let own = own_rows(basis.site, desired, observed)?;
    let mut plan = diff::diff(basis, desired, observed, &own);
    plan.sort();
    Ok(plan)
}

/// Decides what must be taken out so that nothing of a site is left.
#[must_use]
pub fn plan_removal(own: &[OwnRow<'_>]) -> Plan {
    let ops = own.iter().map(|row| diff::removal(row, "all of this site is to go")).collect();
    let mut plan = Plan { ops, notes: Vec::new() };
    plan.sort();
    plan
}
