//! What the hub wants: as it was told, kept on disk, and read again after a restart.

mod admit;
mod offer;
mod pages;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::api::{GatewayInstance, GatewayPeer, GatewayPeerFailed, InstanceId, PeerId};
use crate::gateway::disk::{DiskError, Flush, Log};

pub use admit::{Admitted, admit};
pub use offer::{MAX_INSTANCES, MAX_PEERS, Offer, Refused};
pub use pages::{Ask, Pages, Step};

/// The format's name in the file.
const FORMAT: &str = "sitepeer-gateway-desired";
/// Peers in one record when the log is written anew: a line stays short.
const PEERS_PER_RECORD: usize = 1000;

/// A change as the hub told it, complete: all parts of it are here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// What it brings the gateway to.
    pub revision: i64,
    /// It lists everything: what is not in it is not wanted.
    #[serde(default)]
    pub full: bool,
    /// New or changed.
    #[serde(default, with = "shared")]
    pub instances: Vec<Arc<GatewayInstance>>,
    /// New or changed.
    #[serde(default, with = "shared")]
    pub peers: Vec<Arc<GatewayPeer>>,
    /// To be deleted, with their keys.
    #[serde(default)]
    pub removed_instances: Vec<InstanceId>,
    /// Not to be served.
    #[serde(default)]
    pub removed_peers: Vec<(InstanceId, PeerId)>,
}

/// A line of the log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Delta(Delta),
    /// Everything up to this revision is on the devices.
    Settled(i64),
}

/// An instance and its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The instance.
    pub instance: Arc<GatewayInstance>,
    /// Its peers.
    pub peers: HashMap<PeerId, Arc<GatewayPeer>>,
}

/// All that is wanted.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// What the hub was last heard to say.
    pub revision: i64,
    /// Up to here everything is known to be on the devices.
    pub settled: i64,
    /// By instance.
    pub instances: BTreeMap<InstanceId, Held>,
}

/// What a change did to one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is new, or something of it changed.
    Changed,
    /// The hub deleted it.
    Deleted,
    /// A full list does not have it.
    Unlisted,
}

/// What a change did.
#[derive(Debug, Default)]
pub struct Effects {
    /// By instance; what stayed as it was is not here.
    pub instances: BTreeMap<InstanceId, Effect>,
    /// Peers of instances that nobody told of.
    pub orphans: Vec<GatewayPeerFailed>,
}

impl Desired {
    /// Takes a change in. Removals first: a peer that is in both lists stays.
    pub fn take(&mut self, delta: &Delta) -> Effects {
        let mut effects = Effects::default();
        let before = if delta.full { std::mem::take(&mut self.instances) } else { BTreeMap::new() };
        if delta.full {
            self.settled = 0;
        }
        for id in &delta.removed_instances {
            if self.instances.remove(id).is_some() || before.contains_key(id) {
                effects.instances.insert(id.clone(), Effect::Deleted);
            }
        }
        for instance in &delta.instances {
            self.take_instance(instance, &mut effects);
        }
        for (instance, peer) in &delta.removed_peers {
            if let Some(held) = self.instances.get_mut(instance)
                && held.peers.remove(peer).is_some()
            {
                effects.instances.insert(instance.clone(), Effect::Changed);
            }
        }
        for peer in &delta.peers {
            self.take_peer(peer, &mut effects);
        }
        compare_with(&before, &self.instances, &mut effects);
        self.revision = delta.revision;
        effects
    }

    fn take_instance(&mut self, instance: &Arc<GatewayInstance>, effects: &mut Effects) {
        if let Some(held) = self.instances.get_mut(&instance.id) {
            if held.instance == *instance {
                return;
            }
            held.instance = Arc::clone(instance);
        } else {
            let held = Held { instance: Arc::clone(instance), peers: HashMap::new() };
            self.instances.insert(instance.id.clone(), held);
        }
        effects.instances.insert(instance.id.clone(), Effect::Changed);
    }

    fn take_peer(&mut self, peer: &Arc<GatewayPeer>, effects: &mut Effects) {
        let Some(held) = self.instances.get_mut(&peer.instance) else {
            let error = format!("its instance {} is not known here", peer.instance);
            effects.orphans.push(GatewayPeerFailed { id: peer.id.clone(), revision: peer.revision, error });
            return;
        };
        let before = held.peers.insert(peer.id.clone(), Arc::clone(peer));
        if before.as_ref() != Some(peer) {
            effects.instances.insert(peer.instance.clone(), Effect::Changed);
        }
    }

    /// Everything as one change, in records of a moderate length.
    fn as_records(&self) -> Vec<Record> {
        let first = Delta {
            revision: self.revision,
            full: true,
            instances: self.instances.values().map(|held| Arc::clone(&held.instance)).collect(),
            ..Delta::default()
        };
        let peers: Vec<_> = self.instances.values().flat_map(|held| held.peers.values().cloned()).collect();
        let rest = peers
            .chunks(PEERS_PER_RECORD)
            .map(|peers| Record::Delta(Delta { revision: self.revision, peers: peers.to_vec(), ..Delta::default() }));
        let settled = Record::Settled(self.settled);
        std::iter::once(Record::Delta(first)).chain(rest).chain([settled]).collect()
    }
}

/// After a full list: what really changed against what was there before.
fn compare_with(before: &BTreeMap<InstanceId, Held>, after: &BTreeMap<InstanceId, Held>, effects: &mut Effects) {
    for (id, held) in before {
        match after.get(id) {
            Some(now) if now == held => drop(effects.instances.remove(id)),
            Some(_) => {}
            None => {
                effects.instances.entry(id.clone()).or_insert(Effect::Unlisted);
            }
        }
    }
}

/// What is wanted, and its log.
#[derive(Debug)]
pub struct Store {
    log: Log<Record>,
}

impl Store {
    /// Reads what was last known.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(path: &Path) -> Result<(Self, Desired), DiskError> {
        let (log, records) = Log::open(path, FORMAT)?;
        let mut desired = Desired::default();
        for record in records {
            match record {
                Record::Delta(delta) => drop(desired.take(&delta)),
                Record::Settled(revision) => desired.settled = revision,
            }
        }
        Ok((Self { log }, desired))
    }

    /// Writes a change down; it survives a crash of the machine when this returns.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn write(&mut self, delta: &Delta) -> Result<(), DiskError> {
        self.log.append([&Record::Delta(delta.clone())], Flush::Now)
    }

    /// Notes that everything up to a revision is on the devices. Lost, it costs setting some peers once more.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn settle(&mut self, revision: i64) -> Result<(), DiskError> {
        self.log.append([&Record::Settled(revision)], Flush::Later)
    }

    /// Whether it is time for [`tidy`](Self::tidy).
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.log.has_grown()
    }

    /// Writes the log anew.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn tidy(&mut self, desired: &Desired) -> Result<(), DiskError> {
        self.log.rewrite(desired.as_records())
    }
}

/// Things that are shared in memory, written as they are.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(things: &[Arc<T>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(things.iter().map(AsRef::as_ref))
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Arc<T>>, D::Error> {
        Vec::deserialize(deserializer).map(|things: Vec<T>| things.into_iter().map(Arc::new).collect())
    }
}
