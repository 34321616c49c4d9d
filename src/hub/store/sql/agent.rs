//! What agents are told, and what they say.

use ipnet::IpNet;
use sqlx::any::AnyRow;

use super::check::{invalid, not_found};
use super::db::{Db, RowExt as _, Run as _, Tx, q};
use super::gateway::HEARD_WITHIN;
use super::instance::{Inst, host_address};
use super::lease::{self, Claim};
use super::once::{Change, audit};
use super::peer::{self, Pr};
use super::rotate::{End, Ends};
use super::telemetry::{Said, Telemetry};
use super::{Context, health, pool, reach, rotate, site};
use crate::api::{
    AgentApplied, AgentDesired, AgentReport, AgentReports, DeviceFacts, HubEnd, MAX_FINDINGS, MAX_REPORTS, NextTunnel,
    PeerId, PeerKind, ReportsTaken, SiteConfig, SiteId, TunnelEnd, TunnelState, code,
};
use crate::domain::{Endpoint, MAX_SUBNETS};
use crate::hub::store::{Actor, Scope, StoreError, Stored};
use crate::hub::wake::{Signal, Topic};

/// Longest text that a router may say of itself, in characters.
const MAX_FACT: usize = 256;
/// Most keys that an agent may bring within [`KEY_CHANGES_WITHIN`]: each rewrites the gateway. A router makes a new one when its
/// interface was removed or it was reset; even a technician who tries does not do that more often than every five minutes.
const MOST_KEY_CHANGES: i64 = 12;
/// In seconds.
const KEY_CHANGES_WITHIN: i64 = 3600;
/// What a change of the key is called in the audit log, which has an index of these.
pub(super) const KEY_CHANGED: &str = "peer.key";
/// Longest verdict and epoch, in characters.
const MAX_WORD: usize = 64;

pub(super) async fn desired(
    db: &Db,
    context: &Context,
    id: &PeerId,
    since: Option<i64>,
) -> Stored<Option<AgentDesired>> {
    if let Some(since) = since {
        // The question that ten thousand agents ask: two numbers answer it.
        let row = q!(
            "SELECT CASE WHEN p.agent_revision > i.agent_revision THEN p.agent_revision ELSE i.agent_revision END AS revision \
             FROM peer p JOIN instance i ON i.id = p.instance WHERE p.id = $1",
            id.as_str()
        );
        let row = row.maybe(&mut *db.read().await?).await?.ok_or_else(|| not_found("peer", id))?;
        if row.int("revision")? == since {
            return Ok(None);
        }
    }
    let rows = q!(
        "SELECT i.*, g.public_host, s.frozen_until, w.seen_at FROM peer p JOIN instance i ON i.id = p.instance \
         LEFT JOIN gateway g ON g.id = i.gateway LEFT JOIN gateway_seen w ON w.gateway = i.gateway \
         LEFT JOIN site s ON s.id = p.site WHERE p.id = $1",
        id.as_str()
    );
    let mut snapshot = db.snapshot().await?;
    let row = rows.maybe(&mut snapshot).await?.ok_or_else(|| not_found("peer", id))?;
    let peer = peer::find(&mut snapshot, id).await?;
    let inst = Inst::from_row(&row)?;
    let ends = rotate::ends(&mut snapshot, &inst, &peer).await?;
    snapshot.commit().await?;
    let public_host = row.opt_text("public_host")?;
    let config = config(context, &inst, &peer, ends, public_host.as_deref())?;
    let waiting_for = match (&config, &inst.gateway, inst.swallowed(public_host.as_deref())) {
        (Some(_), ..) => None,
        (None, None, _) => Some(format!("a gateway in region {}", inst.region)),
        (None, Some(_), Some(meets)) => Some(format!("another gateway or tunnel subnet: {meets}")),
        (None, Some(_), None) => Some("the gateway to make the instance's key".to_owned()),
    };
    let now = db.clock.now();
    let frozen_until = row.opt_int("frozen_until")?.filter(|until| *until > now);
    Ok(Some(AgentDesired {
        revision: peer.agent_revision.max(inst.agent_revision),
        peer: peer.id,
        enabled: peer.enabled,
        public_key: peer.public_key,
        config,
        waiting_for,
        frozen_until,
        frozen_for_secs: frozen_until.and_then(|until| u64::try_from(until.saturating_sub(now)).ok()),
        gateway_online: is_heard(&row, now)?,
    }))
}

/// Whether the gateway of an instance is heard; nothing where it has none, or that one was never heard.
fn is_heard(row: &AnyRow, now: i64) -> Stored<Option<bool>> {
    Ok(row.opt_int("seen_at")?.map(|at| at >= now - HEARD_WITHIN))
}

/// Takes the agent's credential back. What it was told stays on the router until somebody removes it there.
pub(super) async fn revoke(db: &Db, by: &Actor, id: &PeerId) -> Stored<()> {
    let mut tx = db.begin().await?;
    let (inst, peer) = peer::lock(&mut tx, &by.scope, id).await?;
    let revoked =
        q!("UPDATE credential SET revoked_at = $2 WHERE peer = $1 AND revoked_at IS NULL", id.as_str(), tx.now);
    if revoked.run(&mut tx).await? == 0 {
        return Err(not_found("credential of peer", id));
    }
    let change = Change {
        action: "peer.revoke",
        object: peer.object(),
        account: Some(&inst.account),
        before: None,
        after: None,
    };
    audit(&mut tx, &by.who, change).await?;
    // A poll that is held is asked again for its credential.
    tx.signal(Signal::Topic(Topic::Peer(id.clone())));
    tx.commit().await
}

/// The site config, once gateway and key are there.
fn config(
    context: &Context,
    inst: &Inst,
    peer: &Pr,
    ends: Ends,
    public_host: Option<&str>,
) -> Stored<Option<SiteConfig>> {
    let endpoint = inst.endpoint(context.domain.as_deref(), public_host);
    let (Some(now), Some(endpoint)) = (ends.now, endpoint) else { return Ok(None) };
    let hub = |end: End| HubEnd {
        public_key: end.public_key,
        endpoints: vec![Endpoint { host: endpoint.host.clone(), port: end.port }],
        keepalive_secs: peer.keepalive,
    };
    let id = peer.id.as_str().parse().map_err(|_| not_found("peer", &peer.id))?;
    let lengths = inst.tunnels().map(|net| net.prefix_len());
    let addresses =
        peer.addresses().into_iter().zip(lengths).filter_map(|(address, length)| IpNet::new(address, length).ok());
    let told = reach::for_site(peer.reach.as_ref().unwrap_or(&inst.reach), &peer.subnets, host_address(public_host));
    if let Some(length) = told.coarse {
        tracing::warn!(peer = %peer.id, own = peer.subnets.len(), length, "a site's own subnets cut too many holes into what it may reach: whole prefixes of this length are left out");
    }
    let gateway = pool::gateway_addresses(inst.tunnel4, inst.tunnel6);
    Ok(Some(SiteConfig {
        id,
        instance: inst.name.clone(),
        tunnel: TunnelEnd {
            addresses: addresses.collect(),
            mtu: None,
            listen_port: None,
            // One answer proves the tunnel; the IPv4 address is always there.
            probe: gateway.iter().take(1).map(IpNet::addr).collect(),
        },
        hub: hub(now),
        advertise: reach::carried(&peer.subnets),
        reach: told.reach,
        generation: peer.generation,
        next: ends.next.map(|(generation, end)| NextTunnel { generation, hub: hub(end), listen_port: None }),
    }))
}

/// Refuses facts that are too long to be facts.
pub(super) fn check_device(field: &str, device: &DeviceFacts) -> Stored<()> {
    let facts = [
        ("identity", &device.identity),
        ("board", &device.board),
        ("version", &device.version),
        ("serial", &device.serial),
    ];
    let long = |text: &String| text.chars().count() > MAX_FACT || text.chars().any(char::is_control);
    if let Some((name, _)) = facts.iter().find(|(_, text)| text.as_ref().is_some_and(long)) {
        let detail = format!("longer than {MAX_FACT} characters, or with a control character");
        return Err(invalid(format!("{field}.{name}"), detail, code::INVALID));
    }
    let odd = device.subnets.iter().any(|subnet| long(&subnet.interface));
    if odd || device.subnets.len() > MAX_SUBNETS {
        let detail = format!("more than {MAX_SUBNETS} networks, or an interface longer than {MAX_FACT} characters");
        return Err(invalid(format!("{field}.subnets"), detail, code::INVALID));
    }
    Ok(())
}

/// Takes what is on a router. With a key that is known already, as nearly always, it is written together with what others say. A
/// proxy says it with a claim.
pub(super) async fn applied(
    db: &Db,
    context: &Context,
    telemetry: &Telemetry,
    (id, claim): (&PeerId, Option<Claim>),
    applied: AgentApplied,
) -> Stored<()> {
    check_device("device", &applied.device)?;
    let row = q!(
        "SELECT p.public_key, m.generation AS next_generation, m.device AS next_device, m.public_key AS next_key, m.step, \
         m.step_at, m.since, m.cause, m.told FROM peer p LEFT JOIN moving m ON m.peer = p.id WHERE p.id = $1 AND p.kind = 'site'",
        id.as_str()
    );
    let row = row.maybe(&mut *db.read().await?).await?.ok_or_else(|| not_found("peer", id))?;
    let moves = rotate::is_news(&row, &applied)?;
    if row.opt_word("public_key")? == Some(applied.public_key) && !moves {
        return telemetry.write(id.clone(), claim, Said::Applied(applied)).await.map(drop);
    }
    applied_with_key(db, context, (id, claim), applied).await
}

/// Notes what is on a router whose key is known. What a second machine or a request sent again says of the past is not noted.
pub(super) async fn take_applied(tx: &mut Tx, id: &PeerId, applied: &AgentApplied) -> Stored<i64> {
    let row = q!(
        "SELECT p.public_key, p.site, g.router_revision, \
         CASE WHEN p.agent_revision > i.agent_revision THEN p.agent_revision ELSE i.agent_revision END AS wanted \
         FROM peer p JOIN instance i ON i.id = p.instance LEFT JOIN agent g ON g.peer = p.id WHERE p.id = $1",
        id.as_str()
    );
    let row = row.maybe(tx).await?.ok_or_else(|| not_found("peer", id))?;
    let timely = (row.opt_int("router_revision")?.unwrap_or(0)..=row.int("wanted")?).contains(&applied.revision);
    if timely && row.opt_word("public_key")? == Some(applied.public_key) {
        note_applied(tx, id, applied.revision).await?;
    }
    note_device(tx, id, row.opt_word("site")?.as_ref(), &applied.device).await?;
    Ok(applied.revision)
}

async fn note_device(tx: &mut Tx, id: &PeerId, site: Option<&SiteId>, device: &DeviceFacts) -> Stored<()> {
    match site {
        Some(site) if *device != DeviceFacts::default() => {
            site::note_device(tx, &format!("agent {id}"), site, device.clone()).await
        }
        _ => Ok(()),
    }
}

async fn applied_with_key(
    db: &Db,
    context: &Context,
    (id, claim): (&PeerId, Option<Claim>),
    applied: AgentApplied,
) -> Stored<()> {
    let mut tx = db.begin().await?;
    let (mut inst, mut old) = peer::lock(&mut tx, &Scope::All, id).await?;
    if let Some(claim) = &claim {
        lease::hold(db, &mut tx, &[id]).await?;
        claim.check(db, &mut tx, id).await?;
    }
    if old.kind != PeerKind::Site {
        return Err(not_found("peer", id));
    }
    let who = format!("agent {id}");
    // What a second machine or a request sent again says of the past changes no key.
    let row = q!("SELECT router_revision FROM agent WHERE peer = $1", id.as_str()).maybe(&mut tx).await?;
    let known = row.map(|row| row.opt_int("router_revision")).transpose()?.flatten().unwrap_or(0);
    let current = old.agent_revision.max(inst.agent_revision);
    let mut now = current;
    let timely = (known..=current).contains(&applied.revision) || old.public_key.is_none();
    if timely {
        rotate::heard(&mut tx, context, &mut inst, &mut old, &applied).await?;
    }
    // A router that has not heard yet that another tunnel took over still tells the key of the one before.
    let of_this_tunnel = applied.revision >= old.generation_revision || old.public_key.is_none();
    if timely && of_this_tunnel && old.public_key != Some(applied.public_key) {
        not_too_often(&mut tx, &who).await?;
        let mut new = Pr { public_key: Some(applied.public_key), ..old.clone() };
        peer::settle(&mut tx, &mut inst, Some(&old), &mut new).await.map_err(nameless)?;
        now = new.agent_revision.max(inst.agent_revision);
        let change = Change {
            action: KEY_CHANGED,
            object: new.object(),
            account: Some(&inst.account),
            before: Some(serde_json::json!({ "public_key": old.public_key })),
            after: Some(serde_json::json!({ "public_key": new.public_key })),
        };
        audit(&mut tx, &who, change).await?;
    }
    if timely {
        // That the hub now knows the key is no news for the router it came from.
        let revision = if applied.revision == current { now } else { applied.revision };
        note_applied(&mut tx, id, revision).await?;
    }
    note_device(&mut tx, id, old.site.as_ref(), &applied.device).await?;
    tx.commit().await
}

/// Refuses one more key of an agent that brought many lately, by the audit log's word.
pub(super) async fn not_too_often(tx: &mut Tx, who: &str) -> Stored<()> {
    let since = tx.now - KEY_CHANGES_WITHIN;
    let lately = q!(
        // As its index has it: the action stands in the text.
        "SELECT COUNT(*) AS n, MIN(at) AS first FROM audit WHERE who = $1 AND at > $2 AND action = 'peer.key'",
        who,
        since
    );
    let row = lately.one(tx).await?;
    if row.int("n")? < MOST_KEY_CHANGES {
        return Ok(());
    }
    let wait = row.opt_int("first")?.unwrap_or(tx.now) - since;
    Err(StoreError::TooOften {
        detail: format!(
            "the router's key changed {MOST_KEY_CHANGES} times within an hour: something else changes it too"
        ),
        retry_secs: u64::try_from(wait).unwrap_or(1).max(1),
    })
}

/// Whose key it is, is nothing that an agent, or whoever has an enrolment token, has to know.
pub(super) fn nameless(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict { code: code::KEY_TAKEN, field, hint, .. } => {
            let detail = "this public key cannot be used here: the device has to make another".to_owned();
            StoreError::Conflict { field, detail, code: code::KEY_TAKEN, hint }
        }
        other => other,
    }
}

async fn note_applied(tx: &mut Tx, id: &PeerId, revision: i64) -> Stored<()> {
    q!(
        "INSERT INTO agent (peer, router_revision, router_at, epoch, number, dropped) VALUES ($1, $2, $3, '', 0, 0) \
         ON CONFLICT (peer) DO UPDATE SET router_revision = excluded.router_revision, router_at = excluded.router_at",
        id.as_str(),
        revision,
        tx.now
    )
    .run(tx)
    .await?;
    Ok(())
}

/// Takes reports. A proxy brings them with a claim.
pub(super) async fn reports(
    db: &Db,
    telemetry: &Telemetry,
    (id, claim): (&PeerId, Option<Claim>),
    batch: AgentReports,
) -> Stored<ReportsTaken> {
    check_batch(&batch)?;
    // Asked for only where it matters: of ten thousand agents nearly all report that all is well.
    let is_up = |report: &AgentReport| matches!(report.state, Some(TunnelState::Up | TunnelState::Disabled));
    let asks = batch.reports.iter().max_by_key(|report| report.number).is_some_and(|newest| !is_up(newest));
    let number = telemetry.write(id.clone(), claim, Said::Reports(batch)).await?;
    let gateway_online = if asks { gateway_online(db, id).await? } else { None };
    Ok(ReportsTaken { number, gateway_online })
}

async fn gateway_online(db: &Db, id: &PeerId) -> Stored<Option<bool>> {
    let seen = q!(
        "SELECT w.seen_at FROM peer p JOIN instance i ON i.id = p.instance JOIN gateway_seen w ON w.gateway = i.gateway \
         WHERE p.id = $1",
        id.as_str()
    );
    let row = seen.maybe(&mut *db.read().await?).await?;
    row.map_or(Ok(None), |row| is_heard(&row, db.clock.now()))
}

/// Takes reports that are newer than those that are there, in their order; returns up to which number they are there now.
pub(super) async fn take_reports(tx: &mut Tx, id: &PeerId, batch: &AgentReports) -> Stored<i64> {
    // Makes the row if there is none, and holds it if there is one.
    let held = q!(
        "INSERT INTO agent (peer, epoch, number, dropped) SELECT id, $2, 0, 0 FROM peer WHERE id = $1 \
         ON CONFLICT (peer) DO UPDATE SET number = agent.number",
        id.as_str(),
        batch.epoch.as_str()
    );
    if held.run(tx).await? == 0 {
        return Err(not_found("peer", id));
    }
    let row = q!(
        "SELECT a.epoch, a.epoch_before, a.number, a.state, a.since, a.told, a.cause, a.counted_at, a.sample, p.site \
         FROM agent a JOIN peer p ON p.id = a.peer WHERE a.peer = $1",
        id.as_str()
    );
    let row = row.one(tx).await?;
    let stored = if row.text("epoch")? == batch.epoch { row.int("number")? } else { 0 };
    let last = batch.reports.iter().map(|report| report.number).max().unwrap_or(stored);
    if row.text("epoch_before")? == batch.epoch {
        // A batch that was long on its way: the agent has begun anew since, and nothing of it is news.
        return Ok(last);
    }
    let mut new: Vec<&AgentReport> = batch.reports.iter().filter(|report| report.number > stored).collect();
    new.sort_by_key(|report| report.number);
    new.dedup_by_key(|report| report.number);
    health::take(tx, id, &row, batch, &new).await?;
    Ok(last.max(stored))
}

fn check_batch(batch: &AgentReports) -> Stored<()> {
    let word = |text: &str| text.chars().count() <= MAX_WORD && !text.chars().any(char::is_control);
    if batch.epoch.is_empty() || !word(&batch.epoch) {
        return Err(invalid("epoch", format!("an epoch has 1 to {MAX_WORD} characters"), code::INVALID));
    }
    if batch.reports.len() > MAX_REPORTS {
        return Err(invalid("reports", format!("at most {MAX_REPORTS} in a batch"), code::INVALID));
    }
    if let Some(index) = batch.reports.iter().position(|report| report.findings.len() > MAX_FINDINGS) {
        let detail = format!("at most {MAX_FINDINGS} findings in a report");
        return Err(invalid(format!("reports[{index}].findings"), detail, code::INVALID));
    }
    let long = batch.reports.iter().position(|report| !word(&report.tunnel.verdict));
    long.map_or(Ok(()), |index| {
        let detail = format!("a verdict has at most {MAX_WORD} characters");
        Err(invalid(format!("reports[{index}].tunnel.verdict"), detail, code::INVALID))
    })
}
