//! Freezes of sites: for a while no agent changes anything there. Beginning and end are told to the agents by a revision of their own.

use super::check::{invalid, not_found};
use super::db::{Db, RowExt as _, Run as _, Tx, q};
use super::{instance, site};
use crate::api::{InstanceId, MAX_FREEZE_REASON, MAX_FREEZE_SECS, NewFreeze, PeerId, Site, SiteId, code};
use crate::hub::store::{Actor, Scope, StoreError, Stored};
use crate::hub::wake::{Signal, Topic};

/// Freezes ended in one round; the rest in the next, a moment later.
const AT_ONCE: i64 = 100;

pub(super) async fn freeze(db: &Db, by: &Actor, id: &SiteId, new: NewFreeze) -> Stored<Site> {
    check(&new)?;
    let mut tx = db.begin().await?;
    let before = hold(&mut tx, &by.scope, id).await?;
    // Bounded by `check`, so it is a number that fits.
    let until = tx.now.saturating_add(i64::try_from(new.for_secs).unwrap_or(0));
    q!(
        "UPDATE site SET frozen_until = $2, frozen_at = $3, frozen_reason = $4, frozen_by = $5, version = version + 1 WHERE id = $1",
        id.as_str(),
        until,
        tx.now,
        new.reason,
        by.who.as_str()
    )
    .run(&mut tx)
    .await?;
    let after = site::read(&mut tx, &Scope::All, id).await?;
    site::log(&mut tx, &by.who, "site.freeze", Some(&before), Some(&after)).await?;
    tx.commit().await?;
    Ok(after)
}

fn check(new: &NewFreeze) -> Stored<()> {
    if !(1..=MAX_FREEZE_SECS).contains(&new.for_secs) {
        let detail = format!("a freeze is from 1 to {MAX_FREEZE_SECS} s long");
        return Err(invalid("for_secs", detail, code::INVALID).hint("whoever needs longer says so again"));
    }
    if new.reason.chars().count() > MAX_FREEZE_REASON || new.reason.chars().any(char::is_control) {
        let detail = format!("a reason has at most {MAX_FREEZE_REASON} characters, none of them a control character");
        return Err(invalid("reason", detail, code::INVALID));
    }
    Ok(())
}

/// Ends a freeze before its time.
pub(super) async fn thaw(db: &Db, by: &Actor, id: &SiteId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let before = hold(&mut tx, &by.scope, id).await?;
    if before.frozen.is_none() {
        return Err(not_found("freeze of site", id));
    }
    end(tx, &by.who, &before).await
}

/// Ends the freezes whose time is over: agents are told, so that none has to trust its own clock.
pub(super) async fn thaw_due(db: &Db) -> Stored<()> {
    let now = db.clock.now();
    let due = q!("SELECT id FROM site WHERE frozen_until <= $1 ORDER BY frozen_until LIMIT $2", now, AT_ONCE);
    for row in due.all(&mut *db.read().await?).await? {
        let id: SiteId = row.word("id")?;
        let mut tx = db.begin().await?;
        let before = match hold(&mut tx, &Scope::All, &id).await {
            Ok(before) => before,
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        // Another replica may have been here, or somebody has renewed it.
        if before.frozen.as_ref().is_some_and(|freeze| freeze.until <= now) {
            end(tx, "hub", &before).await?;
        }
    }
    Ok(())
}

async fn end(mut tx: Tx, who: &str, before: &Site) -> Stored<()> {
    q!(
        "UPDATE site SET frozen_until = NULL, frozen_at = NULL, frozen_reason = NULL, frozen_by = NULL, version = version + 1 \
         WHERE id = $1",
        before.id.as_str()
    )
    .run(&mut tx)
    .await?;
    let after = site::read(&mut tx, &Scope::All, &before.id).await?;
    site::log(&mut tx, who, "site.thaw", Some(before), Some(&after)).await?;
    tx.commit().await
}

/// Holds the site and the instances of its peers, in the order of all changes, and raises the revision of each peer's agent.
async fn hold(tx: &mut Tx, scope: &Scope, id: &SiteId) -> Stored<Site> {
    // Out of scope it does not exist, and nothing is held.
    site::read(tx, scope, id).await?;
    let found = q!("SELECT DISTINCT instance FROM peer WHERE site = $1 ORDER BY instance", id.as_str());
    for row in found.all(tx).await? {
        let instance: InstanceId = row.word("instance")?;
        let mut inst = match instance::lock(tx, &Scope::All, &instance).await {
            Ok(inst) => inst,
            // It went meanwhile, and its peers with it.
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let revision = inst.agents_changed(tx);
        let peers = q!(
            "UPDATE peer SET agent_revision = $3 WHERE site = $1 AND instance = $2 AND kind = 'site' RETURNING id",
            id.as_str(),
            instance.as_str(),
            revision
        );
        for row in peers.all(tx).await? {
            let peer: PeerId = row.word("id")?;
            tx.signal(Signal::Topic(Topic::Peer(peer)));
        }
        inst.save_counters(tx).await?;
    }
    site::lock(tx, id).await?;
    site::read(tx, scope, id).await
}
