//! The rows of a guard: a script, and two entries of the scheduler that run it.
//!
//! All three bear our marker and a reserved name. They are written before the first change and read back as they must be; what is not
//! exactly so, or would not run, is taken out again and nothing is changed.

use std::time::{Duration, Instant};

use crate::domain::{Marker, Role, SiteId};
use crate::reconcile::guard::{Found, Irreversible};
use crate::reconcile::names::NAME_PREFIX;
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu::{format_duration, parse_duration};
use crate::routeros::row::Row;

/// What the script may do: no more than a plan needs, so that a user with no more may make it.
const POLICY: &str = "read,write";
/// The longest script that is stored: the router takes no word much longer. *Source*: 60,416 bytes taken, 61,440 refused as the
/// contents of a file, observed on 7.24.4.
const MAX_SCRIPT_BYTES: usize = 60_000;
/// How long the router may take for a word about the guard itself: what it does not say by then is looked for again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a plan cannot be guarded.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// Something in it cannot be undone.
    #[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Irreversible(Vec<Irreversible>),
    /// The script would be too long to be stored.
    #[error("the script that would undo it has {length} bytes, and the router takes {MAX_SCRIPT_BYTES}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The router did not take a part of it.
    #[error("the router took no {what}; it said: {words}")]
    Refused {
        /// Which part.
        what: &'static str,
        /// In its own words.
        words: String,
    },
    /// It is there and would not run, or is not as it was written.
    #[error("the guard would not work on this router: {0}")]
    Useless(String),
    /// The router did not answer.
    #[error("arming the guard")]
    Call(#[source] CallError),
}

/// What a guard must be.
#[derive(Clone, Debug)]
pub struct Fuse {
    site: SiteId,
    /// The script.
    source: String,
    /// When it runs.
    after: Duration,
}

/// A guard that is armed.
#[derive(Clone, Debug)]
pub struct Lit {
    fuse: Fuse,
    /// No later than the router began to count.
    pub since: Instant,
}

/// What is left of a guard on a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It will run.
    Armed,
    /// Only its script is left: it was confirmed, or has run.
    Spent,
    /// Nothing.
    Gone,
}

/// Where the guard stands on a router.
#[derive(Clone, Debug, Default)]
struct Rows {
    scripts: Vec<Row>,
    timers: Vec<Row>,
}

impl Fuse {
    /// Makes the guard of lines that put the router back; it takes itself out when it has run.
    #[must_use]
    pub fn new(site: &SiteId, lines: &str, after: Duration) -> Self {
        let said =
            format!(":log warning \"sitepeer {site}: the change was not confirmed, putting back what was there\"\n");
        let source = format!("{said}{lines}{}", taken_out(site));
        Self { site: site.clone(), source, after }
    }

    fn name(&self) -> String {
        format!("{NAME_PREFIX}{}-guard", self.site)
    }

    fn boot_name(&self) -> String {
        format!("{}-boot", self.name())
    }

    /// What the scheduler runs: the script, and then the end of all three, even where the script was never stored.
    fn event(&self) -> String {
        format!(":do {{ /system/script/run \"{}\" }} on-error={{}}\n{}", self.name(), taken_out(&self.site))
    }

    fn comment(&self) -> String {
        Marker::new(&self.site, Role::Guard).to_string()
    }

    /// Stores the guard and makes sure that it will run. `left` is one that will not, and is in the way.
    ///
    /// # Errors
    /// [`ArmError`]; then nothing of it is left, as far as the router still answers.
    ///
    /// # Cancel safety
    /// A dropped future may leave a guard that undoes nothing and takes itself out.
    pub async fn arm(self, client: &Client, left: Option<&Found>, written: &mut u64) -> Result<Lit, ArmError> {
        if self.source.len() > MAX_SCRIPT_BYTES {
            return Err(ArmError::TooLong { length: self.source.len() });
        }
        let client = &client.with_deadline(ANSWER_WITHIN);
        if let Some(left) = left {
            sweep(client, left, written).await.map_err(ArmError::Call)?;
        }
        let since = Instant::now();
        let added = self.store(client, written).await;
        let checked = match added {
            Ok(()) => self.check(client).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => Ok(Lit { fuse: self, since }),
            Err(error) => {
                if let Err(error) = self.take_out(client, written).await {
                    tracing::debug!(%error, "a guard that is not armed is left over");
                }
                Err(error)
            }
        }
    }

    async fn store(&self, client: &Client, written: &mut u64) -> Result<(), ArmError> {
        let (name, comment) = (self.name(), self.comment());
        let script = Command::new("/system/script/add")
            .attr("name", &name)
            .attr("policy", POLICY)
            .attr("comment", &comment)
            .attr("source", &self.source);
        let entry = |called: &str| {
            Command::new("/system/scheduler/add")
                .attr("name", called)
                .attr("policy", POLICY)
                .attr("comment", &comment)
                .attr("on-event", self.event())
        };
        let timer = entry(&name).attr("interval", format_duration(self.after));
        // At the start of the router, whatever its clock says: one without a battery is behind any date.
        let boot = entry(&self.boot_name()).attr("start-time", "startup").attr("interval", "0s");
        // The script last: a run that ends in between leaves timers that take themselves out.
        let entries = [timer, boot].map(|command| ("entry in the scheduler", command));
        for (what, command) in entries.into_iter().chain([("script", script)]) {
            match client.call(&command).await {
                Ok(_) => *written += 1,
                Err(error) => {
                    let words = error.refusal().map(ToString::to_string);
                    return Err(words.map_or(ArmError::Call(error), |words| ArmError::Refused { what, words }));
                }
            }
        }
        Ok(())
    }

    /// Reads the guard back: all of it as written, and nothing that keeps it from running.
    async fn check(&self, client: &Client) -> Result<(), ArmError> {
        let mode = Command::new("/system/device-mode/print");
        let (rows, mode) = futures_util::join!(self.read(client), client.call(&mode));
        let rows = rows.map_err(ArmError::Call)?;
        let useless = |why: &str| Err(ArmError::Useless(why.to_owned()));
        let says = |row: &Row, name: &str, value: &str| row.get(name) == Some(value.as_bytes());
        let [script] = &rows.scripts[..] else { return useless("its script is not there") };
        if !says(script, "source", &self.source) {
            return useless("its script was not kept as it was written");
        }
        if says(script, "invalid", "true") {
            return useless("the router does not understand its script");
        }
        let [_, _] = &rows.timers[..] else { return useless("its entries in the scheduler are not there") };
        let interval = |row: &Row| row.get("interval").and_then(parse_duration);
        if !rows.timers.iter().any(|row| interval(row) == Some(self.after)) {
            return useless("its time is not as it was written");
        }
        for row in &rows.timers {
            if !says(row, "on-event", &self.event()) || says(row, "disabled", "true") {
                return useless("its entries in the scheduler are not as they were written");
            }
            if let Some(why) = row.get(".about").filter(|why| !why.is_empty()) {
                return useless(&String::from_utf8_lossy(why));
            }
        }
        // A router without device-mode, or that does not show it, has told by the rows.
        let forbids = |row: &Row| says(row, "scheduler", "false") || says(row, "scheduler", "no");
        if mode.is_ok_and(|mode| mode.rows.iter().any(forbids)) {
            return useless("the scheduler is not allowed by device-mode");
        }
        Ok(())
    }

    async fn read(&self, client: &Client) -> Result<Rows, CallError> {
        let comment = format!("?comment={}", self.comment());
        let print = |command: Command, fields: &[&str]| command.proplist(fields).query(&comment);
        let scripts = print(Command::new("/system/script/print"), &[".id", "name", "comment", "source", "invalid"]);
        let fields = [".id", "name", "comment", "on-event", "interval", "disabled", ".about"];
        let timers = print(Command::new("/system/scheduler/print"), &fields);
        let (scripts, timers) = futures_util::join!(client.call(&scripts), client.call(&timers));
        Ok(Rows { scripts: scripts?.rows, timers: timers?.rows })
    }

    /// Takes the guard out, and tells whether the timer was still there: if not, the router has put itself back.
    async fn take_out(&self, client: &Client, written: &mut u64) -> Result<bool, CallError> {
        let rows = self.read(client).await?;
        let is_boot = |row: &&Row| row.get("name") == Some(self.boot_name().as_bytes());
        let (boot, timers): (Vec<&Row>, Vec<&Row>) = rows.timers.iter().partition(is_boot);
        // The timer last of its two: cut off before it, the router puts itself back and all is of one piece. The script behind
        // both: without them it does nothing.
        let mut was_there = false;
        for row in boot {
            remove(client, "/system/scheduler", row.get(".id").unwrap_or_default(), written).await?;
        }
        for row in timers {
            was_there |= remove(client, "/system/scheduler", row.get(".id").unwrap_or_default(), written).await?;
        }
        for row in &rows.scripts {
            remove(client, "/system/script", row.get(".id").unwrap_or_default(), written).await?;
        }
        Ok(was_there)
    }
}

impl Lit {
    /// Puts another script in place, before more is changed.
    ///
    /// # Errors
    /// [`ArmError`]; the earlier script then still stands, or the router puts itself back by it.
    pub async fn rearm(&mut self, client: &Client, lines: &str, written: &mut u64) -> Result<(), ArmError> {
        let fuse = Fuse::new(&self.fuse.site, lines, self.fuse.after);
        if fuse.source.len() > MAX_SCRIPT_BYTES {
            return Err(ArmError::TooLong { length: fuse.source.len() });
        }
        let client = &client.with_deadline(ANSWER_WITHIN);
        let rows = fuse.read(client).await.map_err(ArmError::Call)?;
        for row in &rows.scripts {
            let set = Command::new("/system/script/set")
                .attr(".id", row.get(".id").unwrap_or_default())
                .attr("source", &fuse.source);
            client.call(&set).await.map_err(ArmError::Call)?;
            *written += 1;
        }
        fuse.check(client).await?;
        self.fuse = fuse;
        Ok(())
    }

    /// Confirms the changes: takes the guard out. `false` if the router has put itself back already.
    ///
    /// # Errors
    /// Any [`CallError`]; what became of it is then not known, and has to be read.
    pub async fn confirm(&self, client: &Client, written: &mut u64) -> Result<bool, CallError> {
        self.fuse.take_out(&client.with_deadline(ANSWER_WITHIN), written).await
    }

    /// Lets the router put itself back now. `false` if it has done so already.
    ///
    /// # Errors
    /// Any [`CallError`]; the timer still runs then.
    pub async fn put_back(&self, client: &Client) -> Result<bool, CallError> {
        let client = client.with_deadline(ANSWER_WITHIN);
        let rows = self.fuse.read(&client).await?;
        let Some(script) = rows.scripts.first() else { return Ok(false) };
        let run = Command::new("/system/script/run").attr("number", script.get(".id").unwrap_or_default());
        client.call(&run).await.map(|_| true)
    }

    /// Tells what is left of the guard on the router.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn standing(&self, client: &Client) -> Result<Standing, CallError> {
        let rows = self.fuse.read(&client.with_deadline(ANSWER_WITHIN)).await?;
        Ok(match (rows.timers.is_empty(), rows.scripts.is_empty()) {
            (false, _) => Standing::Armed,
            (true, false) => Standing::Spent,
            (true, true) => Standing::Gone,
        })
    }
}

/// Lines that take a site's guard out.
fn taken_out(site: &SiteId) -> String {
    let marker = Marker::new(site, Role::Guard);
    let gone = |menu: &str| format!(":do {{ {menu}/remove [{menu}/find where comment=\"{marker}\"] }} on-error={{}}\n");
    gone("/system/scheduler") + &gone("/system/script")
}

/// Takes a guard out that will never run.
///
/// # Errors
/// Any [`CallError`] but that it is gone.
pub async fn sweep(client: &Client, left: &Found, written: &mut u64) -> Result<(), CallError> {
    let rows = left.timers.iter().map(|id| ("/system/scheduler", id));
    for (menu, id) in rows.chain(left.scripts.iter().map(|id| ("/system/script", id))) {
        remove(client, menu, id, written).await?;
    }
    Ok(())
}

/// Takes a row out, and tells whether it was there.
async fn remove(client: &Client, menu: &str, id: &[u8], written: &mut u64) -> Result<bool, CallError> {
    match client.call(&Command::new(&format!("{menu}/remove")).attr(".id", id)).await {
        Ok(_) => {
            *written += 1;
            Ok(true)
        }
        Err(error) if error.refusal().is_some_and(|refusal| refusal.mentions("no such item")) => Ok(false),
        Err(error) => Err(error),
    }
}
