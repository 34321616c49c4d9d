//! The spools on disk: what waits for the hub survives the process, however it ends.
//!
//! A file for each peer, a line for each thing that happened, read again at the next start as it happened:
//!
//! ```json
//! {"version":1,"hub":"https://hub.example.net","peer":"k3f9q2x7"}
//! {"put":{"epoch":"9f86d081","change":true,"report":{…}}}
//! {"arrived":{"epoch":"9f86d081","number":7,"dropped":0}}
//! ```
//!
//! Lines are appended without waiting for the disk: they survive `kill -9`, and a power cut but for the last seconds. When there are
//! too many, what is still held is written anew as a whole. A last line that is not whole was cut off by the end of the process; a
//! file that is wrong elsewhere is set aside, and said.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::spool::{Happened, Held, Record, Shelf, Waiting};
use crate::api::{AgentReport, PeerId};
use crate::config::{self, FileReason, Over, put};

/// The only version of the file there is.
const VERSION: u16 = 1;
/// Largest file in bytes: [`MAX_LINES`] of the largest reports there are is less.
const MAX_BYTES: u64 = 128 << 20;
/// Lines from which the file is written anew, beside those for what is held.
const MAX_LINES: usize = 1_000;

/// A folder of them.
#[derive(Debug)]
pub struct Journals {
    folder: PathBuf,
}

impl Journals {
    /// In a folder, which is made when it is needed.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl Shelf for Journals {
    fn open(&self, hub: &str, peer: &PeerId, room: usize) -> Option<(Box<dyn Record>, Held)> {
        let path = self.folder.join(format!("{peer}.reports"));
        let first = Line::Head(Head { version: VERSION, hub: hub.to_owned(), peer: peer.clone() });
        match Journal::open(path.clone(), first, room) {
            Ok((journal, held)) => Some((Box::new(journal), held)),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "reports are kept in memory only");
                None
            }
        }
    }
}

/// One file.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    first: Line<'static>,
    file: File,
    lines: usize,
    is_broken: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u16,
    hub: String,
    peer: PeerId,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line<'a> {
    Head(Head),
    Put { put: Put<'a> },
    Arrived { arrived: Arrived<'a> },
    Dropped { dropped: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
struct Put<'a> {
    epoch: std::borrow::Cow<'a, str>,
    change: bool,
    report: Box<AgentReport>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Arrived<'a> {
    epoch: std::borrow::Cow<'a, str>,
    number: i64,
    dropped: u64,
}

impl Journal {
    /// Opens the file and reads what is held; sets a damaged one aside.
    fn open(path: PathBuf, first: Line<'static>, room: usize) -> io::Result<(Self, Held)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let held = match config::read_text(&path, MAX_BYTES) {
            Ok((text, _)) => match read(&text, &first, room) {
                Ok(held) => held,
                Err(line) => set_aside(&path, &format!("line {line} is none of a spool of this peer"))?,
            },
            Err(error) => match &error.reason {
                FileReason::Io(io) if io.kind() == io::ErrorKind::NotFound => Held::default(),
                _ => set_aside(&path, &error.to_string())?,
            },
        };
        // Whole again, whatever was cut off.
        let file = rewritten(&path, &first, &held)?;
        let lines = held.waiting.len();
        Ok((Self { path, first, file, lines, is_broken: false }, held))
    }

    fn append(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.file.write_all(&encoded(line)?)?;
        self.lines += 1;
        Ok(())
    }
}

impl Record for Journal {
    fn note(&mut self, happened: Happened<'_>, held: &Held) {
        let line = match happened {
            Happened::Put(waiting) => Line::Put { put: put_of(waiting) },
            Happened::Arrived { epoch, number, dropped } => {
                Line::Arrived { arrived: Arrived { epoch: epoch.into(), number, dropped } }
            }
        };
        let mut noted = self.append(&line);
        // Also where a line was not written whole: nothing is appended to it.
        if noted.is_err() || self.is_broken || self.lines > held.waiting.len() + MAX_LINES {
            noted = rewritten(&self.path, &self.first, held).map(|file| {
                (self.file, self.lines) = (file, held.waiting.len());
            });
        }
        if let (Err(error), false) = (&noted, self.is_broken) {
            tracing::error!(file = %self.path.display(), %error, "reports are kept in memory only, until the disk takes them again");
        }
        self.is_broken = noted.is_err();
    }
}

fn put_of(waiting: &Waiting) -> Put<'_> {
    Put { epoch: (&*waiting.epoch).into(), change: waiting.is_change, report: Box::new(waiting.report.clone()) }
}

fn encoded(line: &Line<'_>) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads all lines in their order; the number of the first that is wrong.
fn read(text: &str, first: &Line<'_>, room: usize) -> Result<Held, usize> {
    let mut held = Held::default();
    let (whole, _cut_off) = text.rsplit_once('\n').unwrap_or(("", text));
    let mut epoch: Arc<str> = "".into();
    for (index, text) in whole.lines().enumerate() {
        let wrong = index + 1;
        match (serde_json::from_str(text).map_err(|_| wrong)?, index) {
            (Line::Head(found), 0) => match first {
                Line::Head(first) if *first == found => {}
                _ => return Err(wrong),
            },
            (Line::Put { put }, 1..) => {
                if *epoch != *put.epoch {
                    epoch = (&*put.epoch).into();
                }
                held.put(Waiting { epoch: Arc::clone(&epoch), report: *put.report, is_change: put.change }, room);
            }
            (Line::Arrived { arrived }, 1..) => held.arrived(&arrived.epoch, arrived.number, arrived.dropped),
            (Line::Dropped { dropped }, 1..) => held.dropped += dropped,
            _ => return Err(wrong),
        }
    }
    Ok(held)
}

/// Keeps a damaged file for whoever wants to look at it, and goes on without.
fn set_aside(path: &Path, why: &str) -> io::Result<Held> {
    let aside = path.with_extension("reports.damaged");
    std::fs::rename(path, &aside)?;
    tracing::error!(file = %path.display(), aside = %aside.display(), why, "the spool is damaged: it was set aside, and what it held is not told");
    Ok(Held::default())
}

/// Writes what is held as a whole, and opens it for more.
fn rewritten(path: &Path, first: &Line<'_>, held: &Held) -> io::Result<File> {
    let mut text = encoded(first)?;
    if held.dropped > 0 {
        text.extend(encoded(&Line::Dropped { dropped: held.dropped })?);
    }
    for waiting in &held.waiting {
        text.extend(encoded(&Line::Put { put: put_of(waiting) })?);
    }
    put(path, &text, Over::Anything)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::spool::Spool;
    use crate::api::{MAX_REPORTS, TunnelHealth};

    const ROOM: usize = 20;

    fn peer() -> PeerId {
        "k3f9q2x7".parse().unwrap()
    }

    fn opened(folder: &Path, epoch: &str) -> Spool {
        let shelf = Journals::in_folder(folder.to_owned());
        Spool::with_room(ROOM, epoch).on(&shelf, "https://hub.example.net", &peer())
    }

    fn report(spool: &Spool, at: i64, is_change: bool) {
        let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
        spool.put(AgentReport::new(0, at, tunnel), is_change);
    }

    /// All that waits, batch by batch: epoch, number, time.
    fn drained(spool: &Spool) -> Vec<(String, i64, i64)> {
        let mut all = Vec::new();
        while let Some(batch) = spool.batch(MAX_REPORTS) {
            all.extend(batch.reports.iter().map(|report| (batch.epoch.to_string(), report.number, report.at)));
            spool.arrived(&batch);
        }
        all
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join("k3f9q2x7.reports")
    }

    #[test]
    fn what_waited_is_there_after_the_end_of_the_process_as_what_it_was_and_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let spool = opened(folder.path(), "one");
        (0..3).for_each(|at| report(&spool, at, at == 1));
        // Nothing is closed, nothing flushed: as `kill -9` leaves it.
        std::mem::forget(spool);
        let spool = opened(folder.path(), "two");
        report(&spool, 3, false);
        let wanted = [("one", 1, 0), ("one", 2, 1), ("one", 3, 2), ("two", 1, 3)];
        assert_eq!(drained(&spool), wanted.map(|(epoch, number, at)| (epoch.to_owned(), number, at)));
        assert_eq!(drained(&opened(folder.path(), "three")), [], "what arrived is not told again");
    }

    #[test]
    fn a_last_line_that_was_cut_off_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let spool = opened(folder.path(), "one");
        (0..3).for_each(|at| report(&spool, at, false));
        drop(spool);
        let text = std::fs::read_to_string(file(folder.path())).unwrap();
        std::fs::write(file(folder.path()), &text[..text.len() - 5]).unwrap();
        assert_eq!(drained(&opened(folder.path(), "two")).len(), 2);
        assert!(!folder.path().join("k3f9q2x7.reports.damaged").exists());
    }

    #[test]
    fn a_damaged_file_or_that_of_another_hub_is_set_aside_and_the_spool_goes_on() {
        for damage in [
            "{\"put\":",
            "\u{0}\u{0}\n",
            "{\"version\":2,\"hub\":\"https://hub.example.net\",\"peer\":\"k3f9q2x7\"}\n",
            "{\"version\":1,\"hub\":\"https://other.example\",\"peer\":\"k3f9q2x7\"}\n",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let spool = opened(folder.path(), "one");
            (0..3).for_each(|at| report(&spool, at, false));
            drop(spool);
            let text = std::fs::read_to_string(file(folder.path())).unwrap();
            let rest = text.split_once('\n').unwrap().1;
            std::fs::write(file(folder.path()), format!("{damage}{rest}")).unwrap();
            let spool = opened(folder.path(), "two");
            report(&spool, 9, true);
            assert_eq!(drained(&spool), [("two".to_owned(), 1, 9)], "{damage}");
            assert!(folder.path().join("k3f9q2x7.reports.damaged").exists(), "{damage}");
        }
    }

    #[test]
    fn the_file_stays_small_however_long_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let spool = opened(folder.path(), "one");
        for at in 0..5 * i64::try_from(MAX_LINES).unwrap() {
            report(&spool, at, false);
            let batch = spool.batch(MAX_REPORTS).unwrap();
            spool.arrived(&batch);
        }
        let lines = std::fs::read_to_string(file(folder.path())).unwrap().lines().count();
        assert!(lines <= MAX_LINES + ROOM + 2, "{lines}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn killed_at_any_moment_nothing_is_lost_that_had_room_and_what_went_is_counted(
            steps in proptest::collection::vec((any::<bool>(), 0u8..8), 1..120)
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut model = Held::default();
            let (mut spool, mut epoch, mut number) = (opened(folder.path(), "e0"), 0, 0);
            for (at, (is_change, step)) in steps.iter().enumerate() {
                match step {
                    0 => {
                        std::mem::forget(spool);
                        (epoch, number) = (epoch + 1, 0);
                        spool = opened(folder.path(), &format!("e{epoch}"));
                    }
                    1 => if let Some(batch) = spool.batch(MAX_REPORTS) {
                        spool.arrived(&batch);
                        model.arrived(&batch.epoch, batch.reports.last().unwrap().number, batch.dropped);
                    },
                    _ => {
                        report(&spool, i64::try_from(at).unwrap(), *is_change);
                        number += 1;
                        let tunnel = TunnelHealth { verdict: "proven".to_owned(), handshake_age_secs: None, rtt_us: None };
                        let report = AgentReport::new(number, i64::try_from(at).unwrap(), tunnel);
                        model.put(Waiting { epoch: format!("e{epoch}").into(), report, is_change: *is_change }, ROOM);
                    }
                }
            }
            std::mem::forget(spool);
            let first = Line::Head(Head { version: VERSION, hub: "https://hub.example.net".to_owned(), peer: peer() });
            let (_, held) = Journal::open(file(folder.path()), first, ROOM).unwrap();
            prop_assert_eq!(held, model);
        }
    }
}
