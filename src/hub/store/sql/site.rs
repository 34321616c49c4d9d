//! Sites, and what their agents said of the routers.

use ipnet::IpNet;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::cap;
use super::check::{conflict, name, not_found, owner, version};
use super::db::{Db, RowExt as _, Run as _, Tx, is_foreign, is_unique, q, to_json};
use super::lease;
use super::list::{Page as _, Sql};
use super::once::{Change, audit, fields, first_time};
use super::secret::new_id;
use crate::api::{AccountId, DeviceFacts, Freeze, NewSite, Page, PeerId, Site, SiteEdit, SiteId, SiteSubnets, code};
use crate::domain::{SubnetSet, overlap};
use crate::hub::store::{Actor, Once, Paging, Scope, StoreError, Stored};

const SELECT: &str = "SELECT id, account, name, device, device_at, serial, created_at, version, frozen_until, frozen_at, \
    frozen_reason, frozen_by, proxy, router_url, router_pin, \
    (SELECT t.name FROM lease l JOIN token t ON t.id = l.token WHERE l.site = site.id) AS lease_proxy, \
    (SELECT l.number FROM lease l WHERE l.site = site.id) AS lease_number, \
    (SELECT l.until_ms FROM lease l WHERE l.site = site.id) AS lease_until FROM site WHERE 1 = 1";

fn from_row(row: &AnyRow) -> Stored<Site> {
    Ok(Site {
        id: row.word("id")?,
        account: row.word("account")?,
        name: row.text("name")?,
        device: row.opt_json("device")?,
        device_at: row.opt_int("device_at")?,
        same_serial: Vec::new(),
        frozen: frozen(row)?,
        proxy: lease::assignment(row)?,
        lease: lease::of_site(row)?,
        created_at: row.int("created_at")?,
        version: row.int("version")?,
    })
}

fn frozen(row: &AnyRow) -> Stored<Option<Freeze>> {
    let Some(until) = row.opt_int("frozen_until")? else { return Ok(None) };
    Ok(Some(Freeze {
        until,
        since: row.opt_int("frozen_at")?.unwrap_or(until),
        reason: row.opt_text("frozen_reason")?.unwrap_or_default(),
        by: row.opt_text("frozen_by")?.unwrap_or_default(),
    }))
}

pub(super) async fn read(connection: &mut AnyConnection, scope: &Scope, id: &SiteId) -> Stored<Site> {
    let mut sql = Sql::new(SELECT);
    sql.scope("account", scope).push(" AND id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(connection).await?;
    let row = row.ok_or_else(|| not_found("site", id))?;
    let mut site = from_row(&row)?;
    if let Some(serial) = row.opt_text("serial")? {
        site.same_serial = same_serial(connection, id, &site.account, &serial).await?;
    }
    Ok(site)
}

/// Other sites of the account that claim the same serial number.
async fn same_serial(
    connection: &mut AnyConnection,
    id: &SiteId,
    account: &AccountId,
    serial: &str,
) -> Stored<Vec<SiteId>> {
    let found = q!(
        "SELECT id FROM site WHERE account = $1 AND serial = $2 AND id <> $3 ORDER BY id LIMIT 100",
        account.as_str(),
        serial,
        id.as_str()
    );
    found.all(connection).await?.iter().map(|row| row.word("id")).collect()
}

fn taken(error: sqlx::Error, name: &str) -> StoreError {
    if is_unique(&error) {
        return conflict("name", format!("the account has a site {name:?} already"), code::NAME_TAKEN);
    }
    error.into()
}

pub(super) async fn log(
    tx: &mut Tx,
    who: &str,
    action: &'static str,
    before: Option<&Site>,
    after: Option<&Site>,
) -> Stored<()> {
    let Some(site) = after.or(before) else { return Ok(()) };
    let object = format!("site {} ({})", site.id, site.name);
    let (was, is) = (before.map(fields).transpose()?.flatten(), after.map(fields).transpose()?.flatten());
    audit(tx, who, Change { action, object, account: Some(&site.account), before: was, after: is }).await
}

pub(super) async fn create(db: &Db, by: &Actor, once: Option<&Once>, new: NewSite) -> Stored<Site> {
    name("name", &new.name)?;
    let mut tx = db.begin().await?;
    let (account, _) = owner(&mut tx, by, new.account.as_ref()).await?;
    let id: SiteId = new_id()?;
    if let Some(made) = first_time(&mut tx, by, once, id.as_str()).await? {
        return read(&mut tx, &by.scope, &made.parse().map_err(|_| not_found("site", &made))?).await;
    }
    cap::site(&mut tx, &account).await?;
    q!(
        "INSERT INTO site (id, account, name, created_at, version) VALUES ($1, $2, $3, $4, 1)",
        id.as_str(),
        account.as_str(),
        new.name.as_str(),
        tx.now
    )
    .run(&mut tx)
    .await
    .map_err(|error| taken(error, &new.name))?;
    let site = read(&mut tx, &Scope::All, &id).await?;
    log(&mut tx, &by.who, "site.create", None, Some(&site)).await?;
    tx.commit().await?;
    Ok(site)
}

pub(super) async fn list(db: &Db, by: &Actor, search: Option<&str>, paging: &Paging) -> Stored<Page<Site>> {
    let mut sql = Sql::new(SELECT);
    sql.scope("account", &by.scope).search(&["name", "board", "serial"], search).after("id", paging);
    let mut connection = db.read().await?;
    let rows = sql.query().all(&mut connection).await?;
    let mut items: Vec<Site> = rows.iter().map(from_row).collect::<Stored<_>>()?;
    if let (Some(first), Some(last)) = (items.first(), items.last()) {
        // One query for the whole page.
        let twins = q!(
            "SELECT s.id, o.id AS other FROM site s JOIN site o ON o.account = s.account AND o.serial = s.serial AND o.id <> s.id \
             WHERE s.serial IS NOT NULL AND s.id >= $1 AND s.id <= $2 ORDER BY s.id, o.id LIMIT 10000",
            first.id.as_str(),
            last.id.as_str()
        );
        for row in twins.all(&mut connection).await? {
            let id: SiteId = row.word("id")?;
            if let Some(site) = items.iter_mut().find(|site| site.id == id) {
                site.same_serial.push(row.word("other")?);
            }
        }
    }
    Ok(paging.page(items, |site| site.id.to_string()))
}

pub(super) async fn get(db: &Db, by: &Actor, id: &SiteId) -> Stored<Site> {
    read(&mut *db.read().await?, &by.scope, id).await
}

pub(super) async fn lock(tx: &mut Tx, id: &SiteId) -> Stored<()> {
    let mut sql = Sql::new("SELECT id FROM site WHERE id = ");
    sql.bind(id.as_str().to_owned()).push(&tx.dialect.lock("site"));
    sql.query().maybe(tx).await?;
    Ok(())
}

pub(super) async fn edit(db: &Db, by: &Actor, id: &SiteId, if_match: Option<i64>, edit: SiteEdit) -> Stored<Site> {
    if let Some(new) = &edit.name {
        name("name", new)?;
    }
    let mut tx = db.begin().await?;
    lock(&mut tx, id).await?;
    let before = read(&mut tx, &by.scope, id).await?;
    version("site", id, before.version, if_match)?;
    let new = edit.name.as_deref().unwrap_or(&before.name);
    q!("UPDATE site SET name = $2, version = version + 1 WHERE id = $1", id.as_str(), new)
        .run(&mut tx)
        .await
        .map_err(|error| taken(error, new))?;
    let after = read(&mut tx, &by.scope, id).await?;
    log(&mut tx, &by.who, "site.edit", Some(&before), Some(&after)).await?;
    tx.commit().await?;
    Ok(after)
}

pub(super) async fn delete(db: &Db, by: &Actor, id: &SiteId, if_match: Option<i64>) -> Stored<()> {
    let mut tx = db.begin().await?;
    lock(&mut tx, id).await?;
    let before = read(&mut tx, &by.scope, id).await?;
    version("site", id, before.version, if_match)?;
    let gone = q!("DELETE FROM site WHERE id = $1", id.as_str()).run(&mut tx).await;
    gone.map_err(|error| {
        if is_foreign(&error) {
            let detail = format!("site {id} still has peers");
            let hint = Some("delete its peers first".to_owned());
            return StoreError::Conflict { field: None, detail, code: code::IN_USE, hint };
        }
        error.into()
    })?;
    lease::forget(&mut tx, id).await?;
    log(&mut tx, &by.who, "site.delete", Some(&before), None).await?;
    tx.commit().await
}

pub(super) async fn subnets(db: &Db, by: &Actor, id: &SiteId) -> Stored<SiteSubnets> {
    let mut connection = db.read().await?;
    let site = read(&mut connection, &by.scope, id).await?;
    let Some(device) = site.device else { return Ok(SiteSubnets { subnets: Vec::new(), at: None }) };
    let mut offered: Vec<(PeerId, SubnetSet)> = Vec::new();
    for row in q!("SELECT id, subnets FROM peer WHERE site = $1 ORDER BY id", id.as_str()).all(&mut connection).await? {
        offered.push((row.word("id")?, row.json("subnets")?));
    }
    let by_whom = |net: IpNet| {
        let meets = offered.iter().filter(|(_, set)| set.iter().any(|mine| overlap(mine, net)));
        meets.map(|(peer, _)| peer.clone()).collect()
    };
    let mut subnets = device.subnets;
    for subnet in &mut subnets {
        subnet.advertised_by = by_whom(subnet.subnet);
    }
    Ok(SiteSubnets { subnets, at: site.device_at })
}

/// Notes what an agent said of its router. The serial number is information: it binds nothing, and one that another site has too
/// is reported.
pub(super) async fn note_device(tx: &mut Tx, who: &str, site: &SiteId, mut device: DeviceFacts) -> Stored<()> {
    for subnet in &mut device.subnets {
        subnet.advertised_by.clear();
    }
    let before = read(tx, &Scope::All, site).await?;
    let old = before.device.as_ref().and_then(|device| device.serial.as_deref());
    let new = device.serial.clone().filter(|serial| !serial.is_empty());
    q!(
        "UPDATE site SET device = $2, device_at = $3, board = $4, serial = $5 WHERE id = $1",
        site.as_str(),
        to_json(&device)?,
        tx.now,
        device.board.clone(),
        new.clone()
    )
    .run(tx)
    .await?;
    let Some(serial) = new.filter(|serial| old != Some(serial.as_str())) else { return Ok(()) };
    let twins = same_serial(tx, site, &before.account, &serial).await?;
    if twins.is_empty() {
        return Ok(());
    }
    tracing::warn!(%site, twins = ?twins, "the same serial number under two sites");
    let after = serde_json::json!({ "serial": serial, "same_serial": twins });
    let object = format!("site {} ({})", before.id, before.name);
    let change =
        Change { action: "site.same-serial", object, account: Some(&before.account), before: None, after: Some(after) };
    audit(tx, who, change).await
}
