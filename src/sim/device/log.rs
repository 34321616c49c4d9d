//! The log in memory: who logged in, and who changed what.
//!
//! A change is told as on devices whose logs others quote: `dns changed by api:admin@192.0.2.7/action:12 (/ip dns set …)`, and before
//! that as the manual has it: `mangle rule changed by admin`. From which release on, and what each menu is called, is inferred.
//! A time is without its date today, and without its year this year. *Source*: manual, Log.

use std::collections::VecDeque;

use super::rows::{Fields, Item, Origin};
use super::{Device, Request, Viewer};
use crate::domain::RouterOsVersion;
use crate::sim::faults::Fault;

/// Lines that are kept. *Source*: `/system/logging/action`, `memory-lines=1000` by default.
const MEMORY_LINES: usize = 1000;
/// Since when a change is told with the program, the address and the command. Inferred: logs with it are of 7.18 and later.
const COMMANDS_TOLD_SINCE: RouterOsVersion = RouterOsVersion::new(7, 18, 0);
/// Values that are not for a log.
const SECRETS: [&str; 3] = ["private-key", "preshared-key", "password"];
const CHANGES: &str = "system,info";
const ACCOUNTS: &str = "system,info,account";

/// One line.
#[derive(Clone, Debug)]
struct Line {
    id: u32,
    date: String,
    time: String,
    topics: String,
    message: String,
}

/// The newest lines, oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: VecDeque<Line>,
    next: u32,
}

impl Device {
    /// Writes a line.
    pub(super) fn log_line(&mut self, topics: &str, message: String) {
        let room = self.log_room();
        let (date, time) = (self.clock.date(), self.clock.time());
        let log = &mut self.journal;
        log.next += 1;
        log.lines.push_back(Line { id: log.next, date, time, topics: topics.to_owned(), message });
        while log.lines.len() > room {
            log.lines.pop_front();
        }
    }

    /// How many lines are kept: a fault may have set aside more.
    fn log_room(&self) -> usize {
        let more = self.options.faults.iter().find_map(|fault| match fault {
            Fault::LogRows(count) => Some(*count),
            _ => None,
        });
        MEMORY_LINES + more.unwrap_or_default()
    }

    /// Fills the log with lines that tell of no change.
    pub(super) fn fill_log(&mut self, count: usize) {
        for n in 0..count {
            self.log_line("firewall,info", format!("input: in:ether1 out:(unknown 0), proto UDP, packet {n}"));
        }
    }

    /// Empties it, as a reboot does.
    pub(super) fn restart_log(&mut self) {
        self.journal.lines.clear();
        self.log_line(CHANGES, "router rebooted".to_owned());
    }

    pub(super) fn log_account(&mut self, user: &str, what: &str) {
        self.log_line(ACCOUNTS, format!("user {user} logged {what}"));
    }

    /// Tells of a change; `made` is the id of a row that was added.
    pub(super) fn log_change(&mut self, viewer: &Viewer, request: &Request, made: Option<&str>) {
        let (menu, command) = request.split();
        let Some(verb) = verb(command) else { return };
        let what = called(menu);
        if self.options.faults.contains(&Fault::LogAlien) {
            return self.log_line("system;info", format!("{what}: {verb}, {}", viewer.user));
        }
        if self.options.version < COMMANDS_TOLD_SINCE {
            return self.log_line(CHANGES, format!("{what} {verb} by {}", viewer.user));
        }
        let mut words = vec![menu.replace('/', " ").trim_start().to_owned(), command.to_owned()];
        words.extend(request.attrs.iter().map(|(name, value)| match name.as_str() {
            ".id" | "numbers" => String::from_utf8_lossy(value).into_owned(),
            name if SECRETS.contains(&name) => format!("{name}=***"),
            name => format!("{name}={}", String::from_utf8_lossy(value)),
        }));
        let said = words.join(" ");
        let line = match made {
            Some(id) => format!("{what} {verb} by {} ({id} = /{said})", viewer.from),
            None => format!("{what} {verb} by {}/action:{} (/{said})", viewer.from, self.writes),
        };
        self.log_line(CHANGES, line);
    }

    /// The log as rows.
    pub(super) fn log_items(&self) -> impl Iterator<Item = Item> + '_ {
        let (today, full) = (self.clock.date(), self.options.faults.contains(&Fault::LogFullTimes));
        let alien = self.options.faults.contains(&Fault::LogAlien);
        self.journal.lines.iter().map(move |line| {
            let time = match (alien, full) {
                (true, _) => format!("T+{}", line.time.replace(':', ".")),
                (false, true) => format!("{} {}", line.date, line.time),
                (false, false) => short(&line.date, &line.time, &today),
            };
            let fields = [("time", time.as_str()), ("topics", &line.topics), ("message", &line.message)];
            Item { id: line.id, fields: Fields::of(&fields), origin: Origin::Builtin, expires: None }
        })
    }
}

/// A time without what today says as well: its date, or its year.
fn short(date: &str, time: &str, today: &str) -> String {
    let year = |date: &str| {
        date.rsplit('/').next().filter(|_| date.contains('/')).or(date.split('-').next()).map(str::to_owned)
    };
    let (of, now) = (year(date), year(today));
    match of.filter(|of| now.as_ref() == Some(of)) {
        _ if date == today => time.to_owned(),
        Some(of) => format!("{} {time}", date.replace(&format!("{of}-"), "").replace(&format!("/{of}"), "")),
        None => format!("{date} {time}"),
    }
}

fn verb(command: &str) -> Option<&'static str> {
    Some(match command {
        "add" => "added",
        "remove" => "removed",
        "move" => "moved",
        "set" | "unset" | "enable" | "disable" | "comment" => "changed",
        _ => return None,
    })
}

/// What the log calls a row of a menu. *Source*: quoted logs for rules, scripts and DNS; the rest is inferred.
fn called(menu: &str) -> &str {
    match menu {
        "/ip/firewall/filter" | "/ipv6/firewall/filter" => "filter rule",
        "/ip/firewall/mangle" | "/ipv6/firewall/mangle" => "mangle rule",
        "/ip/firewall/nat" | "/ipv6/firewall/nat" => "nat rule",
        "/ip/route" | "/ipv6/route" => "route",
        "/ip/address" | "/ipv6/address" => "address",
        "/system/script" => "script",
        "/system/scheduler" => "script schedule",
        other => other.rsplit('/').next().unwrap_or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_no_date_today_and_no_year_this_year() {
        for (date, today, shown) in [
            ("2026-11-30", "2026-11-30", "11:59:00"),
            ("2026-11-29", "2026-11-30", "11-29 11:59:00"),
            ("2025-11-30", "2026-11-30", "2025-11-30 11:59:00"),
            ("nov/30/2026", "nov/30/2026", "11:59:00"),
            ("nov/29/2026", "nov/30/2026", "nov/29 11:59:00"),
            ("nov/29/2025", "nov/30/2026", "nov/29/2025 11:59:00"),
        ] {
            assert_eq!(short(date, "11:59:00", today), shown);
        }
    }
}
