//! Scripts and the scheduler: what the device does by itself, with nobody connected.
//!
//! *Source*: first run after one interval, owner's rights, all policies unless some are named, as observed by `MikroDash` on 7.24.4;
//! `startup` of the manual's Scheduler page. What an interval counts from after a reboot is not known: faults do each.

use std::time::{Duration, Instant};

use super::policy::parse_policies;
use super::refusal::Refusal;
use super::rows::show_id;
use super::rules::rules_of;
use super::{Answer, Device, Request, Viewer, Wanted};
use crate::sim::faults::Fault;
use crate::sim::schema::parse_duration;
use crate::sim::script::{self, Host, Words};

/// Scripts that run scripts; a device has a limit too, and recursion here must end.
const MAX_SCRIPT_DEPTH: usize = 8;
/// Lines of the log that are kept. *Source*: the manual's Log page, `memory-lines`.
const LOG_LINES: usize = 1000;
const SCHEDULER: &str = "/system/scheduler";
const SCRIPT: &str = "/system/script";

impl Device {
    /// What keeps a stored script from being made or run, beside rights.
    pub(super) fn check_scheduling(&self, menu: &str, viewer: &Viewer) -> Result<(), Refusal> {
        let has = |fault| self.options.faults.contains(&fault);
        match menu {
            SCHEDULER if has(Fault::SchedulerRefused) => Err(Refusal::DeviceMode),
            SCHEDULER | SCRIPT if has(Fault::ScriptsNeedPolicy) && !viewer.may("policy") => Err(Refusal::NoPermission),
            _ => Ok(()),
        }
    }

    /// Whether this device runs what is scheduled.
    pub(super) fn may_schedule(&self) -> bool {
        !self.options.faults.iter().any(|fault| matches!(fault, Fault::SchedulerRefused | Fault::SchedulerInactive))
    }

    /// Brings the timers in line with the entries: a new or changed entry counts from now.
    pub(super) fn set_timer(&mut self, id: u32) {
        let now = self.clock.monotonic();
        match self.interval_of(id) {
            Some(interval) => self.timers.insert(id, now + interval),
            None => self.timers.remove(&id),
        };
    }

    /// An enabled entry's interval; `None` if it never runs again by itself.
    fn interval_of(&self, id: u32) -> Option<Duration> {
        let item = self.table(SCHEDULER).iter().find(|item| item.id == id)?;
        let interval = item.fields.text("interval").and_then(parse_duration).unwrap_or_default();
        (item.is_enabled() && !interval.is_zero()).then_some(interval)
    }

    /// What becomes of the timers when the device starts anew.
    pub(super) fn restart_timers(&mut self) {
        let now = self.clock.monotonic();
        let has = |fault| self.options.faults.contains(&fault);
        let (keeps, waits) = (has(Fault::TimerKeepsCount), has(Fault::TimerWaitsForDate));
        let kept = std::mem::take(&mut self.timers);
        let entries: Vec<(u32, bool)> =
            self.table(SCHEDULER).iter().map(|item| (item.id, item.fields.is("start-time", "startup"))).collect();
        for (id, at_startup) in entries {
            match self.interval_of(id) {
                _ if waits && !at_startup => {}
                Some(interval) => {
                    let before = kept.get(&id).copied().filter(|_| keeps);
                    self.timers.insert(id, before.unwrap_or(now + interval));
                }
                // Once, when the console is there.
                None if at_startup && self.is_enabled_entry(id) => {
                    self.timers.insert(id, now);
                }
                None => {}
            }
        }
    }

    fn is_enabled_entry(&self, id: u32) -> bool {
        self.table(SCHEDULER).iter().any(|item| item.id == id && item.is_enabled())
    }

    /// When something is to run next.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        let timer = self.timers.values().min().copied().filter(|_| self.may_schedule());
        timer.into_iter().chain(self.safe_mode_ends()).min()
    }

    /// Runs what is due, and tells whether there was anything.
    pub(crate) fn run_due(&mut self) -> bool {
        let went_back = self.end_safe_mode();
        let now = self.clock.monotonic();
        let mut due: Vec<(Instant, u32)> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(id, at)| (*at, *id)).collect();
        if !self.may_schedule() {
            due.clear();
        }
        due.sort_unstable();
        for (_, id) in &due {
            match self.interval_of(*id) {
                Some(interval) => self.timers.insert(*id, now + interval),
                None => self.timers.remove(id),
            };
            self.run_event(*id);
        }
        went_back || !due.is_empty()
    }

    fn run_event(&mut self, id: u32) {
        let Some(item) = self.table(SCHEDULER).iter().find(|item| item.id == id) else { return };
        let text = |name: &str| item.fields.text(name).unwrap_or_default().to_owned();
        let event = item.fields.get("on-event").unwrap_or_default().to_vec();
        let (name, policies) = (text("name"), parse_policies(&text("policy")));
        let mut viewer = self.viewer(&text("owner"));
        viewer.policies.retain(|policy| policies.contains(policy));
        viewer.from = format!("scheduler:{name}");
        let named = String::from_utf8_lossy(&event).into_owned();
        let is_script = self.table(SCRIPT).iter().any(|item| item.fields.is("name", &named));
        let result = if is_script { self.run_script(&viewer, &named) } else { self.execute(&viewer, &event) };
        if let Err(error) = result {
            self.write_log(format!("script,error executing script from scheduler ({name}) failed: {error}"));
        }
        self.settle();
    }

    /// Runs a script by its name or id, as `/system/script/run` does.
    pub(super) fn run_script(&mut self, viewer: &Viewer, which: &str) -> Result<(), String> {
        let item = self.table(SCRIPT).iter().find(|item| item.fields.is("name", which) || show_id(item.id) == which);
        let Some(item) = item else { return Err("no such item".to_owned()) };
        let policies = parse_policies(item.fields.text("policy").unwrap_or_default());
        let source = item.fields.get("source").unwrap_or_default().to_vec();
        let name = item.fields.text("name").unwrap_or_default().to_owned();
        let needs = !item.fields.is("dont-require-permissions", "true");
        if needs && policies.iter().any(|policy| !viewer.may(policy)) {
            return Err("not enough permissions".to_owned());
        }
        let from = format!("{}/script:{name}", viewer.from);
        self.execute(&Viewer { user: viewer.user.clone(), policies, session: None, from }, &source)
    }

    fn execute(&mut self, viewer: &Viewer, source: &[u8]) -> Result<(), String> {
        if self.script_depth >= MAX_SCRIPT_DEPTH {
            return Err("maximum script depth reached".to_owned());
        }
        self.script_depth += 1;
        let result = script::run(source, &mut Console { viewer: viewer.clone(), device: self });
        self.script_depth -= 1;
        result.map_err(|error| error.to_string())
    }

    pub(crate) fn write_log(&mut self, line: String) {
        let over = (self.log.len() + 1).saturating_sub(LOG_LINES);
        self.log.drain(..over);
        let (topics, message) = line.split_once(' ').unwrap_or(("script,info", line.as_str()));
        self.log_line(topics, message.to_owned());
        self.log.push(line);
    }
}

/// The device as a script sees it.
struct Console<'a> {
    device: &'a mut Device,
    viewer: Viewer,
}

impl Host for Console<'_> {
    fn find(&self, menu: &str, matching: &Words) -> Result<Vec<String>, String> {
        let rules = rules_of(menu).filter(|_| self.device.schema.menu(menu).is_some());
        let rules = rules.ok_or("bad command name")?;
        if !self.viewer.may("read") {
            return Err("not enough permissions".to_owned());
        }
        let mut queries = Vec::new();
        for (name, value) in matching {
            let value: &[u8] = match value.as_slice() {
                b"yes" => b"true",
                b"no" => b"false",
                other => other,
            };
            queries.push([b"=", name.as_bytes(), b"=", value].concat());
        }
        let wanted = Wanted { proplist: Some(vec![".id".to_owned()]), queries, from: None };
        let rows = self.device.print(rules, &wanted, &self.viewer);
        let id = |row: super::View| row.0.into_iter().next().map(|(_, id)| String::from_utf8_lossy(&id).into_owned());
        Ok(rows.into_iter().filter_map(id).collect())
    }

    fn command(&mut self, menu: &str, verb: &str, rows: Option<&[String]>, args: Words) -> Result<(), String> {
        if rows.is_some_and(<[String]>::is_empty) {
            return Ok(());
        }
        let mut attrs = args;
        if let Some(rows) = rows {
            attrs.push((".id".to_owned(), rows.join(",").into_bytes()));
        }
        let request = Request { path: format!("{menu}/{verb}"), attrs, queries: Vec::new(), tag: None };
        match self.device.run(&self.viewer, &request) {
            Ok(Answer::Done(_)) => Ok(()),
            Ok(_) => Err("bad command name".to_owned()),
            Err(refusal) => Err(self.device.texts.trap(&refusal).message),
        }
    }

    fn say(&mut self, line: String) {
        self.device.write_log(line);
    }
}
