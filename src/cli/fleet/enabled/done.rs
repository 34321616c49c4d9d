//! Which routers an unfinished run is done with, on this machine's disk: the next run goes on with the others.
//!
//! ```json
//! {"version":1,"operation":"provision","done":{"oslo-1":{"recipe":"9f86…","at":1785100000}}}
//! ```
//!
//! A run that comes to its end takes its routers out again: what is done once is no reason never to look again. A router of which
//! something else is wanted by now, or that was done with long ago, is not taken for done.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

use crate::agent::fleet::{FleetRouter, FleetSite};
use crate::cli::failure::Failure;
use crate::cli::report::Verdict;
use crate::config::{self, FileReason, Over, put};

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Largest file in bytes: the most routers of a fleet, with the longest names.
const MAX_BYTES: u64 = 8 << 20;
/// How long a router counts as done: a rollout goes on the next morning, and a file that was forgotten says nothing.
const GOOD_FOR_SECS: i64 = 24 * 3600;

/// What is kept of an unfinished run.
#[derive(Debug)]
pub(super) struct Done {
    path: PathBuf,
    stored: Stored,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u16,
    operation: String,
    done: BTreeMap<String, One>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    recipe: String,
    at: i64,
}

/// Where it is kept unless another place is named: beside the fleet file, one for each operation.
pub(super) fn beside(fleet: &Path, operation: &str) -> PathBuf {
    fleet.with_extension(format!("{operation}.state"))
}

impl Done {
    /// Reads what an earlier run left, if it left anything.
    ///
    /// # Errors
    /// If there is a file that is no such one: it is never taken for an empty one.
    pub(super) fn open(path: PathBuf, operation: &str) -> Result<Self, Failure> {
        let mut done = Self::begun_anew(path, operation);
        let text = match config::read_text(&done.path, MAX_BYTES) {
            Ok((text, _)) => text,
            Err(error) if matches!(&error.reason, FileReason::Io(io) if io.kind() == io::ErrorKind::NotFound) => {
                return Ok(done);
            }
            Err(error) => return Err(error.into()),
        };
        let stored: Stored = serde_json::from_str(&text).map_err(|error| {
            done.wrong(&format!("this is no state of a fleet (line {}, column {})", error.line(), error.column()))
        })?;
        if stored.version != VERSION {
            return Err(done.wrong(&format!("version {}; this sitepeer reads version {VERSION}", stored.version)));
        }
        if stored.operation != operation {
            return Err(
                done.wrong(&format!("this is of {}, not of {operation}", crate::domain::clean(&stored.operation)))
            );
        }
        done.stored = stored;
        Ok(done)
    }

    /// Forgets whatever an earlier run left.
    pub(super) fn begun_anew(path: PathBuf, operation: &str) -> Self {
        Self { path, stored: Stored { version: VERSION, operation: operation.to_owned(), done: BTreeMap::new() } }
    }

    fn wrong(&self, what: &str) -> Failure {
        let message = format!("{}: {what}", self.path.display());
        Failure::usage("state-file", message).hint("--again begins with all routers, and writes it anew")
    }

    /// Whether a router is done with, as it is wanted now; `unix` is in seconds since 1970.
    pub(super) fn has(&self, router: &FleetRouter, unix: i64) -> bool {
        let one = self.stored.done.get(&router.name);
        one.is_some_and(|one| {
            let age = unix.saturating_sub(one.at);
            (0..GOOD_FOR_SECS).contains(&age) && one.recipe == recipe(router)
        })
    }

    /// A router is done with.
    ///
    /// # Errors
    /// If that cannot be kept: the router stays as it is.
    pub(super) fn add(&mut self, name: &str, recipe: String, unix: i64) -> Result<(), Failure> {
        self.stored.done.insert(name.to_owned(), One { recipe, at: unix });
        self.write()
    }

    /// The run came to its end: these routers are not remembered any longer.
    ///
    /// # Errors
    /// If the file cannot be written, or not be removed.
    pub(super) fn finish<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
        for name in names {
            self.stored.done.remove(name);
        }
        if !self.stored.done.is_empty() {
            return self.write();
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(&error)),
            _ => Ok(()),
        }
    }

    /// Writes what is known.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let written = serde_json::to_vec(&self.stored).map_err(io::Error::from);
        written.and_then(|text| put(&self.path, &text, Over::Anything)).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let message = format!("cannot write {}: {error}", self.path.display());
        Failure::new(Verdict::Invalid, "state-file", message).hint("--state names another place")
    }
}

/// What a router is and what is wanted of it, in a word that changes if that does.
pub(super) fn recipe(router: &FleetRouter) -> String {
    let FleetRouter { name: _, url, trust, plaintext: _, password: _, site, tags: _ } = router;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(format!("{url:?}\n{trust:?}\n").as_bytes());
    match site {
        FleetSite::File(site) => {
            context.update(format!("{site:?}\n").as_bytes());
            // Not shown in the line before, and a reason to go there again.
            if let Some(key) = &site.hub.preshared_key {
                context.update(key.expose());
            }
        }
        FleetSite::Hub { url, credential, ca_file: _ } => {
            context.update(format!("{url}\n{}", credential.display()).as_bytes());
        }
    }
    BASE64_STANDARD.encode(context.finish())
}
