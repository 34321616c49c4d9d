//! Who changed rows of ours, as far as the router tells.
//!
//! RouterOS logs a change as `<what> changed by <who>`, with the topics `system,info`; who is a user, or since some version the program,
//! the user and the address: `winbox:admin@192.0.2.9`. *Source:* logs quoted by others, for want of a device: so what cannot be read is
//! no answer, and never a wrong one. Where the log says nothing, those who are logged in are named as such.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::clean;
use crate::reconcile::names::NAME_PREFIX;
use crate::reconcile::observe::Observed;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu;

/// Verbs of the log for a change of a row.
const VERBS: [&str; 4] = [" changed by ", " added by ", " removed by ", " moved by "];
/// What the number of an action in the router's history stands behind.
const ACTION: &str = "/action:";
/// Most lines of the log that are looked at: RouterOS keeps 1000 in memory unless told otherwise.
const MAX_LINES: usize = 20_000;
/// How long the log may take in all: what was changed is put back after it, and a router that drips must not hold that up.
const LOG_WITHIN: Duration = Duration::from_secs(5);
/// Lines that are kept of them: the newest tell.
const KEPT_LINES: usize = 64;
/// Longest name that is told, in characters: program, user and address.
const MAX_WHO: usize = 96;
/// Most people who are named because they are logged in.
const MAX_PRESENT: usize = 4;
/// The log's clock counts whole seconds, and ours began to count a little later.
const SLACK_SECS: i64 = 5;

/// A change as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// By the router's clock, seconds since 1970.
    at: i64,
    what: String,
    who: String,
}

/// Says who changed rows within the last while; `user` is ours, whose changes are none. Nothing that goes wrong here is an error.
///
/// # Cancel safety
/// Nothing is written.
pub(super) async fn culprit(client: &Client, observed: &Observed, user: &str, since: Duration) -> Option<String> {
    let now = observed.clock();
    let lines = match now {
        Some(_) => match timeout(LOG_WITHIN, log(client, observed)).await {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the log cannot be read");
                VecDeque::new()
            }
            Err(_) => {
                tracing::debug!("the log is too long to be read");
                VecDeque::new()
            }
        },
        None => VecDeque::new(),
    };
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let from = now.unwrap_or(i64::MAX).saturating_sub(since).saturating_sub(SLACK_SECS);
    of_log(lines.iter().filter(|line| line.at >= from), user).or_else(|| present(observed, user))
}

/// The last of others who changed something.
fn of_log<'a>(lines: impl DoubleEndedIterator<Item = &'a Line>, user: &str) -> Option<String> {
    let other = lines.rev().find(|line| !may_be_us(&line.who, user))?;
    Some(format!("{} (the log: {})", other.who, other.what))
}

/// Whether a name in the log may mean this agent: its user without a program, or by the API; or a timer that it armed.
fn may_be_us(who: &str, user: &str) -> bool {
    let (program, rest) = who.split_once(':').unwrap_or(("", who));
    let name = rest.split(['@', '/']).next().unwrap_or(rest);
    if program == "scheduler" {
        // What our timers do is the router's undoing of what we did.
        return name.starts_with(NAME_PREFIX);
    }
    name == user && (program.is_empty() || program.contains("api"))
}

/// Those who are logged in by something else than the API, or as somebody else.
fn present(observed: &Observed, user: &str) -> Option<String> {
    let of = |row: &crate::reconcile::entry::Entry| {
        let said = |name: &str| row.text(name).map(|text| short(&text)).unwrap_or_default();
        let (name, via, from) = (said("name"), said("via"), said("address"));
        (name != user || !via.starts_with("api")).then(|| format!("{name} by {via} from {from}"))
    };
    let mut all: Vec<String> = observed.rows(&menu::USER_ACTIVE).iter().filter_map(of).collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(MAX_PRESENT);
    (!all.is_empty()).then(|| format!("somebody; logged in then: {}", all.join(", ")))
}

fn short(text: &str) -> String {
    clean(text).chars().take(MAX_WHO).collect()
}

/// The newest changes that the log tells of.
async fn log(client: &Client, observed: &Observed) -> Result<VecDeque<Line>, CallError> {
    let command = Command::new("/log/print").proplist(&["time", "topics", "message"]).query("?topics=system,info");
    let mut call = client.stream(&command).await?;
    let mut kept = VecDeque::new();
    for _ in 0..MAX_LINES {
        let Some(row) = call.next().await else { break };
        let row = row?;
        let text = |name: &str| row.get(name).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        if let Some((what, who)) = change(&text("message"))
            && let Some(at) = moment(&text("time"), observed)
        {
            if kept.len() >= KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(Line { at, what, who });
        }
    }
    Ok(kept)
}

/// What was changed, and by whom.
fn change(message: &str) -> Option<(String, String)> {
    let (at, verb) = VERBS.iter().filter_map(|verb| Some((message.find(verb)?, verb))).min()?;
    let what = short(message.get(..at)?.trim());
    let rest = message.get(at + verb.len()..)?;
    // The number of the action in the router's history tells nobody anything.
    let who = rest.split(' ').next()?;
    let who = short(who.find(ACTION).and_then(|at| who.get(..at)).unwrap_or(who));
    (!who.is_empty()).then_some((what + verb.trim_end_matches(" by "), who))
}

/// Seconds since 1970 of a time in the log: today's without a date, this year's without a year.
fn moment(time: &str, observed: &Observed) -> Option<i64> {
    let clock = observed.singleton(&menu::CLOCK)?;
    let today = clock.text("date")?;
    let (date, time) = match time.split_once(' ') {
        None => (today.clone().into_owned(), time),
        Some((date, time)) => (whole_date(date, &today)?, time),
    };
    menu::clock_seconds(date.as_bytes(), time.as_bytes(), clock.get("gmt-offset"))
}

/// A date with its year: `08-31` and `aug/31` have none.
fn whole_date(date: &str, today: &str) -> Option<String> {
    let iso_year = today.split_once('-').map(|(year, _)| year);
    let year = iso_year.or_else(|| today.rsplit_once('/').map(|(_, year)| year))?;
    Some(match (date.matches('-').count(), date.matches('/').count()) {
        (1, 0) => format!("{year}-{date}"),
        (0, 1) => format!("{date}/{year}"),
        _ => date.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::entry::Entry;

    fn entry(pairs: &[(&str, &str)]) -> Entry {
        Entry::new(pairs.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    fn router(date: &str) -> Observed {
        let clock = entry(&[("date", date), ("time", "12:00:00"), ("gmt-offset", "+00:00")]);
        let active = |name, via, address| entry(&[("name", name), ("via", via), ("address", address)]);
        Observed::new([
            (&menu::CLOCK, vec![clock]),
            (
                &menu::USER_ACTIVE,
                vec![active("sitepeer", "api-ssl", "192.0.2.5"), active("anna", "winbox", "192.0.2.9")],
            ),
        ])
    }

    #[test]
    fn a_change_is_read_in_each_form_that_is_known_and_nothing_else_is_one() {
        for (message, what, who) in [
            ("filter rule changed by admin", "filter rule changed", "admin"),
            ("route 10.0.0.0/8 removed by api:ops@192.0.2.7", "route 10.0.0.0/8 removed", "api:ops@192.0.2.7"),
            (
                "ip/firewall/filter changed by winbox:admin@172.30.3.169 (added)",
                "ip/firewall/filter changed",
                "winbox:admin@172.30.3.169",
            ),
            (
                "address added by winbox-3.41/tcp-msg(winbox):anna@192.0.2.9/terminal (/ip address add)",
                "address added",
                "winbox-3.41/tcp-msg(winbox):anna@192.0.2.9/terminal",
            ),
        ] {
            assert_eq!(change(message), Some((what.to_owned(), who.to_owned())), "{message}");
        }
        for (message, who) in [
            ("route removed by api:ops@::/action:243 (/ip route remove *8)", "api:ops@::"),
            (
                "Netwatch config removed by tcp-msg(winbox):admin@192.0.2.9/terminal/action:133 (/tool netwatch remove *1)",
                "tcp-msg(winbox):admin@192.0.2.9/terminal",
            ),
            (
                "peer changed by mac-msg(winbox):admin@02:00:00:00:53:3C/action:7 (/x)",
                "mac-msg(winbox):admin@02:00:00:00:53:3C",
            ),
        ] {
            assert_eq!(change(message).unwrap().1, who, "{message}");
        }
        for other in ["user admin logged in from 10.0.0.5 via ssh", "", " changed by ", "changed by admin"] {
            assert_eq!(change(other), None, "{other:?}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_date_and_year() {
        let noon = router("2026-11-30").clock().unwrap();
        for (time, clock) in [
            ("2026-11-30 11:59:00", "2026-11-30"),
            ("11-30 11:59:00", "2026-11-30"),
            ("11:59:00", "2026-11-30"),
            ("nov/30/2026 11:59:00", "nov/30/2026"),
            ("nov/30 11:59:00", "nov/30/2026"),
            ("11:59:00", "nov/30/2026"),
        ] {
            assert_eq!(moment(time, &router(clock)), Some(noon - 60), "{time}");
        }
        assert_eq!(moment("yesterday at noon", &router("2026-11-30")), None);
    }

    #[test]
    fn what_may_have_been_ourselves_is_nobody_s() {
        let line = |who: &str| Line { at: 0, what: "route changed".to_owned(), who: who.to_owned() };
        let lines = [line("anna"), line("sitepeer"), line("api:sitepeer@192.0.2.5")];
        assert_eq!(of_log(lines.iter(), "sitepeer").unwrap(), "anna (the log: route changed)");
        assert_eq!(of_log(lines[1..].iter(), "sitepeer"), None);
        assert!(may_be_us("scheduler:sitepeer-k3f9q2-guard/script:sitepeer-k3f9q2-guard", "sitepeer"));
        assert!(!may_be_us("scheduler:nightly/script:nightly", "sitepeer"));
        let by_hand = [line("winbox:sitepeer@192.0.2.9")];
        assert!(of_log(by_hand.iter(), "sitepeer").unwrap().contains("192.0.2.9"));
    }

    #[test]
    fn where_the_log_says_nothing_those_who_are_logged_in_are_named_as_such() {
        let said = present(&router("2026-11-30"), "sitepeer").unwrap();
        assert_eq!(said, "somebody; logged in then: anna by winbox from 192.0.2.9");
        assert_eq!(present(&Observed::new([]), "sitepeer"), None);
    }
}
