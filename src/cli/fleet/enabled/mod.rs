//! `sitepeer fleet`: the command for one router, on many, wave by wave.
//!
//! | module | holds |
//! |---|---|
//! | `waves` | who goes when, and when it stops |
//! | `one` | one router's turn |
//! | `course` | the turns of all, a bounded number at once |
//! | `done` | who is done, on disk, for the next run |
//! | `words` | what people read |

mod course;
mod done;
mod one;
mod waves;
mod words;

use std::collections::BTreeSet;

use self::course::{Course, How};
use self::done::Done;
use crate::agent::fleet::{self, FleetRouter};
use crate::cli::args::Fleet;
use crate::cli::args::fleet::{FleetChange, Operation, Select};
use crate::cli::failure::Failure;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::cli::{process, session};
use crate::reconcile::guard::When;

/// Most tags that an error lists.
const LISTED_TAGS: usize = 20;

/// Carries out `fleet`.
///
/// # Errors
/// What is wrong with the fleet file or its state, or that nothing is selected. What is wrong with a router is told of it.
pub async fn run(command: Fleet, reporter: &Reporter) -> anyhow::Result<Outcome> {
    let selected = selected(&command)?;
    let mut done = command.change.as_ref().map(|change| opened(&command, change)).transpose()?;
    let of = selected.len();
    let now = session::now();
    let (skipped, todo): (Vec<_>, Vec<_>) =
        selected.into_iter().partition(|router| done.as_ref().is_some_and(|done| done.has(router, now)));
    let names = |routers: &[FleetRouter]| routers.iter().map(|router| router.name.clone()).collect::<Vec<_>>();
    let skipped = names(&skipped);
    if !skipped.is_empty() {
        let (count, list) = (skipped.len(), skipped.join(", "));
        reporter.note_for_people(&format!("skipped  {count} done by an earlier run: {list}; --again does them again"));
    }
    let waves = waves::waves(todo.len(), of, command.change.as_ref());
    if let Some(change) = command.change.as_ref().filter(|_| !todo.is_empty()) {
        let question = question(&command, todo.len(), &waves);
        tokio::select! {
            answer = change.confirm.obtain(reporter, &question) => answer?,
            verdict = process::stop_signal() => {
                return Err(Failure::new(verdict, "stopped", "stopped; nothing was changed").into());
            }
        }
    }
    let mut course = Course::new(&command, &todo, done.as_mut(), reporter);
    let how = course.all(&waves).await?;
    let turns = course.turns();
    let is_whole = turns.iter().all(|turn| turn.as_ref().is_some_and(|ended| course::is_well(&command, ended)));
    if let Some(done) = done.as_mut().filter(|_| is_whole) {
        done.finish(todo.iter().map(|router| router.name.as_str()).chain(skipped.iter().map(String::as_str)))?;
    }
    Ok(summary(&command, &todo, &turns, &skipped, how, reporter))
}

/// The routers that all of `--select` holds for, in the file's order.
fn selected(command: &Fleet) -> Result<Vec<FleetRouter>, Failure> {
    let fleet = fleet::load(&command.file)?;
    let holds = |router: &FleetRouter, select: &Select| match select {
        Select::Tag(tag) => router.tags.contains(tag),
        Select::Name(name) => router.name == *name,
    };
    let tags: BTreeSet<String> = fleet.routers.iter().flat_map(|router| router.tags.clone()).collect();
    let fits = |router: &FleetRouter| command.select.iter().all(|select| holds(router, select));
    let selected: Vec<FleetRouter> = fleet.routers.into_iter().filter(fits).collect();
    if !selected.is_empty() {
        return Ok(selected);
    }
    let wanted: Vec<String> = command.select.iter().map(ToString::to_string).collect();
    let message = format!("no router of {} is selected by {}", command.file.display(), wanted.join(" and "));
    let more = if tags.len() > LISTED_TAGS { ", …" } else { "" };
    let listed: Vec<&str> = tags.iter().take(LISTED_TAGS).map(String::as_str).collect();
    let hint = match listed.as_slice() {
        [] => "no router of it has a tag; name=… selects one by its name".to_owned(),
        listed => format!("its tags are: {}{more}", listed.join(", ")),
    };
    Err(Failure::usage("nothing-selected", message).hint(hint))
}

fn opened(command: &Fleet, change: &FleetChange) -> Result<Done, Failure> {
    let operation = command.operation.word();
    let path = change.state.clone().unwrap_or_else(|| done::beside(&command.file, operation));
    if change.again { Ok(Done::begun_anew(path, operation)) } else { Done::open(path, operation) }
}

fn question(command: &Fleet, count: usize, waves: &[std::ops::Range<usize>]) -> String {
    let sizes: Vec<String> = waves.iter().map(|wave| wave.len().to_string()).collect();
    let order = if sizes.len() > 1 { format!(", in waves of {}", sizes.join(", ")) } else { String::new() };
    match command.operation {
        Operation::Remove => format!("Take all rows of sitepeer's sites out of {count} routers{order}?"),
        _ => format!("Provision {count} routers{order}?"),
    }
}

/// What is said at the end, and the exit code.
fn summary(
    command: &Fleet,
    todo: &[FleetRouter],
    turns: &[Option<one::Ended>],
    skipped: &[String],
    how: How,
    reporter: &Reporter,
) -> Outcome {
    let (mut well, mut pending, mut failed, mut untouched) = (0_usize, Vec::new(), Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for (router, turn) in todo.iter().zip(turns) {
        let name = router.name.clone();
        let Some(ended) = turn else {
            rows.push([name.clone(), "untouched".to_owned(), "-".to_owned(), String::new()]);
            untouched.push(name);
            continue;
        };
        let (word, what) = words::ended(ended);
        rows.push([name.clone(), word, format!("{:.1} s", ended.took.as_secs_f64()), what]);
        match &ended.result {
            Ok(outcome) if command.operation == Operation::Plan && outcome.verdict == Verdict::Pending => {
                pending.push(name);
            }
            _ if course::is_well(command, ended) => well += 1,
            _ => failed.push(name),
        }
    }
    reporter.data(&words::table(&rows));
    let verdict = match (how, &failed[..], &untouched[..], &pending[..]) {
        (How::Stopped(verdict), ..) => verdict,
        (How::Through, [], [], []) if command.operation == Operation::Remove => Verdict::Removed,
        (How::Through, [], [], []) => Verdict::Converged,
        (How::Through, [], [], _) => Verdict::Pending,
        (How::Through | How::TooManyFailed, ..) => Verdict::Found,
    };
    let counts = [
        (well, "well"),
        (pending.len(), "to be changed"),
        (failed.len(), "failed"),
        (untouched.len(), "untouched"),
        (skipped.len(), "skipped"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let counts = format!("{} routers: {}", todo.len() + skipped.len(), counts.collect::<Vec<_>>().join(", "));
    let mut outcome = Outcome::new(verdict).say(format!("{:<8} {counts}", command.operation.word()));
    if how == How::TooManyFailed {
        outcome = outcome.say(format!("stopped  after the failure of {}", failed.join(", ")));
    }
    if !untouched.is_empty() {
        outcome = outcome.say(format!("untouched: {}", untouched.join(", ")));
    }
    let is_unfinished = command.change.is_some() && !(failed.is_empty() && untouched.is_empty());
    let go_on = is_unfinished.then(|| go_on(command));
    if let Some(go_on) = &go_on {
        outcome = outcome.say(format!("hint: to go on, once the cause is mended: {go_on}"));
    }
    outcome
        .detail("operation", command.operation.word())
        .detail("selected", todo.len() + skipped.len())
        .detail("well", well)
        .detail("pending", pending)
        .detail("failed", failed)
        .detail("untouched", untouched)
        .detail("skipped", skipped.to_vec())
        .detail("go_on", go_on)
}

/// The command that goes on with what is left.
fn go_on(command: &Fleet) -> String {
    let mut words = vec!["sitepeer".to_owned(), "fleet".to_owned(), command.operation.word().to_owned()];
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), quoted(&value)]);
    option("fleet", command.file.display().to_string());
    for select in &command.select {
        option("select", select.to_string());
    }
    if let Operation::Provision { proof_timeout, max_removals } = command.operation {
        option("timeout", proof_timeout.as_secs().to_string());
        option("max-removals", max_removals.to_string());
    }
    if let Some(change) = &command.change {
        option("canary", change.canary.to_string());
        option("wave", change.wave.to_string());
        option("max-failures", change.max_failures.to_string());
        option("pause", format!("{}s", change.pause.as_secs()));
        if let Some(state) = &change.state {
            option("state", state.display().to_string());
        }
        match change.guard {
            When::Always => words.push("--guard".to_owned()),
            When::Never => words.push("--unguarded".to_owned()),
            When::Session | When::Tunnel | When::SafeMode => {}
        }
    }
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/=%:@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
