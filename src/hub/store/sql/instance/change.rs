//! Changing an instance's settings.
//!
//! A port that peers use already is not changed under them: a further device gets the new one, and they move to it, make before break.

use super::assign::port;
use super::create::{dns, free, hostname, pushed_beside, rotate_days, same, taken};
use super::{Inst, lock, next_revision, read};
use crate::api::{Instance, InstanceEdit, InstanceId, InstanceStatus, code};
use crate::hub::store::sql::Context;
use crate::hub::store::sql::check::{conflict, invalid, prefixes, version};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, q, to_json};
use crate::hub::store::sql::once::{Change, audit, fields};
use crate::hub::store::sql::rotate;
use crate::hub::store::{Actor, Stored};

pub(in crate::hub::store::sql) async fn edit(
    db: &Db,
    context: &Context,
    by: &Actor,
    id: &InstanceId,
    if_match: Option<i64>,
    edit: InstanceEdit,
) -> Stored<Instance> {
    let mut tx = db.begin().await?;
    let was = lock(&mut tx, &by.scope, id).await?;
    version("instance", id, was.version, if_match)?;
    let now = tx.now;
    let before = read::read(&mut tx, context, &by.scope, id, now).await?;
    let mut inst = was.clone();
    let moves_to = merge(&mut tx, by, &mut inst, edit).await?;
    if inst.pushed != was.pushed {
        inst.offers_changed(tx.now_ms);
    }
    if !same(&was, &inst) {
        follow(&mut tx, &was, &mut inst).await?;
        save(&mut tx, &inst).await?;
        inst.save_counters(&mut tx).await?;
    }
    if let Some(port) = moves_to {
        rotate::to_port(&mut tx, &mut inst, port).await?;
    }
    let after = read::read(&mut tx, context, &by.scope, id, now).await?;
    let change = Change {
        action: "instance.edit",
        object: inst.object(),
        account: Some(&inst.account),
        before: fields(&before)?,
        after: fields(&after)?,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await?;
    Ok(after)
}

/// Takes the edit over, each field by its rule. Returns a port that peers have to move to.
async fn merge(tx: &mut Tx, by: &Actor, inst: &mut Inst, edit: InstanceEdit) -> Stored<Option<u16>> {
    if let Some(new) = &edit.hostname {
        hostname(new)?;
    }
    let dns_changes = edit.dns.is_some() || edit.search.is_some();
    inst.name = edit.name.unwrap_or_else(|| inst.name.clone());
    inst.hostname = edit.hostname.unwrap_or_else(|| inst.hostname.clone());
    free(tx, by, &inst.account, Some(&inst.id), &inst.name, &inst.hostname).await?;
    inst.dns = edit.dns.unwrap_or_else(|| inst.dns.clone());
    inst.search = edit.search.unwrap_or_else(|| inst.search.clone());
    if dns_changes {
        dns(&inst.dns, &inst.search)?;
    }
    if let Some(pushed) = edit.pushed_routes {
        inst.pushed = prefixes("pushed_routes", &pushed, edit.allow_broad)?;
        pushed_beside(&inst.pushed, inst.tunnels())?;
    }
    inst.policy = edit.policy.unwrap_or(inst.policy);
    if edit.rotate_keys_days.is_some() {
        inst.rotate_days = rotate_days(edit.rotate_keys_days)?;
    }
    match edit.listen_port {
        Some(asked) => listen_on(tx, by, inst, asked).await,
        None => Ok(None),
    }
}

/// Takes a port, at once where nobody uses the one before; else returns it.
async fn listen_on(tx: &mut Tx, by: &Actor, inst: &mut Inst, asked: u16) -> Stored<Option<u16>> {
    if asked == 0 {
        return Err(invalid("listen_port", "a port is 1 to 65535", code::INVALID));
    }
    let coming = rotate::coming_port(tx, &inst.id).await?;
    let (was_asked, is_here) = (inst.asked_port, inst.listen_port == Some(asked));
    inst.asked_port = Some(asked);
    match coming {
        Some(coming) if coming == asked => return Ok(None),
        // Nobody has moved to it yet: another one will do as well, or none if it was made for its port alone.
        Some(coming) if !is_here || was_asked == Some(coming) => rotate::take_back(tx, inst).await?,
        Some(_) | None => {}
    }
    let Some(gateway) = inst.gateway.clone() else { return Ok(None) };
    // Held from here on, so that nobody else takes the port.
    next_revision(tx, Some(&gateway)).await?;
    let free = port(tx, &gateway, inst, Some(asked), &by.scope).await?;
    let free = free.map_err(|why| conflict("listen_port", why, code::PORT_TAKEN))?;
    if !is_here && is_in_use(tx, inst).await? {
        return Ok(Some(free));
    }
    inst.listen_port = Some(free);
    Ok(None)
}

/// Whether peers may have tunnels to the port there is.
async fn is_in_use(tx: &mut Tx, inst: &Inst) -> Stored<bool> {
    if inst.suspended || inst.state != InstanceStatus::Active || inst.public_key.is_none() {
        return Ok(false);
    }
    let with_key =
        q!("SELECT COUNT(*) AS n FROM peer WHERE instance = $1 AND public_key IS NOT NULL", inst.id.as_str());
    Ok(with_key.one(tx).await?.int("n")? > 0)
}

/// What the gateway and the agents have to hear of it.
async fn follow(tx: &mut Tx, was: &Inst, inst: &mut Inst) -> Stored<()> {
    let for_gateway = was.name != inst.name
        || was.listen_port != inst.listen_port
        || was.pushed != inst.pushed
        || was.policy != inst.policy;
    if for_gateway {
        inst.revision = next_revision(tx, inst.gateway.as_ref()).await?;
    }
    if was.name != inst.name || was.hostname != inst.hostname || was.listen_port != inst.listen_port {
        inst.all_agents_changed(tx);
    }
    inst.version += 1;
    Ok(())
}

async fn save(tx: &mut Tx, inst: &Inst) -> Stored<()> {
    let result = q!(
        "UPDATE instance SET name = $2, hostname = $3, asked_port = $4, listen_port = $5, dns = $6, search = $7, pushed = $8, \
         client_to_client = $9, site_to_site = $10, revision = $11, version = $12, rotate_days = $13 WHERE id = $1",
        inst.id.as_str(),
        inst.name.as_str(),
        inst.hostname.as_str(),
        inst.asked_port.map(i64::from),
        inst.listen_port.map(i64::from),
        to_json(&inst.dns)?,
        to_json(&inst.search)?,
        to_json(&inst.pushed)?,
        i64::from(inst.policy.client_to_client),
        i64::from(inst.policy.site_to_site),
        inst.revision,
        inst.version,
        inst.rotate_days.map(i64::from)
    );
    taken(result.run(tx).await, &inst.hostname)
}
