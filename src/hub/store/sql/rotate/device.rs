//! Further devices of an instance: their rows, and what gateways say of them.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::{step, tell_agent};
use crate::api::{
    DeviceState, GatewayDevice, GatewayDeviceApplied, GatewayId, InstanceDevice, InstanceId, MAX_DEVICES, MoveStep,
    PeerId,
};
use crate::domain::PublicKey;
use crate::hub::store::sql::db::{RowExt as _, Run as _, Tx, q, to_word};
use crate::hub::store::sql::instance::{Inst, assign, next_revision};
use crate::hub::store::sql::once::{Change, audit};
use crate::hub::store::sql::peer;
use crate::hub::store::{Scope, StoreError, Stored};

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 500;

/// A row of `device`.
#[derive(Debug, Clone)]
pub(in crate::hub::store::sql) struct Dev {
    pub number: u32,
    pub state: DeviceState,
    pub listen_port: u16,
    pub public_key: Option<PublicKey>,
    error: Option<String>,
    peers: u64,
    made_at: i64,
}

impl Dev {
    fn from_row(row: &AnyRow) -> Stored<Self> {
        Ok(Self {
            number: row.small("number")?,
            state: row.variant("state")?,
            listen_port: row.small("listen_port")?,
            public_key: row.opt_word("public_key")?,
            error: row.opt_text("error")?,
            peers: row.count("peers")?,
            made_at: row.int("made_at")?,
        })
    }

    /// As the gateway is told of it, unless it is to go. It may have another port, unless its instance asked for this one.
    pub fn told(&self, asked: Option<u16>) -> Option<GatewayDevice> {
        let any_port = asked != Some(self.listen_port);
        let told = GatewayDevice { device: self.number, listen_port: self.listen_port, any_port };
        (self.state != DeviceState::Leaving).then_some(told)
    }
}

impl From<Dev> for InstanceDevice {
    fn from(dev: Dev) -> Self {
        Self {
            device: dev.number,
            state: dev.state,
            listen_port: dev.listen_port,
            public_key: dev.public_key,
            error: dev.error,
            peers: dev.peers,
            made_at: dev.made_at,
        }
    }
}

/// The further devices of an instance.
pub(in crate::hub::store::sql) async fn devices(connection: &mut AnyConnection, id: &InstanceId) -> Stored<Vec<Dev>> {
    let rows = q!(
        "SELECT d.*, (SELECT COUNT(*) FROM peer p WHERE p.instance = d.instance AND p.device = d.number) AS peers \
         FROM device d WHERE d.instance = $1 ORDER BY d.number",
        id.as_str()
    );
    rows.all(connection).await?.iter().map(Dev::from_row).collect()
}

/// Whether no further device has a port of a gateway.
pub(in crate::hub::store::sql) async fn port_is_free(tx: &mut Tx, gateway: &GatewayId, port: u16) -> Stored<bool> {
    let row = q!(
        "SELECT COUNT(*) AS n FROM device WHERE gateway = $1 AND listen_port = $2",
        gateway.as_str(),
        i64::from(port)
    );
    Ok(row.one(tx).await?.int("n")? == 0)
}

/// Has the gateway make one more device, on a port that is known to be free or on any; returns its number.
pub(super) async fn make(tx: &mut Tx, inst: &mut Inst, state: DeviceState, port: Option<u16>) -> Stored<u32> {
    let Some(gateway) = inst.gateway.clone() else {
        return Err(StoreError::State { detail: format!("instance {} has no gateway yet", inst.id) });
    };
    let there = devices(tx, &inst.id).await?.len() + 1;
    if there >= MAX_DEVICES {
        let detail = format!(
            "instance {} has {there} devices already, the most there may be: peers still have its former keys",
            inst.id
        );
        return Err(StoreError::State { detail });
    }
    // The gateway's row is held from here on, so that nobody else takes the port.
    inst.revision = next_revision(tx, Some(&gateway)).await?;
    let port = assign::port(tx, &gateway, inst, port, &Scope::All).await?;
    let port = port.map_err(|detail| StoreError::State { detail })?;
    let number = inst.devices;
    inst.devices += 1;
    insert(tx, inst, (number, port, None), state).await?;
    q!(
        "UPDATE instance SET devices = $2, revision = $3 WHERE id = $1",
        inst.id.as_str(),
        i64::from(inst.devices),
        inst.revision
    )
    .run(tx)
    .await?;
    Ok(number)
}

async fn insert(
    tx: &mut Tx,
    inst: &Inst,
    (number, port, key): (u32, u16, Option<PublicKey>),
    state: DeviceState,
) -> Stored<()> {
    q!(
        "INSERT INTO device (instance, number, gateway, state, listen_port, public_key, revision, made_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        inst.id.as_str(),
        i64::from(number),
        inst.gateway.as_ref().map(|gateway| gateway.as_str().to_owned()),
        to_word(&state)?,
        i64::from(port),
        key.map(|key| key.to_string()),
        inst.revision,
        tx.now
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Takes a gateway's word for what became of further devices.
pub(in crate::hub::store::sql) async fn devices_applied(
    tx: &mut Tx,
    gateway: &GatewayId,
    inst: &mut Inst,
    applied: &[GatewayDeviceApplied],
) -> Stored<()> {
    for dev in devices(tx, &inst.id).await? {
        let said = applied.iter().find(|said| said.device == dev.number);
        let Some(said) = said.filter(|_| dev.state != DeviceState::Leaving) else { continue };
        let dev = note(tx, gateway, inst, dev, said).await?;
        if dev.public_key.is_none() || said.listen_port.is_none() {
            continue;
        }
        go_on(tx, inst, dev.number).await?;
        if dev.state == DeviceState::Coming {
            promote(tx, gateway, inst, &dev).await?;
        }
    }
    Ok(())
}

async fn note(tx: &mut Tx, gateway: &GatewayId, inst: &mut Inst, was: Dev, said: &GatewayDeviceApplied) -> Stored<Dev> {
    let mut dev = was.clone();
    dev.public_key = said.public_key.or(was.public_key);
    let readable = |text: &String| text.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
    dev.error = said.error.as_ref().map(readable);
    if let Some(port) = said.listen_port.filter(|port| *port != 0 && *port != was.listen_port) {
        dev.listen_port = take_port(tx, gateway, inst, port).await?;
    }
    let same = (dev.public_key, &dev.error, dev.listen_port) == (was.public_key, &was.error, was.listen_port);
    if same {
        return Ok(dev);
    }
    q!(
        "UPDATE device SET public_key = $3, error = $4, listen_port = $5 WHERE instance = $1 AND number = $2",
        inst.id.as_str(),
        i64::from(dev.number),
        dev.public_key.map(|key| key.to_string()),
        dev.error.clone(),
        i64::from(dev.listen_port)
    )
    .run(tx)
    .await?;
    let moved = was.public_key.is_some() && (was.public_key, was.listen_port) != (dev.public_key, dev.listen_port);
    if moved {
        // Who is on it has to follow.
        inst.all_agents_changed(tx);
        inst.save_counters(tx).await?;
    }
    Ok(dev)
}

/// The port that a gateway really serves, or, where another one has that in the store, a free one. The gateway is told it as wanted.
async fn take_port(tx: &mut Tx, gateway: &GatewayId, inst: &mut Inst, port: u16) -> Stored<u16> {
    inst.revision = next_revision(tx, Some(gateway)).await?;
    q!("UPDATE instance SET revision = $2 WHERE id = $1", inst.id.as_str(), inst.revision).run(tx).await?;
    let taken = q!(
        "SELECT COUNT(*) AS n FROM instance WHERE gateway = $1 AND listen_port = $2",
        gateway.as_str(),
        i64::from(port)
    );
    if taken.one(tx).await?.int("n")? == 0 && port_is_free(tx, gateway, port).await? {
        return Ok(port);
    }
    let free = assign::port(tx, gateway, inst, None, &Scope::All).await?;
    free.map_err(|detail| StoreError::State { detail })
}

/// A device is there: routers that wait for it are told.
async fn go_on(tx: &mut Tx, inst: &mut Inst, number: u32) -> Stored<()> {
    let waiting = q!(
        "SELECT peer FROM moving WHERE instance = $1 AND device = $2 AND step = 'device'",
        inst.id.as_str(),
        i64::from(number)
    );
    for row in waiting.all(tx).await? {
        let id: PeerId = row.word("peer")?;
        let mut peer = peer::find(tx, &id).await?;
        tell_agent(tx, inst, &mut peer).await?;
        step(tx, &id, MoveStep::Router, None).await?;
        q!("UPDATE moving SET told = $2 WHERE peer = $1", id.as_str(), peer.agent_revision).run(tx).await?;
    }
    Ok(())
}

/// A device becomes the one that new peers get; the one before stays for whoever is on it.
async fn promote(tx: &mut Tx, gateway: &GatewayId, inst: &mut Inst, dev: &Dev) -> Stored<()> {
    let facts = |inst: &Inst| serde_json::json!({ "device": inst.device, "public_key": inst.public_key, "listen_port": inst.listen_port });
    let before = facts(inst);
    inst.revision = next_revision(tx, Some(gateway)).await?;
    let (id, number) = (inst.id.as_str(), i64::from(dev.number));
    q!("DELETE FROM device WHERE instance = $1 AND number = $2", id, number).run(tx).await?;
    q!("UPDATE device SET state = 'retired' WHERE instance = $1 AND state = 'beside'", id).run(tx).await?;
    if let Some(port) = inst.listen_port {
        insert(tx, inst, (inst.device, port, inst.public_key), DeviceState::Retired).await?;
    }
    (inst.device, inst.listen_port, inst.public_key) = (dev.number, Some(dev.listen_port), dev.public_key);
    inst.key_at = Some(tx.now);
    q!(
        "UPDATE instance SET device = $2, listen_port = $3, public_key = $4, key_at = $5, revision = $6 WHERE id = $1",
        inst.id.as_str(),
        i64::from(inst.device),
        inst.listen_port.map(i64::from),
        inst.public_key.map(|key| key.to_string()),
        inst.key_at,
        inst.revision
    )
    .run(tx)
    .await?;
    let (object, account) = (inst.object(), Some(&inst.account));
    let change = Change { action: "instance.key", object, account, before: Some(before), after: Some(facts(inst)) };
    audit(tx, &format!("gateway {gateway}"), change).await
}

/// A gateway is gone, and the keys of its devices with it: every peer is on the device that its instance has at the next one. A change
/// that was made is kept, one that was not is given up.
pub(in crate::hub::store::sql) async fn forget_gateway(tx: &mut Tx, gateway: &GatewayId) -> Stored<()> {
    let of = "(SELECT id FROM instance WHERE gateway = $1)";
    for text in [
        "UPDATE peer SET public_key = m.public_key, generation = m.generation, generation_revision = i.agent_counter + 1 \
             FROM moving m JOIN instance i ON i.id = m.instance WHERE m.peer = peer.id AND m.step = 'grace' AND i.gateway = $1"
            .to_owned(),
        format!("DELETE FROM moving WHERE instance IN {of}"),
        format!(
            "UPDATE peer SET device = (SELECT i.device FROM instance i WHERE i.id = peer.instance) WHERE instance IN {of}"
        ),
        format!("DELETE FROM device WHERE instance IN {of}"),
        "UPDATE instance SET rotating_since = NULL WHERE gateway = $1".to_owned(),
    ] {
        q!(sqlx::AssertSqlSafe(text), gateway.as_str()).run(tx).await?;
    }
    Ok(())
}
