//! What a worker does with its device.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::diff::{Changes, diff};
use super::order::{Order, Outcome, Wanted};
use super::{Host, RETRY_FIRST, RETRY_MOST};
use crate::api::{
    GatewayDevice, GatewayDeviceApplied, GatewayInstance, GatewayPeer, GatewayPeerFailed, InstanceId, PeerId,
};
use crate::domain::PublicKey;
use crate::gateway::desired::{Held, admit};
use crate::gateway::disk::DiskError;
use crate::gateway::plane::{DevicePeer, Plane, PlaneError, legs};
use crate::gateway::traffic::{Part, Seen};
use crate::wireguard::keys::SecretKey;

/// How long bringing an instance up or down may take: namespaces, firewall, an interface that waits for its predecessor's port.
const RAISE_DEADLINE: Duration = Duration::from_mins(1);
/// How long any other call of the data plane may take: 10,000 peers are read in well under a second.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// How often an instance's own settings are looked at again.
const CONFIGURE_EVERY: Duration = Duration::from_mins(1);
/// How many ports are tried where any will do: one process takes one or two, a host where so many are taken needs a look.
const PORTS_TRIED: u32 = 16;
/// Longest error that is told to the hub, in characters.
const MAX_ERROR: usize = 300;

/// Why an instance is not as it should be.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Plane(#[from] PlaneError),
    #[error("the data plane did not {what} within {} s", after.as_secs())]
    Deadline { what: &'static str, after: Duration },
    #[error("the key of the instance cannot be used")]
    Key,
    #[error("the worker's own task failed")]
    Task,
    #[error("{count} peers that are not wanted any more are not removed, such as {first}")]
    NotRemoved { count: usize, first: String },
}

/// A peer that failed, and when it is tried again.
struct Patience {
    revision: i64,
    error: String,
    due: Instant,
    pause: Duration,
}

/// A plane that is up.
struct Up {
    plane: Arc<dyn Plane>,
    instance: Arc<GatewayInstance>,
    configured: Instant,
}

/// A worker's own things.
pub(super) struct Hands {
    id: InstanceId,
    host: Arc<Host>,
    keys: BTreeMap<u32, (SecretKey, PublicKey)>,
    up: Option<Up>,
    /// The devices beside the one that new peers get: as each was wanted when it was last brought up.
    beside: BTreeMap<u32, GatewayDevice>,
    /// It was taken down, and nothing has been brought up since.
    down: bool,
    /// Keys that an earlier run left were looked for.
    looked: bool,
    /// What was set last, by peer.
    done: HashMap<PeerId, Arc<GatewayPeer>>,
    patience: HashMap<PeerId, Patience>,
}

impl Hands {
    pub fn new(id: InstanceId, host: Arc<Host>, done: HashMap<PeerId, Arc<GatewayPeer>>) -> Self {
        let (keys, beside) = (BTreeMap::new(), BTreeMap::new());
        Self { id, host, keys, up: None, beside, down: false, looked: false, done, patience: HashMap::new() }
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Makes the device what the order says, as far as that can be done.
    pub async fn follow(&mut self, order: &Order) -> Outcome {
        let mut outcome =
            Outcome { ticket: order.ticket, revision: order.held.instance.revision, ..Outcome::default() };
        let followed = match order.wanted {
            Wanted::Serve => self.serve(&order.held, &mut outcome).await,
            Wanted::Delete | Wanted::SetAside => self.leave(order.wanted, &mut outcome).await,
        };
        if let Err(trouble) = followed {
            let error = text(&trouble);
            tracing::error!(instance = %self.id, %error, "an instance is not as it should be");
            outcome.error = Some(error);
        }
        outcome
    }

    async fn leave(&mut self, wanted: Wanted, outcome: &mut Outcome) -> Result<(), Trouble> {
        self.take_down().await?;
        let (disk, id) = (Arc::clone(&self.host.disk), self.id.clone());
        let left = spawn_blocking(move || match wanted {
            Wanted::Delete => disk.delete_key(&id),
            _ => disk.set_aside(&id, SystemTime::now()),
        });
        left.await.map_err(|_| Trouble::Task)??;
        self.host.traffic.leave(&self.id);
        self.keys.clear();
        outcome.gone = true;
        tracing::info!(instance = %self.id, ?wanted, "an instance is taken down");
        Ok(())
    }

    async fn take_down(&mut self) -> Result<(), Trouble> {
        if self.down {
            return Ok(());
        }
        if let Some(up) = &self.up
            && let Ok(device) = within(CALL_DEADLINE, "read its peers", up.plane.peers()).await
        {
            self.observe(&device);
        }
        self.up = None;
        self.beside.clear();
        within(RAISE_DEADLINE, "take it down", self.host.planes.remove(&self.id)).await?;
        self.done.clear();
        self.down = true;
        Ok(())
    }

    async fn serve(&mut self, held: &Held, outcome: &mut Outcome) -> Result<(), Trouble> {
        let main = held.instance.device;
        let (key, own) = self.key(main).await?;
        (outcome.device, outcome.public_key) = (main, Some(own));
        if held.instance.suspended {
            return self.take_down().await;
        }
        let plane = self.plane(&held.instance, &key).await?;
        outcome.listen_port = Some(plane.listen_port());
        outcome.devices = self.devices(&plane, &held.instance).await?;
        let beside = outcome.devices.iter().filter(|device| device.listen_port.is_some());
        let own = beside.filter_map(|device| Some((device.device, device.public_key?))).chain([(main, own)]).collect();
        let device = match within(CALL_DEADLINE, "read its peers", plane.peers()).await {
            Ok(device) => device,
            Err(trouble) => {
                // Whatever it is that does not answer: bring it up anew next time, which takes over what is there.
                self.up = None;
                return Err(trouble);
            }
        };
        self.observe(&device);
        let admitted = admit(&held.instance, &own, held.peers.values());
        outcome.failed = admitted.refused;
        let changes = diff(&admitted.serve, &self.done, &device);
        self.patience.retain(|id, _| held.peers.contains_key(id));
        let done = if changes.is_empty() {
            self.patience.clear();
            Ok(())
        } else {
            self.change(&plane, &changes, &device).await
        };
        outcome.failed.extend(self.patience.iter().map(|(id, patience)| GatewayPeerFailed {
            id: id.clone(),
            revision: patience.revision,
            error: patience.error.clone(),
        }));
        outcome.failed.sort_by(|a, b| a.id.cmp(&b.id));
        outcome.failed.dedup_by(|a, b| a.id == b.id);
        done?;
        // Last: whoever was on a device that goes is on another one by now.
        self.drop_devices(&plane, &held.instance).await
    }

    async fn key(&mut self, device: u32) -> Result<(SecretKey, PublicKey), Trouble> {
        if let Some(key) = self.keys.get(&device) {
            return Ok(key.clone());
        }
        let (disk, id) = (Arc::clone(&self.host.disk), self.id.clone());
        let key = spawn_blocking(move || disk.key(&id, device)).await.map_err(|_| Trouble::Task)??;
        let public = PublicKey::from_bytes(key.public()).map_err(|_| Trouble::Key)?;
        self.keys.insert(device, (key.clone(), public));
        Ok((key, public))
    }

    /// The plane, brought up or configured anew if it has to be, on another port if its own is taken and any will do.
    async fn plane(&mut self, instance: &Arc<GatewayInstance>, key: &SecretKey) -> Result<Arc<dyn Plane>, Trouble> {
        if let Some(up) = &self.up
            && up.instance == *instance
            && up.configured.elapsed() <= CONFIGURE_EVERY
        {
            return Ok(Arc::clone(&up.plane));
        }
        let mut tried = self.where_it_is(instance);
        let mut left = if instance.any_port { PORTS_TRIED } else { 1 };
        let plane = loop {
            left -= 1;
            match self.bring_up(&tried, key).await {
                Err(trouble) if left > 0 => tried.listen_port = self.next_port(tried.listen_port, trouble)?,
                brought => break brought?,
            }
        };
        let up = Up { plane: Arc::clone(&plane), instance: Arc::clone(instance), configured: Instant::now() };
        self.up = Some(up);
        self.down = false;
        Ok(plane)
    }

    /// An instance with the port that it was given instead of the one that is still wanted.
    fn where_it_is(&self, instance: &GatewayInstance) -> GatewayInstance {
        let same = |up: &&Up| (up.instance.device, up.instance.listen_port) == (instance.device, instance.listen_port);
        let moved = self.up.as_ref().filter(|up| instance.any_port && same(up));
        let listen_port = moved.map_or(instance.listen_port, |up| up.plane.listen_port());
        GatewayInstance { listen_port, ..instance.clone() }
    }

    async fn bring_up(&self, instance: &GatewayInstance, key: &SecretKey) -> Result<Arc<dyn Plane>, Trouble> {
        if let Some(up) = &self.up {
            let there = within(CALL_DEADLINE, "list its devices", async { Ok(up.plane.devices().await) }).await?;
            if !there.iter().any(|(device, port)| *device == instance.device && *port != 0) {
                let device = main_of(instance);
                within(RAISE_DEADLINE, "bring a device up", up.plane.set_device(&device, key)).await?;
            }
            within(CALL_DEADLINE, "change its settings", up.plane.configure(instance)).await?;
            return Ok(Arc::clone(&up.plane));
        }
        let Ok(_turn) = self.host.raising.acquire().await else { return Err(Trouble::Task) };
        let plane = within(RAISE_DEADLINE, "bring it up", self.host.planes.raise(instance, key)).await?;
        tracing::info!(instance = %self.id, name = %instance.name, port = plane.listen_port(), "an instance is up");
        Ok(plane)
    }

    /// The port to try after one that another process has; another trouble is what it was.
    fn next_port(&self, taken: u16, trouble: Trouble) -> Result<u16, Trouble> {
        let Trouble::Plane(error) = trouble else { return Err(trouble) };
        match self.host.port_after(taken).filter(|_| error.is_port_taken()) {
            Some(next) => {
                tracing::warn!(instance = %self.id, taken, next, "another process has the port");
                Ok(next)
            }
            None => Err(error.into()),
        }
    }

    /// Brings the devices beside the one that new peers get up; one that fails does not stop the others.
    async fn devices(
        &mut self,
        plane: &Arc<dyn Plane>,
        instance: &GatewayInstance,
    ) -> Result<Vec<GatewayDeviceApplied>, Trouble> {
        let there: BTreeMap<u32, u16> = plane.devices().await.into_iter().collect();
        let mut applied = Vec::with_capacity(instance.devices.len());
        for wanted in &instance.devices {
            let (key, public) = self.key(wanted.device).await?;
            let is_up = self.beside.get(&wanted.device) == Some(wanted);
            let port = match there.get(&wanted.device).filter(|port| is_up && **port != 0) {
                Some(port) => Ok(*port),
                None => self.bring_device_up(plane, *wanted, &key).await,
            };
            let (listen_port, error) = match port {
                Ok(port) => (Some(port), None),
                Err(trouble) => {
                    let error = text(&trouble);
                    tracing::error!(instance = %self.id, device = wanted.device, %error, "a device is not up");
                    (None, Some(error))
                }
            };
            applied.push(GatewayDeviceApplied { device: wanted.device, public_key: Some(public), listen_port, error });
        }
        Ok(applied)
    }

    async fn bring_device_up(
        &mut self,
        plane: &Arc<dyn Plane>,
        wanted: GatewayDevice,
        key: &SecretKey,
    ) -> Result<u16, Trouble> {
        let mut tried = wanted;
        let mut left = if wanted.any_port { PORTS_TRIED } else { 1 };
        let port = loop {
            left -= 1;
            match within(RAISE_DEADLINE, "bring a device up", plane.set_device(&tried, key)).await {
                Err(trouble) if left > 0 => tried.listen_port = self.next_port(tried.listen_port, trouble)?,
                brought => break brought?,
            }
        };
        self.beside.insert(wanted.device, wanted);
        tracing::info!(instance = %self.id, device = wanted.device, port, "a device is up");
        Ok(port)
    }

    /// Takes devices away that are not wanted any more, with their keys: those of this run, and what an earlier one left.
    async fn drop_devices(&mut self, plane: &Arc<dyn Plane>, instance: &GatewayInstance) -> Result<(), Trouble> {
        let wanted = |device: u32| device == instance.device || instance.devices.iter().any(|one| one.device == device);
        for (device, _) in plane.devices().await.into_iter().filter(|(device, _)| !wanted(*device)) {
            within(RAISE_DEADLINE, "take a device down", plane.remove_device(device)).await?;
            self.beside.remove(&device);
            tracing::info!(instance = %self.id, device, "a device is gone");
        }
        self.beside.retain(|device, _| wanted(*device));
        let gone: Vec<u32> = self.keys.keys().copied().filter(|device| !wanted(*device)).collect();
        if gone.is_empty() && self.looked {
            return Ok(());
        }
        let (disk, id) = (Arc::clone(&self.host.disk), self.id.clone());
        let kept: BTreeSet<u32> = instance.devices.iter().map(|one| one.device).chain([instance.device]).collect();
        let deleted = spawn_blocking(move || {
            let unwanted = disk.devices_with_key(&id)?.into_iter().filter(|device| !kept.contains(device));
            unwanted.into_iter().try_for_each(|device| disk.delete_device_key(&id, device))
        });
        deleted.await.map_err(|_| Trouble::Task)??;
        self.keys.retain(|device, _| wanted(*device));
        self.looked = true;
        Ok(())
    }

    /// Carries changes out, peer by peer: one that fails does not stop the next.
    async fn change(
        &mut self,
        plane: &Arc<dyn Plane>,
        changes: &Changes,
        device: &[DevicePeer],
    ) -> Result<(), Trouble> {
        let mut kept = Vec::new();
        for (device, key, peer) in &changes.remove {
            let removed = plane.remove_peer(*device, key, peer.as_ref());
            let removed = within(CALL_DEADLINE, "remove a peer", removed).await;
            match (removed, peer) {
                (Ok(()), Some(peer)) => drop(self.done.remove(peer)),
                (Ok(()), None) => {}
                (Err(trouble), _) => kept.push(format!("{key}: {}", text(&trouble))),
            }
        }
        for peer in &changes.set {
            self.set(plane, peer, device).await;
        }
        self.verify(plane, changes).await?;
        match kept.first() {
            Some(first) => Err(Trouble::NotRemoved { count: kept.len(), first: first.clone() }),
            None => Ok(()),
        }
    }

    async fn set(&mut self, plane: &Arc<dyn Plane>, peer: &Arc<GatewayPeer>, device: &[DevicePeer]) {
        let waits = self.patience.get(&peer.id);
        if waits.is_some_and(|patience| patience.revision == peer.revision && patience.due > Instant::now()) {
            return;
        }
        let is_there = |place| device.iter().any(|found| (found.device, found.public_key) == place);
        let is_new = !is_there((peer.device, peer.public_key));
        // It is called where it was heard with the key that it is sent to with.
        let called = legs(peer).find(|leg| leg.sends && !is_there(leg.place()) && peer.endpoint.is_none());
        let heard = called.and_then(|leg| self.host.traffic.heard(&peer.id, &leg.public_key, SystemTime::now()));
        match within(CALL_DEADLINE, "set a peer", plane.set_peer(peer, heard)).await {
            Ok(()) => {
                if is_new {
                    self.host.traffic.begins(&peer.id);
                }
                self.done.insert(peer.id.clone(), Arc::clone(peer));
                self.patience.remove(&peer.id);
                tracing::debug!(instance = %self.id, peer = %peer.id, revision = peer.revision, ?heard, "a peer is set");
            }
            Err(trouble) => {
                self.done.remove(&peer.id);
                self.be_patient(peer, text(&trouble));
            }
        }
    }

    /// Reads the device again: what was set must be there, all of it.
    async fn verify(&mut self, plane: &Arc<dyn Plane>, changes: &Changes) -> Result<(), Trouble> {
        let device = within(CALL_DEADLINE, "read its peers", plane.peers()).await?;
        let set: Vec<_> = changes.set.iter().filter(|peer| self.done.contains_key(&peer.id)).cloned().collect();
        for peer in diff(&set, &self.done, &device).set {
            self.done.remove(&peer.id);
            self.be_patient(&peer, "the device does not have it as it was set".to_owned());
        }
        Ok(())
    }

    fn be_patient(&mut self, peer: &GatewayPeer, error: String) {
        tracing::error!(instance = %self.id, peer = %peer.id, %error, "a peer is not served");
        let last = self.patience.get(&peer.id).filter(|last| last.revision == peer.revision);
        let pause = last.map_or(RETRY_FIRST, |last| (last.pause * 2).min(RETRY_MOST));
        let patience = Patience { revision: peer.revision, error, due: Instant::now() + pause, pause };
        self.patience.insert(peer.id.clone(), patience);
    }

    /// Hands the device's counters over.
    fn observe(&self, device: &[DevicePeer]) {
        let places = self.done.values().flat_map(|peer| legs(peer).map(move |leg| (leg.place(), peer)));
        let by_place: HashMap<(u32, PublicKey), &Arc<GatewayPeer>> = places.collect();
        let seen = device.iter().filter_map(|found| {
            let peer = by_place.get(&(found.device, found.public_key))?;
            let part = match &peer.moving {
                None => Part::Whole,
                Some(to) if to.device == found.device => Part::Beside,
                Some(_) => Part::Own,
            };
            Some(Seen { peer: &peer.id, revision: peer.revision, device: found, part })
        });
        self.host.traffic.observe(&self.id, seen, SystemTime::now());
    }
}

/// The device that new peers get, as one among the others.
fn main_of(instance: &GatewayInstance) -> GatewayDevice {
    GatewayDevice { device: instance.device, listen_port: instance.listen_port, any_port: instance.any_port }
}

async fn within<T>(
    after: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, PlaneError>>,
) -> Result<T, Trouble> {
    match timeout(after, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Trouble::Deadline { what, after }),
    }
}

/// An error and its causes in one line of a moderate length.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        // Writing into a String does not fail.
        let _: std::fmt::Result = write!(text, ": {source}");
        cause = source.source();
    }
    text.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect()
}
