//! The exact inverse of a plan, as a RouterOS script.
//!
//! Pure. What the plan adds is taken out again, found by its comment; what it changes says again what it said; what it moves or
//! takes out stands again where it stood. The script may run after any part of the plan, and more than once. Rows of others are only
//! ever a place to stand before.

use super::script::{Who, argument, arguments, line};
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{Change, FieldChange, Op, Plan};
use crate::routeros::menu::{self, Access, Menu};

/// A change that no script can undo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Irreversible {
    /// The router makes and keeps the key, and nobody can read it.
    #[error("`{op}` cannot be undone: the private key would be lost")]
    PrivateKey {
        /// The change.
        op: String,
    },
    /// What was there is not known, and must not stand in a script.
    #[error("`{op}` cannot be undone: a script that everybody may read is no place for a preshared key")]
    Secret {
        /// The change.
        op: String,
    },
    /// The plan is about a row that the reading does not have.
    #[error("`{op}` cannot be undone: the row was not read")]
    Unread {
        /// The change.
        op: String,
    },
}

/// Where a line stands: what others refer to comes back first and goes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    GroundMade,
    GroundSet,
    Set,
    /// From the last row of a menu to the first: each stands before one that is there already.
    Placed,
    Gone,
    GroundGone,
}

/// How to put back what plans changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    lines: Vec<(Phase, String)>,
}

impl Undo {
    /// Puts the undoing of a later plan before that of an earlier one.
    pub(super) fn preceded_by(self, mut later: Self) -> Self {
        later.lines.extend(self.lines);
        later
    }

    /// Returns the lines in the order in which they must run.
    #[must_use]
    pub fn script(&self) -> String {
        let mut lines: Vec<&(Phase, String)> = self.lines.iter().collect();
        lines.sort_by_key(|(phase, _)| *phase);
        // A value may be held by a row that goes only at the end: what was set back is set back once more after that.
        let again = lines.iter().filter(|(phase, _)| self.removes() && *phase == Phase::Set);
        lines.iter().chain(again).map(|(_, line)| line.as_str()).collect()
    }

    fn removes(&self) -> bool {
        self.lines.iter().any(|(phase, _)| *phase == Phase::Gone)
    }

    fn push(&mut self, phase: Phase, command: &str) {
        self.lines.push((phase, line(command)));
    }
}

/// Returns how to undo a plan that was made on a reading.
///
/// # Errors
/// Every change that cannot be undone.
pub fn inverse(plan: &Plan, observed: &Observed) -> Result<Undo, Vec<Irreversible>> {
    let (mut undo, mut faults) = (Undo::default(), Vec::new());
    for op in plan.ops.iter().rev() {
        if let Err(fault) = undo_change(op, plan, observed, &mut undo) {
            faults.push(fault);
        }
    }
    place(plan, observed, &mut undo);
    if faults.is_empty() { Ok(undo) } else { Err(faults) }
}

/// Undoes all but where a row stands.
fn undo_change(op: &Op, plan: &Plan, observed: &Observed, undo: &mut Undo) -> Result<(), Irreversible> {
    let (menu, path, ground) = (op.menu, op.menu.path, op.is_ground());
    let unread = || Irreversible::Unread { op: op.to_string() };
    match &op.change {
        Change::Add { comment, .. } => {
            let found = Who::Comment(comment.clone().into_bytes()).found(menu);
            undo.push(if ground { Phase::GroundGone } else { Phase::Gone }, &format!("{path}/remove {found}"));
        }
        Change::Set { id, fields } => {
            let row = row(observed, menu, id).ok_or_else(unread)?;
            let said: Vec<Before> =
                fields.iter().map(|change| before(op, change, row)).collect::<Result<_, Irreversible>>()?;
            for found in places(op, id, row, plan, observed) {
                let phase = if ground { Phase::GroundSet } else { Phase::Set };
                for name in said.iter().filter_map(Before::unsaid) {
                    undo.push(phase, &format!("{path}/unset {found} value-name={name}"));
                }
                let arguments: Vec<&str> = said.iter().filter_map(Before::said).collect();
                if !arguments.is_empty() {
                    undo.push(phase, &format!("{path}/set {found} {}", arguments.join(" ")));
                }
            }
        }
        Change::Unset { id, field, from } => {
            let row = row(observed, menu, id).ok_or_else(unread)?;
            let value = row.get(field).unwrap_or(from.as_bytes());
            for found in places(op, id, row, plan, observed) {
                undo.push(Phase::Set, &format!("{path}/set {found} {}", argument(menu.field(field), field, value)));
            }
        }
        Change::Remove { id } => {
            let row = row(observed, menu, id).ok_or_else(unread)?;
            makeable(op, row)?;
            if !menu.ordered {
                let phase = if ground { Phase::GroundMade } else { Phase::Placed };
                undo.push(phase, &made(menu, row, &Who::of(row, observed.rows(menu)), ""));
            }
        }
        Change::Move { id, .. } => {
            row(observed, menu, id).ok_or_else(unread)?;
        }
    }
    Ok(())
}

fn row<'a>(observed: &'a Observed, menu: &Menu, id: &[u8]) -> Option<&'a Entry> {
    observed.rows(menu).iter().find(|row| row.id() == id)
}

/// Where a changed row may be found: by what its comment became, and by what it was.
fn places(op: &Op, id: &[u8], row: &Entry, plan: &Plan, observed: &Observed) -> Vec<String> {
    let was = Who::of(row, observed.rows(op.menu));
    let of_row = plan.ops.iter().filter(|other| other.menu == op.menu);
    let became = of_row.filter_map(|other| match &other.change {
        Change::Set { id: changed, fields } if changed == id => fields.iter().find(|field| field.name == "comment"),
        _ => None,
    });
    let mut all: Vec<Who> = became.map(|comment| Who::Comment(comment.to.as_bytes().to_vec())).collect();
    if matches!(was, Who::Id(_)) {
        // An id stays the same whatever the comment says.
        all.clear();
    }
    all.push(was);
    all.iter().map(|who| who.found(op.menu)).collect()
}

/// What a field was before a change.
enum Before {
    /// As an argument of `set`.
    Said(String),
    /// There was no such matcher.
    Unsaid(&'static str),
}

impl Before {
    fn said(&self) -> Option<&str> {
        if let Self::Said(argument) = self { Some(argument) } else { None }
    }

    fn unsaid(&self) -> Option<&'static str> {
        if let Self::Unsaid(name) = self { Some(name) } else { None }
    }
}

fn before(op: &Op, change: &FieldChange, row: &Entry) -> Result<Before, Irreversible> {
    let field = op.menu.fields.iter().find(|field| field.spellings().any(|name| name == change.name));
    let value = row.get(change.name);
    if field.is_some_and(|field| field.access == Access::Secret) && value != Some(b"".as_slice()) {
        return Err(Irreversible::Secret { op: op.to_string() });
    }
    if value.is_none() && field.is_some_and(|field| field.access == Access::Matcher) {
        return Ok(Before::Unsaid(change.name));
    }
    let default = field.and_then(|field| field.default).unwrap_or_default();
    Ok(Before::Said(argument(field, change.name, value.unwrap_or(default.as_bytes()))))
}

/// Whether a row can be made again as it was.
fn makeable(op: &Op, row: &Entry) -> Result<(), Irreversible> {
    if op.menu == &menu::WIREGUARD {
        return Err(Irreversible::PrivateKey { op: op.to_string() });
    }
    let secrets = op.menu.fields.iter().filter(|field| field.access == Access::Secret);
    if secrets.into_iter().any(|field| row.value(field) != Some(b"".as_slice())) {
        return Err(Irreversible::Secret { op: op.to_string() });
    }
    Ok(())
}

/// Makes a row unless it is there.
fn made(menu: &Menu, row: &Entry, who: &Who, place: &str) -> String {
    let add = format!("{}/add {}{place}", menu.path, arguments(menu, row));
    format!(":if ([:len {}] = 0) do={{ {add} }}", who.found(menu))
}

/// Puts every row that was moved or taken out back before the row it stood before.
fn place(plan: &Plan, observed: &Observed, undo: &mut Undo) {
    let mut done: Vec<&str> = Vec::new();
    for op in plan.ops.iter().filter(|op| op.menu.ordered) {
        if done.contains(&op.menu.path) {
            continue;
        }
        done.push(op.menu.path);
        let rows = observed.rows(op.menu);
        let change_of = |row: &Entry| {
            plan.ops.iter().filter(|other| other.menu == op.menu).find(|other| match &other.change {
                Change::Move { id, .. } | Change::Remove { id } => id.as_slice() == row.id(),
                _ => false,
            })
        };
        for (at, row) in rows.iter().enumerate().rev() {
            let Some(change) = change_of(row) else { continue };
            let next = rows.iter().skip(at + 1).find(|row| !row.is_true("dynamic"));
            undo.push(Phase::Placed, &placed(change, row, next, rows));
        }
    }
}

fn placed(op: &Op, row: &Entry, next: Option<&Entry>, rows: &[Entry]) -> String {
    let (menu, who) = (op.menu, Who::of(row, rows));
    let is_removal = matches!(op.change, Change::Remove { .. });
    let stands = |place: &str| {
        let word = if is_removal { "place-before" } else { "destination" };
        let place = if place.is_empty() { String::new() } else { format!(" {word}={place}") };
        if is_removal {
            made(menu, row, &who, &place)
        } else {
            format!("{}/move {}{place}", menu.path, who.found(menu))
        }
    };
    match next {
        None => stands(""),
        Some(next) => format!(
            ":local before {}; :if ([:len $before] > 0) do={{ {} }} else={{ {} }}",
            Who::of(next, rows).found(menu),
            stands("[:pick $before 0]"),
            stands("")
        ),
    }
}
