//! What changed for a gateway since a revision, in parts that are not too large.

use sqlx::AnyConnection;

use crate::api::{
    GatewayDesired, GatewayId, GatewayInstance, GatewayPeer, InstanceId, MAX_PEERS_PER_REPLY, PeerId, RemovedPeer,
};
use crate::hub::store::Stored;
use crate::hub::store::sql::check::not_found;
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, q};
use crate::hub::store::sql::instance::Inst;
use crate::hub::store::sql::peer::Pr;
use crate::hub::store::sql::{pool, rotate};

/// A gateway that asks is there; noted at most this often, in seconds, since asking should not become writing.
const SEEN_STEP: i64 = 15;

/// One change, with its revision.
enum Item {
    Instance(Box<GatewayInstance>),
    Peer(Box<GatewayPeer>),
    RemovedInstance(InstanceId),
    RemovedPeer(RemovedPeer),
}

pub(in crate::hub::store::sql) async fn desired(db: &Db, id: &GatewayId, since: i64) -> Stored<Option<GatewayDesired>> {
    let mut snapshot = db.snapshot().await?;
    let row = q!(
        "SELECT g.revision, g.floor, s.seen_at, s.filling FROM gateway g JOIN gateway_seen s ON s.gateway = g.id WHERE g.id = $1",
        id.as_str()
    );
    let row = row.maybe(&mut snapshot).await?.ok_or_else(|| not_found("gateway", id))?;
    let (revision, floor) = (row.int("revision")?, row.int("floor")?);
    let now = db.clock.now();
    if row.opt_int("seen_at")?.is_none_or(|seen| seen <= now - SEEN_STEP) {
        note_seen(db, id, now).await;
    }
    if since == revision {
        return Ok(None);
    }
    let filling = since == 0 || row.opt_int("filling")? == Some(since);
    // Ahead of the store: it was restored from a backup. Behind the floor: what was removed since is forgotten.
    if since > revision || (since < floor && !filling) {
        return Ok(Some(empty(since.min(revision), true)));
    }
    let mut items = Vec::new();
    instances(&mut snapshot, id, since, &mut items).await?;
    peers(&mut snapshot, id, since, &mut items).await?;
    if since != 0 {
        removals(&mut snapshot, id, since, &mut items).await?;
    }
    snapshot.commit().await?;
    let told = part(items, revision);
    if filling && (told.more || since != 0) {
        let ended = told.more.then_some(told.revision);
        db.alone(q!("UPDATE gateway_seen SET filling = $2 WHERE gateway = $1", id.as_str(), ended)).await?;
    }
    Ok(Some(told))
}

fn empty(revision: i64, restart: bool) -> GatewayDesired {
    GatewayDesired {
        revision,
        restart,
        more: false,
        instances: Vec::new(),
        peers: Vec::new(),
        removed_instances: Vec::new(),
        removed_peers: Vec::new(),
    }
}

/// The first changes, in the order of their revisions: what does not fit comes with the next question. Each list was read to one
/// more than fits, so whatever is cut off here lies behind all that is told.
fn part(mut items: Vec<(i64, Item)>, revision: i64) -> GatewayDesired {
    items.sort_by_key(|(revision, _)| *revision);
    let mut told = empty(revision, false);
    if items.len() > MAX_PEERS_PER_REPLY {
        items.truncate(MAX_PEERS_PER_REPLY);
        told.more = true;
        told.revision = items.last().map_or(revision, |(revision, _)| *revision);
    }
    for (_, item) in items {
        match item {
            Item::Instance(instance) => told.instances.push(*instance),
            Item::Peer(peer) => told.peers.push(*peer),
            Item::RemovedInstance(instance) => told.removed_instances.push(instance),
            Item::RemovedPeer(peer) => told.removed_peers.push(peer),
        }
    }
    told
}

fn most() -> i64 {
    i64::try_from(MAX_PEERS_PER_REPLY + 1).unwrap_or(i64::MAX)
}

async fn instances(
    connection: &mut AnyConnection,
    id: &GatewayId,
    since: i64,
    items: &mut Vec<(i64, Item)>,
) -> Stored<()> {
    let rows = q!(
        "SELECT instance.* FROM instance WHERE gateway = $1 AND revision > $2 ORDER BY revision LIMIT $3",
        id.as_str(),
        since,
        most()
    );
    for row in rows.all(connection).await? {
        let inst = Inst::from_row(&row)?;
        let devices = rotate::devices(connection, &inst.id).await?;
        let instance = GatewayInstance {
            addresses: pool::gateway_addresses(inst.tunnel4, inst.tunnel6),
            id: inst.id,
            name: inst.name.to_string(),
            suspended: inst.suspended,
            device: inst.device,
            listen_port: inst.listen_port.unwrap_or_default(),
            any_port: inst.asked_port.is_none() || inst.asked_port != inst.listen_port,
            devices: devices.iter().filter_map(|dev| dev.told(inst.asked_port)).collect(),
            pushed_routes: inst.pushed,
            policy: inst.policy,
            revision: inst.revision,
        };
        items.push((inst.revision, Item::Instance(Box::new(instance))));
    }
    Ok(())
}

async fn peers(connection: &mut AnyConnection, id: &GatewayId, since: i64, items: &mut Vec<(i64, Item)>) -> Stored<()> {
    let rows = q!(
        "SELECT p.*, m.device AS next_device, m.public_key AS next_key, m.step FROM instance i \
         JOIN peer p ON p.instance = i.id LEFT JOIN moving m ON m.peer = p.id WHERE i.gateway = $1 AND p.revision > $2 ORDER BY p.revision LIMIT $3",
        id.as_str(),
        since,
        most()
    );
    for row in rows.all(connection).await? {
        let peer = Pr::from_row(&row)?;
        let (Some(public_key), true) = (peer.public_key, peer.enabled) else {
            items.push((peer.revision, Item::RemovedPeer(RemovedPeer { instance: peer.instance, peer: peer.id })));
            continue;
        };
        let told = GatewayPeer {
            addresses: peer.addresses(),
            id: peer.id,
            instance: peer.instance,
            kind: peer.kind,
            device: peer.device,
            public_key,
            moving: rotate::told(&row)?,
            preshared_key: peer.preshared_key,
            subnets: peer.subnets,
            route_all: peer.route_all,
            endpoint: peer.endpoint,
            keepalive_secs: peer.keepalive,
            revision: peer.revision,
        };
        items.push((told.revision, Item::Peer(Box::new(told))));
    }
    Ok(())
}

async fn removals(
    connection: &mut AnyConnection,
    id: &GatewayId,
    since: i64,
    items: &mut Vec<(i64, Item)>,
) -> Stored<()> {
    let rows = q!(
        "SELECT revision, instance, peer FROM removal WHERE gateway = $1 AND revision > $2 ORDER BY revision LIMIT $3",
        id.as_str(),
        since,
        most()
    );
    for row in rows.all(connection).await? {
        let (revision, instance) = (row.int("revision")?, row.word("instance")?);
        let removed = match row.text("peer")?.as_str() {
            "" => Item::RemovedInstance(instance),
            peer => {
                let peer: PeerId = peer.parse().map_err(|_| not_found("peer", &peer))?;
                Item::RemovedPeer(RemovedPeer { instance, peer })
            }
        };
        items.push((revision, removed));
    }
    Ok(())
}

async fn note_seen(db: &Db, id: &GatewayId, now: i64) {
    let note = q!("UPDATE gateway_seen SET seen_at = $2 WHERE gateway = $1", id.as_str(), now);
    if let Err(error) = db.alone(note).await {
        tracing::debug!(%error, "that a gateway was heard was not noted");
    }
}
