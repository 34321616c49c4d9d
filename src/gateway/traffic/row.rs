//! One peer's totals. Pure: what the device counts comes in, what never falls goes out.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::api::{InstanceId, PeerId, PeerTraffic};
use crate::domain::PublicKey;

/// Seconds without a handshake after which a connection has ended: WireGuard's sessions live so long.
const GAP_SECS: i64 = 180;

/// Totals of a peer, and the counters they were read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub rx: u64,
    pub tx: u64,
    /// The device's counters when they were last read.
    pub seen: (u64, u64),
    pub handshake_at: Option<i64>,
    pub connected_since: Option<i64>,
    /// With which it was heard there.
    pub key: Option<PublicKey>,
    /// What the device says that it is changing to.
    pub beside: Option<Beside>,
    pub endpoint: Option<SocketAddr>,
    pub revision: i64,
    /// When it was last on a device.
    pub at: i64,
    pub instance: Option<InstanceId>,
    /// Differs from what is on disk.
    pub unsaved: bool,
    /// Differs from what was reported.
    pub unsent: bool,
}

/// A peer on the device that it is changing to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beside {
    #[serde(rename = "k")]
    pub key: PublicKey,
    /// That device's counters.
    #[serde(rename = "s")]
    pub seen: (u64, u64),
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
}

/// A row as it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedRow {
    #[serde(rename = "p")]
    pub peer: PeerId,
    #[serde(rename = "r")]
    pub rx: u64,
    #[serde(rename = "t")]
    pub tx: u64,
    #[serde(rename = "s")]
    pub seen: (u64, u64),
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub handshake_at: Option<i64>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub connected_since: Option<i64>,
    #[serde(rename = "a")]
    pub at: i64,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

impl Row {
    /// Says whose the next readings are. Another key is another device: where the last one was heard says nothing of it. One that was
    /// read beside it goes on from there.
    pub fn has_key(&mut self, key: PublicKey) {
        if self.key != Some(key) {
            self.endpoint = None;
            if let Some(beside) = self.beside.take_if(|beside| beside.key == key) {
                (self.seen, self.endpoint) = (beside.seen, beside.endpoint);
            }
            self.key = Some(key);
            self.unsaved = true;
        }
    }

    /// Takes a reading of the device that the peer is changing to: its bytes count too.
    pub fn read_beside(&mut self, key: PublicKey, (rx, tx): (u64, u64), at: Option<i64>, endpoint: Option<SocketAddr>) {
        let before = self.beside.take().filter(|before| before.key == key);
        let own = std::mem::replace(&mut self.seen, before.map_or((0, 0), |before| before.seen));
        self.read(rx, tx, at, None);
        let seen = std::mem::replace(&mut self.seen, own);
        let beside = Beside { key, seen, endpoint: endpoint.or(before.and_then(|before| before.endpoint)) };
        self.unsaved |= before != Some(beside);
        self.beside = Some(beside);
    }

    /// Where it was last heard with a key.
    pub fn heard(&self, key: &PublicKey) -> Option<SocketAddr> {
        if self.key.as_ref() == Some(key) {
            return self.endpoint;
        }
        self.beside.filter(|beside| beside.key == *key)?.endpoint
    }

    /// Takes a reading of the device. A counter that fell began again at 0.
    pub fn read(&mut self, rx: u64, tx: u64, handshake_at: Option<i64>, endpoint: Option<SocketAddr>) {
        let grown = |total: &mut u64, seen: &mut u64, now: u64| {
            let more = if now >= *seen { now - *seen } else { now };
            *total = total.saturating_add(more);
            *seen = now;
            more > 0
        };
        let counted = grown(&mut self.rx, &mut self.seen.0, rx) | grown(&mut self.tx, &mut self.seen.1, tx);
        let shook = self.shake(handshake_at);
        let moved = endpoint.is_some() && endpoint != self.endpoint;
        if moved {
            self.endpoint = endpoint;
        }
        self.unsaved |= counted | shook | moved;
        self.unsent |= counted | shook | moved;
    }

    fn shake(&mut self, at: Option<i64>) -> bool {
        let Some(at) = at.filter(|at| self.handshake_at.is_none_or(|before| *at > before)) else { return false };
        let goes_on = self.handshake_at.is_some_and(|before| at - before <= GAP_SECS);
        if !goes_on || self.connected_since.is_none() {
            self.connected_since = Some(at);
        }
        self.handshake_at = Some(at);
        true
    }

    pub fn save(&self, peer: &PeerId) -> SavedRow {
        SavedRow {
            peer: peer.clone(),
            rx: self.rx,
            tx: self.tx,
            seen: self.seen,
            handshake_at: self.handshake_at,
            connected_since: self.connected_since,
            at: self.at,
            key: self.key,
            endpoint: self.endpoint,
            beside: self.beside,
        }
    }

    pub fn report(&self, peer: &PeerId) -> PeerTraffic {
        PeerTraffic {
            peer: peer.clone(),
            revision: self.revision,
            handshake_at: self.handshake_at,
            connected_since: self.connected_since,
            endpoint: self.endpoint,
            rx_bytes: self.rx,
            tx_bytes: self.tx,
        }
    }
}

impl From<SavedRow> for Row {
    fn from(saved: SavedRow) -> Self {
        Self {
            rx: saved.rx,
            tx: saved.tx,
            seen: saved.seen,
            handshake_at: saved.handshake_at,
            connected_since: saved.connected_since,
            at: saved.at,
            key: saved.key,
            endpoint: saved.endpoint,
            beside: saved.beside,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_connection_goes_on_while_handshakes_follow_each_other_within_three_minutes() {
        let mut row = Row::default();
        for (at, since) in [(1000, 1000), (1120, 1000), (1120, 1000), (1300, 1000), (1481, 1481), (1400, 1481)] {
            row.read(0, 0, Some(at), None);
            assert_eq!(row.connected_since, Some(since), "handshake at {at}");
        }
        row.read(0, 0, None, None);
        assert_eq!(row.handshake_at, Some(1481), "a device that forgot it does not undo it");
    }

    #[test]
    fn bytes_of_both_devices_count_and_the_one_that_stays_goes_on_from_there() {
        let key = |byte| PublicKey::from_bytes([byte; 32]).unwrap();
        let (here, there) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.1:2".parse().unwrap());
        let mut row = Row::default();
        row.has_key(key(1));
        row.read(100, 10, None, Some(here));
        for beside in [5, 40] {
            row.has_key(key(1));
            row.read(100, 10, None, None);
            row.read_beside(key(2), (beside, beside), Some(1000), Some(there));
        }
        assert_eq!((row.rx, row.tx, row.handshake_at), (140, 50, Some(1000)));
        let mut row = Row::from(row.save(&"peer1".parse().unwrap()));
        assert_eq!([1, 2, 3].map(|byte| row.heard(&key(byte))), [Some(here), Some(there), None]);
        row.has_key(key(2));
        assert_eq!([1, 2].map(|byte| row.heard(&key(byte))), [None, Some(there)]);
        row.read(45, 45, None, None);
        assert_eq!((row.rx, row.tx, row.beside), (145, 55, None), "only what came since is added");
    }

    proptest! {
        /// Runs of a device: each begins at 0 and only grows.
        #[test]
        fn totals_are_the_sum_of_all_runs_and_never_fall(runs in prop::collection::vec(prop::collection::vec(1u64..1000, 1..6), 1..6)) {
            let mut row = Row::default();
            let mut sum = 0;
            for run in runs {
                row.seen = (0, 0);
                let mut counter = 0;
                for step in run {
                    let before = row.rx;
                    counter += step;
                    sum += step;
                    row.read(counter, counter, None, None);
                    prop_assert!(row.rx > before && row.unsaved && row.unsent);
                }
            }
            prop_assert_eq!((row.rx, row.tx), (sum, sum));
        }

        #[test]
        fn totals_never_fall_whatever_the_device_says(readings in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut row = Row::default();
            for reading in readings {
                let before = row.rx;
                row.read(reading, 0, None, None);
                prop_assert!(row.rx >= before);
            }
        }
    }
}
