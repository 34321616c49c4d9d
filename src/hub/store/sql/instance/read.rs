//! Instances as they are shown.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::{Inst, host_address};
use crate::api::{Instance, InstanceId, InstanceStatus, Page, Readiness, Step, StepState, Usage};
use crate::domain::SubnetSet;
use crate::hub::store::sql::check::not_found;
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, q, to_word};
use crate::hub::store::sql::list::{Page as _, Sql};
use crate::hub::store::sql::usage::{KEPT_PERIODS, period};
use crate::hub::store::sql::{Context, peer, reach, rotate};
use crate::hub::store::{Actor, InstanceFilter, Paging, Scope, Stored};

const SELECT: &str = "SELECT i.*, a.name AS account_name, g.name AS gateway_name, g.public_host, t.rx, t.tx, \
    (SELECT COUNT(*) FROM peer p WHERE p.instance = i.id) AS peers, \
    (SELECT COUNT(*) FROM peer p JOIN link l ON l.peer = p.id WHERE p.instance = i.id AND p.enabled = 1 \
        AND p.public_key IS NOT NULL AND l.reported_at >= $1 AND l.handshake_at >= $2) AS connected \
    FROM instance i JOIN account a ON a.id = i.account LEFT JOIN gateway g ON g.id = i.gateway \
    LEFT JOIN traffic t ON t.kind = 'instance' AND t.object = i.id AND t.period = $3 WHERE 1 = 1";

fn select(now: i64) -> Sql {
    Sql::with(SELECT, [now - peer::REPORTED_WITHIN, now - peer::CONNECTED_WITHIN], period(now))
}

fn from_row(row: &AnyRow, domain: Option<&str>, now: i64) -> Stored<Instance> {
    let inst = Inst::from_row(row)?;
    let public_host = row.opt_text("public_host")?;
    let public_host = public_host.as_deref();
    let endpoint = inst.endpoint(domain, public_host);
    let shown = endpoint.as_ref().map(ToString::to_string);
    let readiness = readiness(&inst, row.opt_text("gateway_name")?, shown, inst.swallowed(public_host));
    Ok(Instance {
        account_name: row.text("account_name")?,
        status: if inst.suspended { InstanceStatus::Suspended } else { inst.state },
        readiness,
        endpoint,
        peers: row.count("peers")?,
        connected: row.count("connected")?,
        usage: Usage {
            period: period(now),
            rx_bytes: row.opt_small("rx")?.unwrap_or(0),
            tx_bytes: row.opt_small("tx")?.unwrap_or(0),
        },
        id: inst.id,
        account: inst.account,
        name: inst.name,
        hostname: inst.hostname,
        region: inst.region,
        reason: inst.reason,
        gateway: inst.gateway,
        tunnel_subnet: inst.tunnel4.into(),
        tunnel_subnet6: inst.tunnel6.map(Into::into),
        listen_port: inst.listen_port.or(inst.asked_port),
        dns: inst.dns,
        search: inst.search,
        pushed_routes: inst.pushed,
        policy: inst.policy,
        public_key: inst.public_key,
        key_at: inst.key_at,
        device: inst.device,
        devices: Vec::new(),
        rotating_since: inst.rotating_since,
        rotate_keys_days: inst.rotate_days,
        reach: reach::for_site(&inst.reach, &SubnetSet::default(), host_address(public_host)).reach,
        created_at: inst.created_at,
        version: inst.version,
    })
}

fn readiness(
    inst: &Inst,
    gateway: Option<String>,
    endpoint: Option<String>,
    swallowed: Option<String>,
) -> Vec<Readiness> {
    let step = |step, state, detail| Readiness { step, state, detail };
    let failed = inst.state == InstanceStatus::Error;
    let why = || inst.reason.clone().unwrap_or_default();
    let took = match gateway {
        Some(name) => step(Step::Gateway, StepState::Done, format!("gateway {name}")),
        None if failed => step(Step::Gateway, StepState::Failed, why()),
        None => step(Step::Gateway, StepState::Waiting, format!("waiting for a gateway in region {}", inst.region)),
    };
    let made = match (inst.state, inst.gateway.is_some()) {
        (InstanceStatus::Error, true) => step(Step::Interface, StepState::Failed, why()),
        (InstanceStatus::Active, _) => {
            step(Step::Interface, StepState::Done, "interface and keys are there".to_owned())
        }
        (_, true) => step(Step::Interface, StepState::Waiting, "waiting for the gateway to make it".to_owned()),
        (_, false) => step(Step::Interface, StepState::Waiting, "waiting for a gateway".to_owned()),
    };
    let known = match (endpoint, inst.public_key.is_some()) {
        _ if swallowed.is_some() => step(Step::Endpoint, StepState::Failed, swallowed.unwrap_or_default()),
        (Some(endpoint), true) => step(Step::Endpoint, StepState::Done, endpoint),
        (Some(_), false) => step(Step::Endpoint, StepState::Waiting, "waiting for the gateway's key".to_owned()),
        (None, _) => step(Step::Endpoint, StepState::Waiting, "waiting for a gateway".to_owned()),
    };
    vec![took, made, known]
}

/// Reads an instance as it is shown.
pub(in crate::hub::store::sql) async fn read(
    connection: &mut AnyConnection,
    context: &Context,
    scope: &Scope,
    id: &InstanceId,
    now: i64,
) -> Stored<Instance> {
    let mut sql = select(now);
    sql.scope("i.account", scope).push(" AND i.id = ").bind(id.as_str().to_owned());
    let row = sql.query().maybe(connection).await?;
    let mut instance = from_row(&row.ok_or_else(|| not_found("instance", id))?, context.domain.as_deref(), now)?;
    instance.devices = rotate::devices(connection, id).await?.into_iter().map(Into::into).collect();
    Ok(instance)
}

pub(in crate::hub::store::sql) async fn get(
    db: &Db,
    context: &Context,
    by: &Actor,
    id: &InstanceId,
) -> Stored<Instance> {
    read(&mut *db.read().await?, context, &by.scope, id, db.clock.now()).await
}

pub(in crate::hub::store::sql) async fn list(
    db: &Db,
    context: &Context,
    by: &Actor,
    filter: &InstanceFilter,
    paging: &Paging,
) -> Stored<Page<Instance>> {
    let now = db.clock.now();
    let mut sql = select(now);
    sql.scope("i.account", &by.scope);
    if let Some(account) = &filter.account {
        sql.push(" AND i.account = ").bind(account.as_str().to_owned());
    }
    match filter.status {
        None => {}
        Some(InstanceStatus::Suspended) => {
            sql.push(" AND i.suspended = 1");
        }
        Some(status) => {
            sql.push(" AND i.suspended = 0 AND i.state = ").bind(to_word(&status)?);
        }
    }
    let site = "(SELECT s.name FROM peer p JOIN site s ON s.id = p.site WHERE p.instance = i.id";
    sql.search_with(&["i.name", "i.hostname", "a.name"], Some((site, "s.name")), filter.search.as_deref());
    sql.after("i.id", paging);
    let rows = sql.query().all(&mut *db.read().await?).await?;
    let domain = context.domain.as_deref();
    let items = rows.iter().map(|row| from_row(row, domain, now)).collect::<Stored<_>>()?;
    Ok(paging.page(items, |instance: &Instance| instance.id.to_string()))
}

pub(in crate::hub::store::sql) async fn usage(db: &Db, by: &Actor, id: &InstanceId) -> Stored<Vec<Usage>> {
    let mut connection = db.read().await?;
    let mut sql = Sql::new("SELECT id FROM instance WHERE 1 = 1");
    sql.scope("account", &by.scope).push(" AND id = ").bind(id.as_str().to_owned());
    sql.query().maybe(&mut connection).await?.ok_or_else(|| not_found("instance", id))?;
    let rows = q!(
        "SELECT period, rx, tx FROM traffic WHERE kind = 'instance' AND object = $1 ORDER BY period DESC LIMIT $2",
        id.as_str(),
        KEPT_PERIODS
    );
    rows.all(&mut connection).await?.iter().map(crate::hub::store::sql::usage::from_row).collect()
}
