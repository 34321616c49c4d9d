//! Gateways that come up, and the list of them.

use sqlx::any::AnyRow;

use crate::api::{Gateway, GatewayHello, GatewayId, GatewayWelcome, InstanceId, Page, TokenId, code};
use crate::domain::Host;
use crate::hub::store::sql::Context;
use crate::hub::store::sql::check::{conflict, invalid, name, not_found};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, is_unique, q, to_word};
use crate::hub::store::sql::list::{Page as _, Sql};
use crate::hub::store::sql::once::{Change, audit, fields};
use crate::hub::store::sql::secret::new_id;
use crate::hub::store::{Actor, Paging, Scope, StoreError, Stored};
use crate::hub::wake::Signal;

pub(in crate::hub::store::sql) async fn hello(
    db: &Db,
    context: &Context,
    token: &TokenId,
    hello: GatewayHello,
) -> Stored<GatewayWelcome> {
    name("name", &hello.name)?;
    name("region", &hello.region)?;
    name("version", &hello.version)?;
    match hello.public_host.parse::<Host>() {
        Err(error) => return Err(invalid("public_host", error.to_string(), code::INVALID)),
        Ok(Host::Address(address)) if address.is_unspecified() || address.is_multicast() => {
            return Err(invalid("public_host", format!("{address} is no address that peers can reach"), code::INVALID));
        }
        Ok(_) => {}
    }
    if !(16..=64).contains(&hello.install.chars().count()) || hello.install.chars().any(char::is_control) {
        return Err(invalid("install", "an installation's id has 16 to 64 characters", code::INVALID));
    }
    let mut tx = db.begin().await?;
    pinned(&mut tx, token, &hello).await?;
    let mut known = Sql::new("SELECT gateway.* FROM gateway WHERE token = ");
    known.bind(token.as_str().to_owned()).push(&tx.dialect.lock("gateway"));
    let id = match known.query().maybe(&mut tx).await? {
        Some(row) => update(&mut tx, &row, &hello).await?,
        None => insert(&mut tx, token, &hello).await?,
    };
    q!("UPDATE gateway_seen SET seen_at = $2 WHERE gateway = $1", id.as_str(), tx.now).run(&mut tx).await?;
    tx.commit().await?;
    Ok(GatewayWelcome { id, report_secs: context.report_secs })
}

/// A token is for one region, and for one host at a time.
async fn pinned(tx: &mut Tx, token: &TokenId, hello: &GatewayHello) -> Stored<()> {
    let row = q!("SELECT region FROM token WHERE id = $1", token.as_str()).maybe(tx).await?;
    let region = row.map(|row| row.opt_text("region")).transpose()?.flatten();
    if region.is_some_and(|region| region != hello.region) {
        let detail = format!("this token is not for region {:?}", hello.region);
        return Err(conflict("region", detail, code::TOKEN_PINNED));
    }
    let row = q!(
        "SELECT g.install, s.seen_at FROM gateway g JOIN gateway_seen s ON s.gateway = g.id WHERE g.token = $1",
        token.as_str()
    );
    let Some(row) = row.maybe(tx).await? else { return Ok(()) };
    let lately = row.opt_int("seen_at")?.is_some_and(|seen| seen >= tx.now - super::HEARD_WITHIN);
    if lately && row.text("install")? != hello.install {
        let detail = "another host uses this gateway's token at this moment";
        return Err(conflict("install", detail, code::TOKEN_PINNED));
    }
    Ok(())
}

fn taken(error: sqlx::Error, hello: &GatewayHello) -> StoreError {
    if is_unique(&error) {
        return conflict(
            "name",
            format!("there is a gateway {:?} already, with another token", hello.name),
            code::NAME_TAKEN,
        );
    }
    error.into()
}

async fn insert(tx: &mut Tx, token: &TokenId, hello: &GatewayHello) -> Stored<GatewayId> {
    let id: GatewayId = new_id()?;
    q!(
        "INSERT INTO gateway (id, token, name, region, public_host, backend, software, revision, floor, install) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 0, $8)",
        id.as_str(),
        token.as_str(),
        hello.name.as_str(),
        hello.region.as_str(),
        hello.public_host.as_str(),
        to_word(&hello.backend)?,
        hello.version.as_str(),
        hello.install.as_str()
    )
    .run(tx)
    .await
    .map_err(|error| taken(error, hello))?;
    q!(
        "INSERT INTO gateway_seen (gateway, seen_at, applied_revision, epoch, number) VALUES ($1, NULL, 0, '', 0)",
        id.as_str()
    )
    .run(tx)
    .await?;
    log(tx, &id, hello, "gateway.create").await?;
    Ok(id)
}

async fn log(tx: &mut Tx, id: &GatewayId, hello: &GatewayHello, action: &'static str) -> Stored<()> {
    let object = format!("gateway {id} ({})", hello.name);
    let change = Change { action, object, account: None, before: None, after: fields(hello)? };
    audit(tx, &format!("gateway {id}"), change).await
}

async fn update(tx: &mut Tx, row: &AnyRow, hello: &GatewayHello) -> Stored<GatewayId> {
    let id: GatewayId = row.word("id")?;
    let moved = row.text("public_host")? != hello.public_host;
    let same = !moved
        && row.text("name")? == hello.name
        && row.text("region")? == hello.region
        && row.text("backend")? == to_word(&hello.backend)?
        && row.text("software")? == hello.version
        && row.text("install")? == hello.install;
    if same {
        return Ok(id);
    }
    q!(
        "UPDATE gateway SET name = $2, region = $3, public_host = $4, backend = $5, software = $6, install = $7 WHERE id = $1",
        id.as_str(),
        hello.name.as_str(),
        hello.region.as_str(),
        hello.public_host.as_str(),
        to_word(&hello.backend)?,
        hello.version.as_str(),
        hello.install.as_str()
    )
    .run(tx)
    .await
    .map_err(|error| taken(error, hello))?;
    if moved {
        let served = q!(
            "UPDATE instance SET agent_counter = agent_counter + 1, agent_revision = agent_counter + 1 WHERE gateway = $1 RETURNING id",
            id.as_str()
        );
        for row in served.all(tx).await? {
            let instance: InstanceId = row.word("id")?;
            tx.signal(Signal::Reach(instance));
        }
    }
    log(tx, &id, hello, "gateway.edit").await?;
    Ok(id)
}

pub(in crate::hub::store::sql) async fn list(db: &Db, by: &Actor, paging: &Paging) -> Stored<Page<Gateway>> {
    if by.scope != Scope::All {
        return Err(not_found("gateway", &"list"));
    }
    let mut sql = Sql::new(
        "SELECT g.*, s.seen_at, s.applied_revision, (SELECT COUNT(*) FROM instance i WHERE i.gateway = g.id) AS instances \
         FROM gateway g JOIN gateway_seen s ON s.gateway = g.id WHERE 1 = 1",
    );
    sql.after("g.id", paging);
    let rows = sql.query().all(&mut *db.read().await?).await?;
    let items = rows.iter().map(from_row).collect::<Stored<_>>()?;
    Ok(paging.page(items, |gateway: &Gateway| gateway.id.to_string()))
}

fn from_row(row: &AnyRow) -> Stored<Gateway> {
    Ok(Gateway {
        id: row.word("id")?,
        name: row.text("name")?,
        region: row.text("region")?,
        public_host: row.text("public_host")?,
        backend: row.variant("backend")?,
        version: row.text("software")?,
        instances: row.count("instances")?,
        seen_at: row.opt_int("seen_at")?,
        revision: row.int("revision")?,
        applied_revision: row.int("applied_revision")?,
    })
}
