//! What reconcile says, in the reporter's words.

use std::time::Duration;

use super::failure::Failure;
use super::report::{Action, Change, Event, FieldChange, Reporter, Step, Verdict};
use crate::reconcile::apply::{ApplyError, ArmError, BusyHere, LockError};
use crate::reconcile::converge::{ConvergeError, Progress};
use crate::reconcile::decide::{Decision, Refused};
use crate::reconcile::desired::Value;
use crate::reconcile::guard::{Found, GuardError, Touches, Unconfirmed, When};
use crate::reconcile::plan::{self, Op, Plan};
use crate::reconcile::preflight::{Finding, Weight};
use crate::routeros::error::CallError;

/// Tells the warnings and the plan, change by change.
pub fn decision(decision: &Decision, reporter: &Reporter) {
    for finding in &decision.warnings {
        warning(finding, reporter);
    }
    for note in &decision.plan.notes {
        reporter.event(&Event::Warning { code: "unknown-value", message: note.clone(), hint: None });
    }
    reporter.event(&Event::Step { step: Step::Plan, detail: in_short(&decision.plan) });
    for op in &decision.plan.ops {
        reporter.event(&Event::Change(change(op)));
    }
}

/// Tells what of a plan could cut its own session off.
pub fn touches(touches: &Touches, when: When, reporter: &Reporter) {
    let Some(first) = touches.session.first() else { return };
    let (count, part, op) = (touches.session.len(), first.part, &first.op);
    let message =
        format!("{count} of these changes touch what this session runs over; the first touches {part}: `{op}`");
    let hint = match when {
        When::Never => "they are not guarded: have another way to the router at hand",
        _ => "they are guarded: unless a new connection confirms them, the router undoes them by itself",
    };
    reporter.event(&Event::Warning { code: "touches-session", message, hint: Some(hint.to_owned()) });
}

/// A plan in a line.
#[must_use]
pub fn in_short(plan: &Plan) -> String {
    if plan.is_empty() {
        return "nothing to do".to_owned();
    }
    let count = |verbs: &[&str]| plan.ops.iter().filter(|op| verbs.contains(&op.verb())).count();
    let parts = [
        (count(&["add"]), "to add"),
        (count(&["set", "unset"]), "to change"),
        (count(&["move"]), "to move"),
        (count(&["remove"]), "to remove"),
    ];
    let told: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    told.join(", ")
}

/// One change.
#[must_use]
pub fn change(op: &Op) -> Change {
    let field = |key: &str, from: Option<&String>, to: Option<&Value>| FieldChange {
        key: key.to_owned(),
        from: from.cloned(),
        to: to.filter(|value| !matches!(value, Value::Secret(_))).map(ToString::to_string),
        secret: matches!(to, Some(Value::Secret(_))),
    };
    let (action, fields) = match &op.change {
        plan::Change::Add { fields, .. } => {
            (Action::Add, fields.iter().map(|(name, value)| field(name, None, Some(value))).collect())
        }
        plan::Change::Set { fields, .. } => {
            (Action::Set, fields.iter().map(|f| field(f.name, f.from.as_ref(), Some(&f.to))).collect())
        }
        plan::Change::Unset { field: name, from, .. } => (Action::Set, vec![field(name, Some(from), None)]),
        plan::Change::Move { .. } => (Action::Move, Vec::new()),
        plan::Change::Remove { .. } => (Action::Remove, Vec::new()),
    };
    Change { action, menu: op.menu.path.to_owned(), marker: op.marker.to_string(), reason: op.reason.clone(), fields }
}

fn warning(finding: &Finding, reporter: &Reporter) {
    let (message, hint) = (finding.message.clone(), Some(finding.hint.to_owned()));
    reporter.event(&Event::Warning { code: finding.code, message, hint });
}

/// Tells every reason of a refusal but the first, which becomes the failure.
pub fn refused(refused: Refused, reporter: &Reporter) -> Failure {
    let failure = |code, message: String, hint: &str| Failure::new(Verdict::Refused, code, message).hint(hint);
    match refused {
        Refused::Preflight(findings) => {
            let (mut refusals, warnings): (Vec<_>, Vec<_>) =
                findings.into_iter().partition(|finding| finding.weight == Weight::Refuse);
            for finding in &warnings {
                warning(finding, reporter);
            }
            if refusals.is_empty() {
                return Failure::internal("a preflight without findings refused");
            }
            let first = refusals.remove(0);
            for finding in &refusals {
                warning(finding, reporter);
            }
            failure(first.code, first.message, first.hint)
        }
        Refused::Ambiguous(doubts) => {
            for doubt in doubts.iter().skip(1) {
                let (message, hint) = (doubt.to_string(), Some(doubt.hint().to_owned()));
                reporter.event(&Event::Warning { code: "ambiguous", message, hint });
            }
            match doubts.first() {
                Some(first) => failure("ambiguous", first.to_string(), first.hint()),
                None => Failure::internal("an ambiguity without a row"),
            }
        }
        Refused::Removals { .. } => failure(
            "too-many-removals",
            refused.to_string(),
            "look at the plan; if it is what you want, raise --max-removals",
        ),
    }
}

/// The way out where the lock's row shows no end.
const STUCK_LOCK: &str = "wait a minute, then run this again; if it stays so, remove the entry of list sitepeer-lock (/ip/firewall/address-list)";

/// What a run that did not converge means for the exit code.
pub fn unconverged(error: ConvergeError, reporter: &Reporter) -> anyhow::Error {
    let again = "what was written stays; running the same command again completes it";
    let failure = match error {
        ConvergeError::Refused(why) => refused(why, reporter),
        ConvergeError::Lock(busy @ (LockError::Busy(_) | LockError::Lost | LockError::Unwarranted))
        | ConvergeError::Apply(ApplyError::Lock(
            busy @ (LockError::Busy(_) | LockError::Lost | LockError::Unwarranted),
        )) => {
            let hint = match busy {
                // No reading showed a lock with an end: it was taken just now, or it is none that a run made.
                LockError::Busy(None) => STUCK_LOCK,
                _ => "wait for it to end, then run this again",
            };
            Failure::new(Verdict::Refused, "busy", busy.to_string()).hint(hint)
        }
        ConvergeError::Changed => {
            Failure::new(Verdict::Pending, "changed", error.to_string()).hint("run this again to see the new plan")
        }
        ConvergeError::Unsettled(_) => Failure::new(Verdict::Rejected, "unsettled", error.to_string())
            .hint("the router did not keep what it was told, or somebody changes it at the same time"),
        ConvergeError::Apply(ApplyError::Write { op, source: CallError::Refused(words) }) => {
            Failure::new(Verdict::Rejected, "write-refused", format!("the router refused `{op}`; it said: {words}"))
                .hint(again)
        }
        ConvergeError::Lock(LockError::Call(CallError::Refused(words))) => {
            Failure::new(Verdict::Rejected, "write-refused", format!("the router refused the lock; it said: {words}"))
                .hint("the user needs the policies read, write, test and api")
        }
        ConvergeError::Apply(ApplyError::Write { op, source }) => {
            return anyhow::Error::new(source).context(format!("in `{op}`: {again}"));
        }
        ConvergeError::Apply(ApplyError::Lock(LockError::Call(source)))
        | ConvergeError::Lock(LockError::Call(source))
        | ConvergeError::Release(source) => return source.into(),
        ConvergeError::Read(source) => return source.into(),
        ConvergeError::Guarded(found) => guard_armed(&found),
        ConvergeError::Unarmed(ArmError::Call(source)) => {
            return anyhow::Error::new(source).context("arming the guard");
        }
        ConvergeError::Unarmed(why) => {
            Failure::new(Verdict::Refused, "guard-impossible", format!("no change is made without a guard: {why}"))
                .hint("--unguarded changes it all the same; have another way to the router at hand")
        }
    };
    failure.into()
}

fn guard_armed(found: &Found) -> Failure {
    Failure::new(Verdict::Refused, "guard-armed", found.explain()).hint("run this again in a minute")
}

/// What a guarded run that did not get through means for the exit code.
pub fn guard_failed(error: GuardError, reporter: &Reporter) -> anyhow::Error {
    let message = error.to_string();
    let failure = match error {
        GuardError::Converge(why) => return unconverged(why, reporter),
        GuardError::Read(why) => return why.into(),
        GuardError::Busy(why) => busy_here(why),
        GuardError::Armed(found) => guard_armed(&found),
        GuardError::PutBack { why: Unconfirmed::Incomplete(why) } => {
            let why = Failure::from(unconverged(why, reporter)).message;
            Failure::new(Verdict::Rejected, "put-back", format!("the router was put back as it was: {why}"))
                .hint("nothing of the plan is left on the router")
        }
        GuardError::PutBack { .. } => Failure::new(Verdict::Rejected, "put-back", message)
            .hint("nothing of the plan is left on the router; run it from the site's own network to see what it does"),
        GuardError::OutOfSight { .. } => Failure::new(Verdict::Unreachable, "out-of-sight", message)
            .hint("look at it with sitepeer status in a minute; it needs nobody for coming back"),
    };
    failure.into()
}

/// Another run on this host.
#[must_use]
pub fn busy_here(error: BusyHere) -> Failure {
    Failure::new(Verdict::Refused, "busy", error.to_string()).hint("wait for it to end, then run this again")
}

/// Counts what a run cost.
pub fn tally(reporter: &Reporter, progress: &Progress) {
    reporter.tally(|tally| {
        tally.writes = progress.writes;
        tally.round_trips.read += progress.reading;
        tally.round_trips.write = progress.writing;
        tally.round_trips.verify = progress.verifying;
    });
}

/// A round-trip time for people.
#[must_use]
pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// Bytes for people, in binary units.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut whole, mut rest, mut unit) = (count, 0, None);
    for name in UNITS {
        if whole < 1024 {
            break;
        }
        (rest, whole, unit) = (whole % 1024, whole / 1024, Some(name));
    }
    match unit {
        Some(unit) => format!("{whole}.{} {unit}", rest * 10 / 1024),
        None => format!("{whole} B"),
    }
}
