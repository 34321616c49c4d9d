//! Writes a plan to a router: the only place, beside first contact, that does.
//!
//! Changes of one stage go out at once; a stage begins when every change of the one before was answered. A refusal
//! stops before the next stage. Whatever was written stays: the next run reads what is there and goes on.

mod fuse;
mod local;
mod lock;
#[cfg(feature = "proxy")]
mod safe_mode;
mod warrant;

pub use fuse::{ArmError, Fuse, Lit, Standing, sweep};
pub use local::{BusyHere, LocalLock};
pub use lock::{Holder, LockError, RouterLock, holder};
#[cfg(feature = "proxy")]
pub use safe_mode::{
    SAFE_MODE_SINCE, SafeHold, release_safe_mode, safe_hold, safe_hold_of, take_safe_mode, unroll_safe_mode,
};
pub use warrant::{Warrant, Warranted, may_write};

use futures_util::future::join_all;

use super::plan::{Change, Op, Plan};
use crate::reconcile::desired::Value;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;

/// Most writes sent before the first of them is answered: a thousand subnets stay a handful of round trips, and a
/// small router's input queue stays short.
pub const WRITES_IN_FLIGHT: usize = 256;

/// Why a plan was not carried out to its end.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The router refused a change, or the connection ended in it.
    #[error("{op}")]
    Write {
        /// The change.
        op: String,
        /// What came instead of `!done`.
        source: CallError,
    },
    /// The lock ran out and somebody else took it.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Carries a plan out; `written` counts every write that the router said was done, and is true even on error.
///
/// # Errors
/// [`ApplyError::Write`] for the first change, in the plan's order, that was not done; later stages were not begun.
///
/// # Cancel safety
/// Dropping the future may leave changes of the present stage done or not: the next run reads which.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    lock: &mut RouterLock,
    in_flight: usize,
    written: &mut u64,
    mut done: impl FnMut(&Op),
) -> Result<(), ApplyError> {
    for stage in plan.stages() {
        for batch in stage.chunks(in_flight) {
            lock.keep(client, written).await?;
            let answers = join_all(batch.iter().map(|op| async move { client.call(&command(op)).await })).await;
            let mut failure = None;
            for (op, answer) in batch.iter().zip(answers) {
                match answer {
                    Ok(_) => {
                        *written += 1;
                        done(op);
                    }
                    Err(source) if failure.is_none() => {
                        failure = Some(ApplyError::Write { op: op.to_string(), source });
                    }
                    Err(_) => {}
                }
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// Returns the sentence for a change.
fn command(op: &Op) -> Command {
    let verb = |verb: &str| Command::new(&format!("{}/{verb}", op.menu.path));
    let with = |command: Command, name: &str, value: &Value| match value {
        Value::Plain(_) | Value::Bytes(_) => command.attr(name, value.as_bytes()),
        Value::Secret(secret) => command.secret(name, secret.expose()),
    };
    match &op.change {
        Change::Add { fields, comment, before } => {
            let command = fields.iter().fold(verb("add"), |command, (name, value)| with(command, name, value));
            let command = command.attr("comment", comment);
            match before {
                Some(id) => command.attr("place-before", id),
                None => command,
            }
        }
        Change::Set { id, fields } => {
            fields.iter().fold(verb("set").attr(".id", id), |command, field| with(command, field.name, &field.to))
        }
        Change::Unset { id, field, .. } => verb("unset").attr("numbers", id).attr("value-name", field),
        Change::Move { id, before } => verb("move").attr("numbers", id).attr("destination", before),
        Change::Remove { id } => verb("remove").attr(".id", id),
    }
}
