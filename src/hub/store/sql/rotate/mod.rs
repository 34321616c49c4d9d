//! Tunnels that take over from others: another key at one end or both, make before break.
//!
//! A change has four steps. The gateway makes a *device*; the *router* makes its end and tells its key; the gateway lets it in there
//! too, and the router proves it; once the router uses it, the gateway sends by it as well, and the old one stays for a *grace*. Each
//! step is taken when the one before was told; until the last one the change can wait for ever, or be cancelled.

mod course;
mod device;
mod start;
mod tick;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

pub(super) use course::heard;
pub(super) use device::{devices, devices_applied, forget_gateway, port_is_free};
pub(super) use start::{by_agent, cancel, coming_port, instance, peer, take_back, to_port};
pub(super) use tick::{by_policy, tick};

use super::check::conflict;
use super::db::{RowExt as _, Run as _, Tx, q, to_word};
use super::instance::{Inst, next_revision};
use super::peer::Pr;
use crate::api::{AgentApplied, GatewayMove, MoveCause, MoveStep, PeerId, PeerKind, PeerMove, code};
use crate::domain::PublicKey;
use crate::hub::store::Stored;
use crate::hub::wake::{Signal, Topic};

/// A row of `moving`.
const MOVING: &str = "SELECT generation AS next_generation, device AS next_device, public_key AS next_key, step, step_at, since, \
    cause, told, due_ms FROM moving WHERE peer = $1";

/// A change that is under way.
#[derive(Debug, Clone)]
struct Moving {
    shown: PeerMove,
    /// The agent's revision that told of it.
    told: i64,
    due_ms: Option<i64>,
}

async fn find(connection: &mut AnyConnection, id: &PeerId) -> Stored<Option<Moving>> {
    let Some(row) = q!(MOVING, id.as_str()).maybe(connection).await? else { return Ok(None) };
    let Some(shown) = shown(&row)? else { return Ok(None) };
    Ok(Some(Moving { shown, told: row.int("told")?, due_ms: row.opt_int("due_ms")? }))
}

/// A change as it is shown, if the row has one.
pub(super) fn shown(row: &AnyRow) -> Stored<Option<PeerMove>> {
    let Some(generation) = row.opt_small("next_generation")? else { return Ok(None) };
    Ok(Some(PeerMove {
        generation,
        device: row.small("next_device")?,
        step: row.variant("step")?,
        step_at: row.int("step_at")?,
        since: row.int("since")?,
        cause: row.variant("cause")?,
        public_key: row.opt_word("next_key")?,
    }))
}

/// A change as the gateway is told of it: once the router has a key there.
pub(super) fn told(row: &AnyRow) -> Stored<Option<GatewayMove>> {
    let Some(public_key) = row.opt_word("next_key")? else { return Ok(None) };
    let sends = row.variant::<MoveStep>("step")? == MoveStep::Grace;
    Ok(Some(GatewayMove { device: row.small("next_device")?, public_key, sends }))
}

/// Whether what an agent says moves a change on: two numbers and a key answer it, for nearly always it does not.
pub(super) fn is_news(row: &AnyRow, applied: &AgentApplied) -> Stored<bool> {
    let Some(moving) = shown(row)? else { return Ok(false) };
    let told = row.int("told")?;
    Ok(moved_on(&moving, told, applied) != Heard::Nothing)
}

/// What an agent says of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// The router has made its end, with this key.
    Made(PublicKey),
    /// What the router sends goes by the new tunnel.
    Used,
    /// It does not any more.
    Left,
}

fn moved_on(moving: &PeerMove, told: i64, applied: &AgentApplied) -> Heard {
    let at = |step| moving.step == step;
    match applied.next.filter(|next| next.generation == moving.generation) {
        _ if at(MoveStep::Device) => Heard::Nothing,
        Some(next) if moving.public_key != Some(next.public_key) => Heard::Made(next.public_key),
        Some(next) if next.in_use && at(MoveStep::Proof) => Heard::Used,
        Some(next) if !next.in_use && at(MoveStep::Grace) => Heard::Left,
        // It lost what it had, and says so of a revision at which it should have it.
        None if at(MoveStep::Grace) && applied.revision >= told => Heard::Left,
        _ => Heard::Nothing,
    }
}

/// One end of a tunnel at the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub public_key: PublicKey,
    pub port: u16,
}

/// Where a peer's tunnels end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The one in use, once there is one.
    pub now: Option<End>,
    /// The one that takes over, with its generation.
    pub next: Option<(u32, End)>,
}

/// Finds where a peer's tunnels end.
pub(super) async fn ends(connection: &mut AnyConnection, inst: &Inst, peer: &Pr) -> Stored<Ends> {
    let moving = find(connection, &peer.id).await?.map(|moving| moving.shown);
    let moving = moving.filter(|moving| moving.step != MoveStep::Device);
    let beside = peer.device != inst.device || moving.is_some();
    let others = if beside { devices(connection, &inst.id).await? } else { Vec::new() };
    let end = |device: u32| {
        if device == inst.device {
            return Some(End { public_key: inst.public_key?, port: inst.listen_port? });
        }
        let other = others.iter().find(|other| other.number == device)?;
        Some(End { public_key: other.public_key?, port: other.listen_port })
    };
    let next = moving.and_then(|moving| Some((moving.generation, end(moving.device)?)));
    Ok(Ends { now: end(peer.device), next })
}

/// Refuses a key that another peer has on the device it changes to, or that is one of the gateway's own.
pub(super) async fn key_is_free(tx: &mut Tx, inst: &Inst, id: &PeerId, key: &PublicKey) -> Stored<()> {
    let row = q!(
        "SELECT 'peer ' || peer AS whose FROM moving WHERE instance = $1 AND public_key = $2 AND peer <> $3 \
         UNION ALL SELECT 'the instance''s own gateway' FROM device WHERE instance = $1 AND public_key = $2",
        inst.id.as_str(),
        key.to_string(),
        id.as_str()
    );
    match row.maybe(tx).await? {
        None => Ok(()),
        Some(row) => {
            let detail = format!("{} has this public key already", row.text("whose")?);
            Err(conflict("public_key", detail, code::KEY_TAKEN))
        }
    }
}

/// What follows from another key: since when it is, on which device the peer is with it, and what was under way for the one before.
pub(super) async fn key_changes(tx: &mut Tx, inst: &Inst, old: Option<&Pr>, new: &mut Pr) -> Stored<()> {
    let before = old.and_then(|old| old.public_key);
    if old.is_some() && new.public_key == before {
        return Ok(());
    }
    new.key_at = new.public_key.map(|_| tx.now);
    if new.kind != PeerKind::Site {
        // Its profile is made anew with it, and names the device that the instance has now.
        new.device = inst.device;
    } else if new.public_key.is_none() {
        q!("DELETE FROM moving WHERE peer = $1", new.id.as_str()).run(tx).await?;
        new.device = inst.device;
    }
    Ok(())
}

/// Has the gateway hear of a peer again.
async fn tell_gateway(tx: &mut Tx, inst: &Inst, peer: &mut Pr) -> Stored<()> {
    peer.revision = next_revision(tx, inst.gateway.as_ref()).await?;
    q!("UPDATE peer SET revision = $2 WHERE id = $1", peer.id.as_str(), peer.revision).run(tx).await?;
    Ok(())
}

/// Has a peer's agent hear of it again.
async fn tell_agent(tx: &mut Tx, inst: &mut Inst, peer: &mut Pr) -> Stored<()> {
    peer.agent_revision = inst.agents_changed(tx);
    q!("UPDATE peer SET agent_revision = $2 WHERE id = $1", peer.id.as_str(), peer.agent_revision).run(tx).await?;
    tx.signal(Signal::Topic(Topic::Peer(peer.id.clone())));
    inst.save_counters(tx).await
}

/// Takes a change to a step.
async fn step(tx: &mut Tx, id: &PeerId, to: MoveStep, due_ms: Option<i64>) -> Stored<()> {
    let set = q!(
        "UPDATE moving SET step = $2, step_at = $3, due_ms = $4 WHERE peer = $1",
        id.as_str(),
        to_word(&to)?,
        tx.now,
        due_ms
    );
    set.run(tx).await?;
    Ok(())
}

/// Who is named in the audit log for what nobody asked for.
fn cause_word(cause: MoveCause) -> &'static str {
    match cause {
        MoveCause::Person => "person",
        MoveCause::Agent => "agent",
        MoveCause::Instance => "instance",
        MoveCause::Policy => "policy",
    }
}
