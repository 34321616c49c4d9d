//! Row by row, field by field.

use super::notes::{note, remarked, renoted};
use super::ownership::{OwnRow, interface_name};
use super::{Basis, Change, FieldChange, Op, Plan};
use crate::domain::Role;
use crate::reconcile::desired::{DesiredRow, PSK_NOTE, Value};
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::Observed;
use crate::routeros::menu::{Access, Field, Kind};

/// Compares what is wanted with what is ours.
pub fn diff(basis: Basis<'_>, desired: &[DesiredRow], observed: &Observed, own: &[OwnRow<'_>]) -> Plan {
    let mut plan = Plan::default();
    let renames = Renames::of(desired, own);
    let is_wanted = |row: &OwnRow<'_>| desired.iter().any(|d| d.marker == row.marker && d.menu == row.menu);
    let mut stale: Vec<&OwnRow<'_>> = own.iter().filter(|row| !is_wanted(row)).collect();
    for wanted in desired {
        if let Some(row) = own.iter().find(|row| row.marker == wanted.marker && row.menu == wanted.menu) {
            compare(basis, wanted, row.entry, &renames, &mut plan);
            plan.ops.extend(misplaced(wanted, row.entry, observed));
        } else if let Some(at) = stale.iter().position(|row| is_readdressed(row, wanted)) {
            plan.ops.push(readdress(wanted, stale.remove(at)));
        } else {
            plan.ops.push(addition(basis, wanted));
        }
    }
    plan.ops.extend(stale.into_iter().map(|row| removal(row, "not in the site config any more")));
    plan
}

/// Takes a row out.
pub fn removal(row: &OwnRow<'_>, reason: &str) -> Op {
    Op {
        menu: row.menu,
        marker: row.marker.clone(),
        change: Change::Remove { id: row.entry.id().to_vec() },
        reason: reason.to_owned(),
    }
}

fn addition(basis: Basis<'_>, wanted: &DesiredRow) -> Op {
    let fields = wanted.fields.iter().filter_map(|(name, value)| {
        let field = wanted.menu.field(name)?;
        let is_default = field.default.is_some() && field.canonical(Some(value.as_bytes())) == field.canonical(None);
        if is_default { None } else { Some((field.name_on(basis.version)?, value.clone())) }
    });
    Op {
        menu: wanted.menu,
        marker: wanted.marker.clone(),
        change: Change::Add { fields: fields.collect(), comment: wanted.comment(), before: wanted.before.clone() },
        reason: "missing".to_owned(),
    }
}

/// Our interfaces' names before and after: RouterOS keeps references to one when it is renamed.
struct Renames<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Renames<'a> {
    fn of(desired: &'a [DesiredRow], own: &[OwnRow<'a>]) -> Self {
        let interfaces = desired.iter().filter(|wanted| wanted.marker.role == Role::Interface);
        let pairs = interfaces
            .filter_map(|wanted| Some((interface_name(own, &wanted.marker)?, wanted.wants("name")?.as_bytes())));
        Self(pairs.collect())
    }

    /// Whether a field that names an interface of ours already means the one that it must.
    fn covers(&self, field: &Field, have: &[u8], want: &[u8]) -> bool {
        matches!(field.name, "interface" | "gateway") && self.0.contains(&(have, want))
    }
}

fn compare(basis: Basis<'_>, wanted: &DesiredRow, entry: &Entry, renames: &Renames<'_>, plan: &mut Plan) {
    let mut fields = Vec::new();
    let mut notes = wanted.notes.clone();
    for (name, value) in &wanted.fields {
        let Some(field) = wanted.menu.field(name) else { continue };
        let Some(wire) = field.name_on(basis.version) else { continue };
        let differs = if field.access == Access::Secret {
            secret_differs(basis, wanted, field, value, entry)
        } else {
            let (have, want) = (field.canonical(entry.value(field)), field.canonical(Some(value.as_bytes())));
            Some(have != want && !renames.covers(field, &have, &want))
        };
        match differs {
            Some(true) => {
                let have = field.canonical(entry.value(field));
                let from = (field.access != Access::Secret).then(|| String::from_utf8_lossy(&have).into_owned());
                fields.push(FieldChange { name: wire, from, to: value.clone() });
            }
            Some(false) => {}
            None => {
                // What is not known must not be noted as known.
                notes.retain(|note| note.name != PSK_NOTE);
                let unknown = "cannot be read by this user (policy `sensitive`): it is left as it is";
                plan.notes.push(format!("{name} of {} {unknown}", wanted.marker));
            }
        }
    }
    fields.extend(renoted(&wanted.marker, &notes, entry));
    let op = |change, reason: String| Op { menu: wanted.menu, marker: wanted.marker.clone(), change, reason };
    if !fields.is_empty() {
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let reason = format!("{} not as the site config says", names.join(", "));
        plan.ops.push(op(Change::Set { id: entry.id().to_vec(), fields }, reason));
    }
    for (field, from) in foreign_matchers(wanted, entry) {
        let change = Change::Unset { id: entry.id().to_vec(), field, from };
        plan.ops.push(op(change, format!("{field} was put there by hand")));
    }
}

/// Whether a secret differs; `None` if that cannot be known.
fn secret_differs(basis: Basis<'_>, wanted: &DesiredRow, field: &Field, value: &Value, entry: &Entry) -> Option<bool> {
    let want = value.as_bytes();
    // A mask in place of the value tells nothing.
    if let Some(have) = entry.value(field).filter(|have| have.is_empty() || have.iter().any(|b| *b != b'*')) {
        return Some(have != want);
    }
    let noted = note(entry.get("comment").unwrap_or_default(), PSK_NOTE);
    let wanted_note = wanted.notes.iter().find(|note| note.name == PSK_NOTE).and_then(|note| note.value.as_deref());
    match (noted, wanted_note) {
        (Some(noted), wanted_note) => Some(Some(noted) != wanted_note.map(str::as_bytes)),
        (None, None) => Some(false),
        (None, Some(_)) if basis.may_read_secrets == Some(true) => Some(true),
        (None, Some(_)) => None,
    }
}

/// Matchers on a row of ours that we did not put there.
fn foreign_matchers(wanted: &DesiredRow, entry: &Entry) -> Vec<(&'static str, String)> {
    let is_matcher = |field: &&Field| field.access == Access::Matcher && wanted.wants(field.name).is_none();
    let set = wanted.menu.fields.iter().filter(is_matcher).filter_map(|field| {
        let value = entry.get(field.name)?;
        // Some versions print these instead of leaving the field out. [I]
        let says_nothing =
            matches!(value, b"none" | b"no" | b"false") || (value.is_empty() && field.kind != Kind::Flag);
        (!says_nothing).then(|| (field.name, String::from_utf8_lossy(value).into_owned()))
    });
    set.collect()
}

/// A rule of ours behind the foreign rule that it must stand before.
fn misplaced(wanted: &DesiredRow, entry: &Entry, observed: &Observed) -> Option<Op> {
    let before = wanted.before.as_ref()?;
    let rows = observed.rows(wanted.menu);
    let at = |id: &[u8]| rows.iter().position(|row| row.id() == id);
    (at(entry.id())? > at(before)?).then(|| Op {
        menu: wanted.menu,
        marker: wanted.marker.clone(),
        change: Change::Move { id: entry.id().to_vec(), before: before.clone() },
        reason: "it stands behind a rule that keeps it from matching".to_owned(),
    })
}

/// Whether a row to go holds the very address a row to come needs, with another length: RouterOS takes no address
/// twice, so it must be changed in place. *Source:* "failure: already have such address".
fn is_readdressed(row: &OwnRow<'_>, wanted: &DesiredRow) -> bool {
    let host = |key: &Option<String>| key.as_deref().and_then(|key| key.split('/').next().map(str::to_owned));
    row.menu == wanted.menu
        && row.marker.role == Role::Address
        && wanted.marker.role == Role::Address
        && host(&row.marker.key) == host(&wanted.marker.key)
}

fn readdress(wanted: &DesiredRow, row: &OwnRow<'_>) -> Op {
    let old = |name| row.entry.text(name).map(std::borrow::Cow::into_owned);
    let change = |name, to| FieldChange { name, from: old(name), to };
    let mut fields: Vec<FieldChange> =
        wanted.wants("address").map(|to| change("address", to.clone())).into_iter().collect();
    fields.extend(wanted.wants("network").map(|to| change("network", to.clone())));
    fields.push(change("comment", Value::Bytes(remarked(&wanted.marker, row.entry))));
    Op {
        menu: wanted.menu,
        marker: wanted.marker.clone(),
        change: Change::Set { id: row.entry.id().to_vec(), fields },
        reason: "the length of its network changed".to_owned(),
    }
}
