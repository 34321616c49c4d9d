//! From a plan's operations to what is told of them.

use crate::reconcile::desired::Value;
use crate::reconcile::plan::{self, Op};

use super::{Action, Change, FieldChange};

impl From<&Op> for Change {
    fn from(op: &Op) -> Self {
        let (action, fields) = match &op.change {
            plan::Change::Add { fields, .. } => {
                (Action::Add, fields.iter().map(|(name, to)| field(name, None, Some(to))).collect())
            }
            plan::Change::Set { fields, .. } => {
                (Action::Set, fields.iter().map(|f| field(f.name, f.from.as_ref(), Some(&f.to))).collect())
            }
            plan::Change::Unset { field: name, from, .. } => (Action::Unset, vec![field(name, Some(from), None)]),
            plan::Change::Move { .. } => (Action::Move, Vec::new()),
            plan::Change::Remove { .. } => (Action::Remove, Vec::new()),
        };
        Self { action, menu: op.menu.path.to_owned(), marker: op.marker.to_string(), reason: op.reason.clone(), fields }
    }
}

fn field(name: &str, from: Option<&String>, to: Option<&Value>) -> FieldChange {
    match to {
        Some(Value::Secret(_)) => FieldChange { key: name.to_owned(), from: None, to: None, secret: true },
        Some(Value::Plain(to)) => {
            FieldChange { key: name.to_owned(), from: from.cloned(), to: Some(to.clone()), secret: false }
        }
        None => FieldChange { key: name.to_owned(), from: from.cloned(), to: None, secret: false },
    }
}
