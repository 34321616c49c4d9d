//! Traffic by peer: totals that never fall, whatever devices and restarts do to their counters.
//!
//! What is reported has been written down before: the hub never hears a total that this gateway might forget. It is written as often
//! as it would be reported when the hub is away. So after a crash at most what was counted since then is lost, and only where the
//! counters are lost as well (the embedded backends).
//!
//! A report that waits for the hub is kept as it is; what happens meanwhile is gathered by peer, the newest wins, so that memory is
//! bounded by the number of peers and nothing is lost but the time between.
//!
//! Where a peer was last heard is kept beside its totals: one that comes back on a device is called there.

mod row;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::api::{GatewayReport, InstanceId, MAX_REPORTS, PeerId};
use crate::domain::PublicKey;
use crate::gateway::disk::{DiskError, Flush, Log, random_word};
use crate::gateway::plane::DevicePeer;

use row::{Row, SavedRow};

/// The format's name in the file.
const FORMAT: &str = "sitepeer-gateway-traffic";
/// Random bytes of an epoch's name.
const EPOCH_BYTES: usize = 8;
/// How long the totals of a peer are kept that is on no device: it may be enabled again.
const KEEP: Duration = Duration::from_hours(90 * 24);
/// How long a peer is called where it was last heard: what a router in between remembers is gone long before, and some day the
/// address is somebody else's.
const CALLED_FOR: Duration = Duration::from_hours(24);
/// Rows in one record when the log is written anew: a line stays short.
const ROWS_PER_RECORD: usize = 1000;

/// A reading of a peer.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Whose.
    pub peer: &'a PeerId,
    /// The revision that was set.
    pub revision: i64,
    /// What the device says.
    pub device: &'a DevicePeer,
    /// How much of the peer's traffic that is.
    pub part: Part,
}

/// What of a peer one device counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All: it is on no other device.
    Whole,
    /// What goes by its own device; there is another one.
    Own,
    /// What goes by the device that it is changing to.
    Beside,
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Epoch(String),
    Saved {
        /// Of the report that is sent next.
        number: i64,
        rows: Vec<SavedRow>,
    },
}

/// Totals of all peers.
#[derive(Debug)]
pub struct Traffic {
    rows: Mutex<HashMap<PeerId, Row>>,
    book: Mutex<Book>,
}

/// What is on disk.
#[derive(Debug)]
struct Book {
    log: Log<Record>,
    epoch: String,
    number: i64,
}

impl Traffic {
    /// Reads what was counted before.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let (mut log, records) = Log::open(path, FORMAT)?;
        let (mut epoch, mut number, mut rows) = (None, 0, HashMap::new());
        for record in records {
            match record {
                Record::Epoch(name) => epoch = Some(name),
                Record::Saved { number: last, rows: saved } => {
                    number = number.max(last);
                    rows.extend(saved.into_iter().map(|row| (row.peer.clone(), Row::from(row))));
                }
            }
        }
        let epoch = if let Some(epoch) = epoch {
            epoch
        } else {
            let epoch = random_word(EPOCH_BYTES, path)?;
            log.append([&Record::Epoch(epoch.clone())], Flush::Now)?;
            epoch
        };
        Ok(Self { rows: Mutex::new(rows), book: Mutex::new(Book { log, epoch, number }) })
    }

    /// Takes readings of an instance's device.
    pub fn observe<'a>(&self, instance: &InstanceId, seen: impl Iterator<Item = Seen<'a>>, now: SystemTime) {
        let (mut rows, now) = (self.rows(), unix(now));
        for Seen { peer, revision, device, part } in seen {
            let row = match rows.get_mut(peer) {
                Some(row) => row,
                None => rows.entry(peer.clone()).or_insert_with(|| Row { unsent: true, ..Row::default() }),
            };
            let (rx, tx, handshake) = (device.rx_bytes, device.tx_bytes, device.handshake.map(unix));
            if part == Part::Beside {
                row.read_beside(device.public_key, (rx, tx), handshake, device.endpoint);
            } else {
                row.has_key(device.public_key);
                row.read(rx, tx, handshake, device.endpoint);
            }
            if part == Part::Whole {
                row.beside = None;
            }
            row.unsent |= row.revision != revision;
            row.revision = revision;
            row.at = now;
            if row.instance.is_none() {
                row.instance = Some(instance.clone());
            }
        }
    }

    /// A peer was added to a device: its counters begin at 0.
    pub fn begins(&self, peer: &PeerId) {
        if let Some(row) = self.rows().get_mut(peer) {
            (row.seen, row.beside) = ((0, 0), None);
            row.unsaved = true;
        }
    }

    /// Where a peer was last heard with this key, not too long ago.
    #[must_use]
    pub fn heard(&self, peer: &PeerId, key: &PublicKey, now: SystemTime) -> Option<SocketAddr> {
        let oldest = unix(now) - i64::try_from(CALLED_FOR.as_secs()).unwrap_or(i64::MAX);
        let rows = self.rows();
        let row = rows.get(peer)?;
        row.heard(key).filter(|_| row.handshake_at.is_some_and(|at| at >= oldest))
    }

    /// An instance is gone, and its peers with it. Their last totals are still reported.
    pub fn leave(&self, instance: &InstanceId) {
        for row in self.rows().values_mut().filter(|row| row.instance.as_ref() == Some(instance)) {
            row.instance = None;
        }
    }

    /// Has every peer that is on a device reported once more.
    pub fn report_all(&self, now: SystemTime, since: Duration) {
        let oldest = unix(now) - i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        // What was only read from disk is not known to be on a device.
        for row in self.rows().values_mut().filter(|row| row.instance.is_some() && row.at >= oldest) {
            row.unsent = true;
        }
    }

    /// Writes down what is not yet on disk, and makes the next report of it; `None` if there is nothing to report.
    ///
    /// # Errors
    /// [`DiskError`]: nothing is reported then, and nothing is lost.
    pub fn next_report(&self, now: SystemTime) -> Result<Option<GatewayReport>, DiskError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.rows().values().any(|row| row.unsent) {
            return Ok(None);
        }
        let number = book.number + 1;
        self.save(&mut book, number, now)?;
        let mut rows = self.rows();
        let mut chosen: Vec<PeerId> = Vec::new();
        // A row that was counted on since it was saved waits for its turn to be saved.
        chosen.extend(
            rows.iter().filter(|(_, row)| row.unsent && !row.unsaved).map(|(id, _)| id.clone()).take(MAX_REPORTS),
        );
        if chosen.is_empty() {
            return Ok(None);
        }
        chosen.sort();
        let mut peers = Vec::with_capacity(chosen.len());
        for id in &chosen {
            if let Some(row) = rows.get_mut(id) {
                row.unsent = false;
                peers.push(row.report(id));
            }
        }
        Ok(Some(GatewayReport { epoch: book.epoch.clone(), number, at: unix(now), peers }))
    }

    /// Writes down what is not yet on disk.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn flush(&self, now: SystemTime) -> Result<(), DiskError> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.rows().values().any(|row| row.unsaved) {
            return Ok(());
        }
        let number = book.number;
        self.save(&mut book, number, now)
    }

    /// Writes down the number of the next report and all rows that changed.
    fn save(&self, book: &mut Book, number: i64, now: SystemTime) -> Result<(), DiskError> {
        let unsaved: Vec<SavedRow> = {
            let mut rows = self.rows();
            let changed = rows.iter_mut().filter(|(_, row)| row.unsaved);
            changed
                .map(|(id, row)| {
                    row.unsaved = false;
                    row.save(id)
                })
                .collect()
        };
        let record = Record::Saved { number, rows: unsaved };
        if let Err(error) = book.log.append([&record], Flush::Now) {
            let Record::Saved { rows: unsaved, .. } = record else { return Err(error) };
            let mut rows = self.rows();
            for saved in unsaved {
                if let Some(row) = rows.get_mut(&saved.peer) {
                    row.unsaved = true;
                }
            }
            return Err(error);
        }
        book.number = number;
        if book.log.has_grown() { self.tidy(book, now) } else { Ok(()) }
    }

    /// Writes the log anew, without peers that were on no device for long.
    fn tidy(&self, book: &mut Book, now: SystemTime) -> Result<(), DiskError> {
        let oldest = unix(now) - i64::try_from(KEEP.as_secs()).unwrap_or(i64::MAX);
        let saved: Vec<SavedRow> = {
            let mut rows = self.rows();
            rows.retain(|_, row| row.at >= oldest);
            rows.iter().map(|(id, row)| row.save(id)).collect()
        };
        let number = book.number;
        let rows = saved.chunks(ROWS_PER_RECORD).map(|rows| Record::Saved { number, rows: rows.to_vec() });
        let first = [Record::Epoch(book.epoch.clone()), Record::Saved { number, rows: Vec::new() }];
        book.log.rewrite(first.into_iter().chain(rows))
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<PeerId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970; what is before that is 0.
fn unix(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}
