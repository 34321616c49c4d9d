//! Safe mode: everything that anybody changes while a session holds it goes back when that session ends without letting go.
//!
//! *Source*: the console's schema from 7.18 on (take, release, unroll; enabled, current, user, owner); `tik4net` for what it is
//! bound to; the manual for the 100 actions and the nine minutes. What is not known is a fault of its own each: whether its holder
//! is shown, how late an end is noticed, and what a reboot does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::rows::{Table, View, show_id};
use super::{Answer, Device, Refusal, Request, Viewer};
use crate::sim::faults::Fault;

/// The menu.
pub(super) const MENU: &str = "/safe-mode";
/// Actions that can be undone; one more, and safe mode ends without a word, and without undoing. *Source*: manual.
const HISTORY: u64 = 100;
/// How long a peer may be silent before its session has ended. *Source*: manual, "TCP timeout, 9 minutes".
const DEAD_PEER: Duration = Duration::from_mins(9);

/// Whether it is held, and by whom.
#[derive(Default)]
pub(super) struct SafeMode {
    held: Option<Held>,
    /// Whether the sessions' way is cut off: then no end of one gets through.
    cut: bool,
}

struct Held {
    /// `None`: somebody at the console.
    session: Option<u32>,
    user: String,
    /// All rows as they were.
    before: BTreeMap<&'static str, Table>,
    actions: u64,
    /// When the device takes the session for ended.
    ends: Option<Instant>,
    /// Whether the other side has let go of the connection.
    gone: bool,
}

impl Device {
    /// Executes a command of the menu.
    pub(super) fn safe_mode(&mut self, viewer: &Viewer, command: &str, request: &Request) -> Result<Answer, Refusal> {
        match command {
            "print" => return Ok(Answer::Rows(vec![self.shown_safe_mode(viewer)])),
            "get" => {
                let name = request.text("value-name").unwrap_or_default();
                let value = self.shown_safe_mode(viewer).0.into_iter().find(|(k, _)| k == name).map(|(_, v)| v);
                return Ok(Answer::Done(value));
            }
            _ => self.writes += 1,
        }
        match command {
            "take" => self.take_safe_mode(viewer, request.text("on-error").unwrap_or("abort"))?,
            "release" | "unroll" => {
                let is_own = |held: &mut Held| held.session == viewer.session;
                let held = self.safe_mode.held.take_if(is_own).ok_or(Refusal::SafeModeNotHeld)?;
                if command == "unroll" {
                    self.go_back(held.before);
                }
            }
            _ => return Err(Refusal::NoSuchCommand),
        }
        Ok(Answer::Done(None))
    }

    fn take_safe_mode(&mut self, viewer: &Viewer, on_error: &str) -> Result<(), Refusal> {
        if self.has_fault(Fault::SafeModeRefused) {
            return Err(Refusal::NoPermission);
        }
        match self.safe_mode.held.take() {
            Some(held) if held.session == viewer.session => {
                self.safe_mode.held = Some(held);
                return Ok(());
            }
            Some(held) => match on_error {
                "release" => {}
                "unroll" => self.go_back(held.before),
                _ => {
                    self.safe_mode.held = Some(held);
                    return Err(Refusal::SafeModeHeld);
                }
            },
            None => {}
        }
        if !self.has_fault(Fault::SafeModeNotTaken) {
            let (session, user, before) = (viewer.session, viewer.user.clone(), self.tables.clone());
            self.safe_mode.held = Some(Held { session, user, before, actions: 0, ends: None, gone: false });
        }
        Ok(())
    }

    fn has_fault(&self, fault: Fault) -> bool {
        self.options.faults.contains(&fault)
    }

    fn shown_safe_mode(&self, viewer: &Viewer) -> View {
        let held = self.safe_mode.held.as_ref();
        let flag = |is_so: bool| if is_so { b"true".to_vec() } else { b"false".to_vec() };
        let is_own = held.is_some_and(|held| held.session == viewer.session);
        let mut row = vec![("enabled".to_owned(), flag(held.is_some())), ("current".to_owned(), flag(is_own))];
        if let Some(held) = held.filter(|_| !self.has_fault(Fault::SafeModeAnonymous)) {
            let owner = held.session.map_or_else(|| "console".to_owned(), show_id);
            row.push(("owner".to_owned(), owner.into_bytes()));
            row.push(("user".to_owned(), held.user.clone().into_bytes()));
        }
        View(row)
    }

    /// Counts a change that somebody made.
    pub(super) fn count_action(&mut self) {
        let limit = self.options.faults.iter().find_map(|fault| match fault {
            Fault::SafeModeHistory(actions) => Some(*actions),
            _ => None,
        });
        let limit = limit.unwrap_or(HISTORY);
        if let Some(held) = &mut self.safe_mode.held {
            held.actions += 1;
        }
        self.safe_mode.held.take_if(|held| held.actions > limit);
    }

    /// A session has ended, as far as the device can know.
    pub(super) fn end_of_session(&mut self, id: u32) {
        let late = self.lateness();
        let (now, cut) = (self.clock.monotonic(), self.safe_mode.cut);
        let Some(held) = self.safe_mode.held.as_mut().filter(|held| held.session == Some(id)) else { return };
        held.gone = true;
        if !cut {
            held.ends = Some(now + late);
        }
    }

    /// The sessions' way is cut off, or open again.
    pub(crate) fn set_cut(&mut self, cut: bool) {
        if std::mem::replace(&mut self.safe_mode.cut, cut) == cut {
            return;
        }
        let late = self.lateness();
        let now = self.clock.monotonic();
        if let Some(held) = self.safe_mode.held.as_mut().filter(|held| held.session.is_some()) {
            held.ends = match (cut, held.gone) {
                (true, _) => Some(now + DEAD_PEER),
                (false, true) => Some(now + late),
                (false, false) => None,
            };
        }
    }

    fn lateness(&self) -> Duration {
        let late = self.options.faults.iter().find_map(|fault| match fault {
            Fault::SafeModeLate(secs) => Some(Duration::from_secs(*secs)),
            _ => None,
        });
        late.unwrap_or_default()
    }

    /// When the device takes the holder's session for ended.
    pub(super) fn safe_mode_ends(&self) -> Option<Instant> {
        self.safe_mode.held.as_ref().and_then(|held| held.ends)
    }

    /// Goes back if the holder's session has ended, and tells whether it did.
    pub(super) fn end_safe_mode(&mut self) -> bool {
        let now = self.clock.monotonic();
        let ended = self.safe_mode.held.take_if(|held| held.ends.is_some_and(|ends| ends <= now));
        let is_over = ended.is_some();
        if let Some(held) = ended {
            self.go_back(held.before);
        }
        is_over
    }

    /// What becomes of it when the device starts anew.
    pub(super) fn reboot_safe_mode(&mut self) {
        let held = self.safe_mode.held.take();
        if let Some(held) = held.filter(|_| !self.has_fault(Fault::SafeModeKeptByReboot)) {
            self.go_back(held.before);
        }
    }

    /// Makes all rows what they were; numbers that were given since are not given again.
    fn go_back(&mut self, before: BTreeMap<&'static str, Table>) {
        let mut changes = Vec::new();
        for (name, earlier) in before {
            let table = self.table_mut(name);
            changes.extend(table.go_back_to(&earlier).into_iter().map(|(id, gone)| (name, id, gone)));
        }
        for (name, id, gone) in changes {
            if name == "/system/scheduler" {
                self.set_timer(id);
            }
            self.announce(name, id, gone);
        }
        self.settle();
    }
}
