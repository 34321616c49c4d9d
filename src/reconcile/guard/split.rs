//! What waits until a change is known to cut nobody off.
//!
//! A row that is switched off does what one that is taken out does: nothing. But it can be switched on again exactly as it was, with
//! its place, its keys, and what we never read of it. So under a guard rows are switched off, and taken out once that has proved
//! harmless.

use crate::reconcile::desired::Value;
use crate::reconcile::observe::Observed;
use crate::reconcile::plan::{Change, FieldChange, Op, Plan};

/// Parts a plan into what is done under the guard, and what is done after it.
#[must_use]
pub fn split(plan: &Plan, observed: &Observed) -> (Plan, Plan) {
    let (later, mut now): (Vec<Op>, Vec<Op>) =
        plan.ops.iter().cloned().partition(|op| matches!(op.change, Change::Remove { .. }));
    now.extend(later.iter().filter_map(|op| switched_off(op, observed)));
    let notes = plan.notes.clone();
    (Plan { ops: now, notes }, Plan { ops: later, notes: Vec::new() })
}

/// The change that makes a row do nothing; `None` for one that does nothing by itself, or nothing already.
pub(super) fn switched_off(op: &Op, observed: &Observed) -> Option<Op> {
    let Change::Remove { id } = &op.change else { return None };
    op.menu.field("disabled")?;
    let row = observed.rows(op.menu).iter().find(|row| row.id() == id.as_slice())?;
    if row.is_true("disabled") {
        return None;
    }
    let field = FieldChange { name: "disabled", from: Some("false".to_owned()), to: Value::Plain("true".to_owned()) };
    let change = Change::Set { id: id.clone(), fields: vec![field] };
    let reason = format!("{}: switched off first, taken out once that is harmless", op.reason);
    Some(Op { menu: op.menu, marker: op.marker.clone(), change, reason })
}
