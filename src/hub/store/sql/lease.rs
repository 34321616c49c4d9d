//! Leases: which proxy drives which site, fairly shared, and one at a time.
//!
//! A lease is taken only when the one before has ended, and with a number that is larger than any before, also after a backup was
//! put back. What is shared is counted group by group, each among the proxies that may drive it, as far as they have room: no site
//! is left over because somebody who may not have it, or cannot, counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::check::{conflict, invalid, name, not_found};
use super::db::{Db, Dialect, RowExt as _, Run as _, Tx, q, to_json};
use super::drives;
use super::list::Sql;
use super::{share, site};
use crate::api::{
    InstanceId, LEASE_MS, LeaseReply, LeaseRequest, LeasedSite, MAX_LEASES, MAX_ROUTER_URL, MAX_TAKEN, PeerId,
    ProxyAssignment, Site, SiteId, SiteLease, code,
};
use crate::hub::store::{Actor, ProxyActor, Scope, Stored};

/// [`LEASE_MS`] as the store counts.
const LEASE: i64 = 20_000;
const _: () = assert!(LEASE as u64 == LEASE_MS, "one lease");
/// The clock that replicas share, put forward as ours is for tests.
const DATABASE_NOW: &str = "(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + CAST($1 AS BIGINT))";
/// How long a process that asks no more is remembered, in milliseconds.
const FORGET_AFTER: i64 = 3_600_000;
/// Lengths of what a process calls itself.
const NONCE: std::ops::RangeInclusive<usize> = 16..=64;

/// Which proxies drive a site, as its row says.
pub(super) fn assignment(row: &AnyRow) -> Stored<Option<ProxyAssignment>> {
    let (group, url) = (row.opt_text("proxy")?, row.opt_text("router_url")?);
    let pin = row.opt_text("router_pin")?;
    Ok(group.zip(url).map(|(group, url)| ProxyAssignment { group, url, pin }))
}

/// Which proxy has a site, as its row says: of one that is assigned, and that somebody did not let go of.
pub(super) fn of_site(row: &AnyRow) -> Stored<Option<SiteLease>> {
    let until_ms = row.opt_int("lease_until")?.filter(|until| *until > 0);
    let (Some(proxy), Some(until_ms)) = (row.opt_text("lease_proxy")?, until_ms) else { return Ok(None) };
    let is_assigned = row.opt_text("proxy")?.is_some();
    Ok(is_assigned.then_some(SiteLease { proxy, number: row.int("lease_number")?, until: until_ms / 1000 }))
}

/// Assigns a site to a group, or to none.
pub(super) async fn assign(db: &Db, by: &Actor, id: &SiteId, new: Option<&ProxyAssignment>) -> Stored<Site> {
    if let Some(new) = new {
        check(new)?;
    }
    let mut tx = db.begin().await?;
    site::lock(&mut tx, id).await?;
    let before = site::read(&mut tx, &by.scope, id).await?;
    if new.is_none() && before.proxy.is_none() {
        return Err(not_found("assignment of site", id));
    }
    if let Some(new) = new {
        drives::no_agent(&mut tx, id, &new.group).await?;
    }
    q!(
        "UPDATE site SET proxy = $2, router_url = $3, router_pin = $4, version = version + 1 WHERE id = $1",
        id.as_str(),
        new.map(|new| new.group.clone()),
        new.map(|new| new.url.clone()),
        new.and_then(|new| new.pin.clone())
    )
    .run(&mut tx)
    .await?;
    let after = site::read(&mut tx, &Scope::All, id).await?;
    let action = if new.is_some() { "site.assign" } else { "site.unassign" };
    site::log(&mut tx, &by.who, action, Some(&before), Some(&after)).await?;
    tx.commit().await?;
    Ok(after)
}

fn check(new: &ProxyAssignment) -> Stored<()> {
    name("group", &new.group)?;
    if let Err(why) = check_url(&new.url) {
        return Err(invalid("url", why, code::INVALID).hint("such as apis://sitepeer@10.1.1.1"));
    }
    let is_pin = |pin: &str| {
        let hex = pin.strip_prefix("sha256:").unwrap_or_default();
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match new.pin.as_deref() {
        Some(pin) if !is_pin(pin) => Err(invalid("pin", "a pin is sha256: and 64 hex digits", code::INVALID)),
        Some(_) if new.url.starts_with("api://") => {
            Err(invalid("pin", "api:// has no certificate to check", code::INVALID))
        }
        _ => Ok(()),
    }
}

/// What is wrong with a router's URL, which is never repeated: a password may stand in it.
fn check_url(url: &str) -> Result<(), &'static str> {
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    if url.len() > MAX_ROUTER_URL || !plain {
        return Err("a router's URL has at most 256 visible characters of ASCII");
    }
    let rest = url.strip_prefix("apis://").or_else(|| url.strip_prefix("api://"));
    let rest = rest.ok_or("a router's URL begins with apis:// or api://")?;
    if rest.contains(['/', '?', '#', '\\']) {
        return Err("nothing comes behind the router's address and port");
    }
    let place = match rest.rsplit_once('@') {
        Some((user, _)) if user.is_empty() || user.contains([':', '@']) => {
            return Err("a user without a password is all that stands before the @");
        }
        Some((_, place)) => place,
        None => rest,
    };
    let (host, port) = match place.strip_prefix('[') {
        Some(inside) => inside.split_once(']').ok_or("an IPv6 address ends with ]")?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    host.parse::<IpAddr>().map_err(|_| "the router's address is needed, not a name")?;
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    match port.strip_prefix(':') {
        Some(port) if is_port(port) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => Err("a port is a number from 1 to 65535"),
    }
}

/// A site is gone, and its lease with it: no id comes again.
pub(super) async fn forget(tx: &mut Tx, id: &SiteId) -> Stored<()> {
    q!("DELETE FROM lease WHERE site = $1", id.as_str()).run(tx).await?;
    Ok(())
}

/// Milliseconds since 1970 by the clock that all replicas share.
async fn now_ms(db: &Db, tx: &mut Tx) -> Stored<i64> {
    match db.dialect {
        Dialect::Sqlite => Ok(tx.now_ms),
        Dialect::Postgres => database_now(db, tx).await,
    }
}

async fn database_now(db: &Db, connection: &mut AnyConnection) -> Stored<i64> {
    let row = q!(sqlx::AssertSqlSafe(format!("SELECT {DATABASE_NOW} AS now_ms")), db.clock.ahead_ms());
    row.one(connection).await?.int("now_ms")
}

/// One request of a proxy.
struct Round<'a> {
    by: &'a ProxyActor,
    request: &'a LeaseRequest,
    holder: String,
    now: i64,
    until: i64,
}

/// Renews, takes and counts.
pub(super) async fn leases(db: &Db, by: &ProxyActor, request: &LeaseRequest) -> Stored<LeaseReply> {
    check_request(request)?;
    let mut tx = db.begin().await?;
    let now = now_ms(db, &mut tx).await?;
    let holder = format!("{}:{}", by.token, request.proxy);
    let round = Round { by, request, holder, now, until: now.saturating_add(LEASE) };
    if request.ends {
        round.hold(&mut tx).await?;
        round.end(&mut tx).await?;
        tx.commit().await?;
        return Ok(LeaseReply::default());
    }
    round.hold(&mut tx).await?;
    round.note(&mut tx).await?;
    round.leave(&mut tx).await?;
    round.renew(&mut tx).await?;
    let (give_up, more) = round.share(&mut tx).await?;
    let sites = round.sites(&mut tx).await?;
    tx.commit().await?;
    let digest: String = digest(&SHA256, to_json(&sites)?.as_bytes())
        .as_ref()
        .iter()
        .take(16)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let is_known = request.known.as_ref() == Some(&digest);
    Ok(LeaseReply { lease_ms: LEASE_MS, digest, sites: (!is_known).then_some(sites), give_up, more })
}

fn check_request(request: &LeaseRequest) -> Stored<()> {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !NONCE.contains(&request.proxy.len()) || !is_word(&request.proxy) {
        let detail = "a process calls itself by 16 to 64 letters, digits and dashes";
        return Err(invalid("proxy", detail, code::INVALID));
    }
    if request.room > MAX_LEASES {
        return Err(invalid("room", format!("a proxy drives at most {MAX_LEASES} sites"), code::INVALID));
    }
    if request.leave.len() > MAX_LEASES as usize {
        return Err(invalid("leave", format!("at most {MAX_LEASES} sites"), code::INVALID));
    }
    Ok(())
}

impl Round<'_> {
    /// Holds all that the process has, in the order in which claims are held: neither waits for the other in a circle.
    async fn hold(&self, tx: &mut Tx) -> Stored<()> {
        let mut sql = Sql::new("SELECT site FROM lease WHERE holder = ");
        sql.bind(self.holder.clone()).push(" ORDER BY site").push(&tx.dialect.lock("lease"));
        if tx.dialect == Dialect::Postgres {
            sql.query().all(tx).await?;
        }
        Ok(())
    }

    /// Ends all that the process has.
    async fn end(&self, tx: &mut Tx) -> Stored<()> {
        q!("UPDATE lease SET until_ms = 0 WHERE holder = $1", self.holder.as_str()).run(tx).await?;
        q!("DELETE FROM proxy WHERE holder = $1", self.holder.as_str()).run(tx).await?;
        Ok(())
    }

    /// Notes that the process lives.
    async fn note(&self, tx: &mut Tx) -> Stored<()> {
        q!(
            "INSERT INTO proxy (holder, account, grp, seen_ms, room) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (holder) DO UPDATE SET grp = excluded.grp, seen_ms = excluded.seen_ms, room = excluded.room",
            self.holder.as_str(),
            self.by.account.as_str(),
            self.by.group.clone().unwrap_or_default(),
            self.now,
            i64::from(self.request.room)
        )
        .run(tx)
        .await?;
        q!("DELETE FROM proxy WHERE seen_ms < $1", self.now - FORGET_AFTER).run(tx).await?;
        Ok(())
    }

    /// Lets go of sites: they are nobody's when their time is over, for their drivers may still be at work.
    async fn leave(&self, tx: &mut Tx) -> Stored<()> {
        for site in &self.request.leave {
            let left =
                q!("UPDATE lease SET holder = '' WHERE site = $1 AND holder = $2", site.as_str(), self.holder.as_str());
            left.run(tx).await?;
        }
        Ok(())
    }

    /// What it has and still may have. What ended is not renewed, even if nobody took it: it is taken anew, with another number.
    async fn renew(&self, tx: &mut Tx) -> Stored<()> {
        let mut sql = Sql::new("UPDATE lease SET until_ms = ");
        sql.bind(self.until).push(" WHERE holder = ").bind(self.holder.clone());
        sql.push(" AND until_ms > ").bind(self.now).push(" AND site IN (SELECT id FROM site WHERE account = ");
        sql.bind(self.by.account.as_str().to_owned()).push(" AND proxy IS NOT NULL");
        if let Some(group) = &self.by.group {
            sql.push(" AND proxy = ").bind(group.clone());
        }
        sql.push(")");
        sql.query().run(tx).await?;
        Ok(())
    }

    /// Takes what it lacks of its fair share in each group, and names what is beyond it.
    async fn share(&self, tx: &mut Tx) -> Stored<(Vec<SiteId>, bool)> {
        let account = self.by.account.as_str();
        let counted =
            "SELECT proxy AS grp, COUNT(*) AS n FROM site WHERE account = $1 AND proxy IS NOT NULL GROUP BY proxy";
        let groups = counts(tx, q!(counted, account)).await?;
        let held = "SELECT s.proxy AS grp, COUNT(*) AS n FROM lease l JOIN site s ON s.id = l.site \
             WHERE l.holder = $1 AND l.until_ms = $2 GROUP BY s.proxy";
        let held = counts(tx, q!(held, self.holder.as_str(), self.until)).await?;
        let mut living = share::living(tx, account, self.now - LEASE, self.now).await?;
        let mut room = i64::from(self.request.room) - held.values().sum::<i64>();
        if let Some(own) = living.iter_mut().find(|process| process.holder == self.holder) {
            // Of what it has, only what was renewed stays.
            own.has = held.clone();
        }
        let (mut give_up, mut more, mut left) = (Vec::new(), false, i64::from(MAX_TAKEN));
        for (group, sites) in &groups {
            if self.by.group.as_ref().is_some_and(|own| own != group) {
                continue;
            }
            let (share, has) = (share::fair(*sites, group, &living), held.get(group).copied().unwrap_or(0));
            if has > share {
                give_up.extend(self.beyond(tx, group, has - share).await?);
                continue;
            }
            let lacks = (share - has).min(room).max(0);
            let taken = self.take(tx, group, lacks.min(left)).await?;
            more |= lacks > left;
            (room, left) = (room - taken, left - taken);
        }
        Ok((give_up, more))
    }

    /// Takes up to so many sites that nobody has.
    async fn take(&self, tx: &mut Tx, group: &str, most: i64) -> Stored<i64> {
        if most <= 0 {
            return Ok(0);
        }
        // One statement: whoever else takes at the same moment waits for it, and then finds what is taken.
        let taken = q!(
            "INSERT INTO lease (site, holder, token, number, until_ms) \
             SELECT s.id, $1, $2, $3, $4 FROM site s LEFT JOIN lease l ON l.site = s.id \
             WHERE s.account = $5 AND s.proxy = $6 AND (l.site IS NULL OR l.until_ms <= $7) ORDER BY s.id LIMIT $8 \
             ON CONFLICT (site) DO UPDATE SET holder = excluded.holder, token = excluded.token, until_ms = excluded.until_ms, \
             number = CASE WHEN lease.number + 1 > excluded.number THEN lease.number + 1 ELSE excluded.number END \
             WHERE lease.until_ms <= $7",
            self.holder.as_str(),
            self.by.token.as_str(),
            // Larger than before also after a backup was put back.
            self.now.saturating_mul(1000),
            self.until,
            self.by.account.as_str(),
            group,
            self.now,
            most
        );
        let taken = i64::try_from(taken.run(tx).await?).unwrap_or(i64::MAX);
        if taken > 0 {
            tracing::info!(holder = self.holder, group, taken, "leases taken");
        }
        Ok(taken)
    }

    async fn beyond(&self, tx: &mut Tx, group: &str, count: i64) -> Stored<Vec<SiteId>> {
        let beyond = q!(
            "SELECT l.site FROM lease l JOIN site s ON s.id = l.site WHERE l.holder = $1 AND l.until_ms = $2 AND s.proxy = $3 \
             ORDER BY l.site DESC LIMIT $4",
            self.holder.as_str(),
            self.until,
            group,
            count
        );
        beyond.all(tx).await?.iter().map(|row| row.word("site")).collect()
    }

    /// All it has from now on.
    async fn sites(&self, tx: &mut Tx) -> Stored<Vec<LeasedSite>> {
        let peers = q!(
            "SELECT p.site, p.id FROM peer p JOIN lease l ON l.site = p.site \
             WHERE l.holder = $1 AND l.until_ms = $2 AND p.kind = 'site' ORDER BY p.id",
            self.holder.as_str(),
            self.until
        );
        let mut by_site: BTreeMap<String, Vec<PeerId>> = BTreeMap::new();
        for row in peers.all(tx).await? {
            by_site.entry(row.text("site")?).or_default().push(row.word("id")?);
        }
        let sites = q!(
            "SELECT s.id, s.name, s.proxy, s.router_url, s.router_pin, l.number FROM lease l JOIN site s ON s.id = l.site \
             WHERE l.holder = $1 AND l.until_ms = $2 ORDER BY s.id",
            self.holder.as_str(),
            self.until
        );
        let mut all = Vec::new();
        for row in sites.all(tx).await? {
            let Some(assignment) = assignment(&row)? else { continue };
            let peers = by_site.remove(&row.text("id")?).unwrap_or_default();
            let (site, name, number) = (row.word("id")?, row.text("name")?, row.int("number")?);
            all.push(LeasedSite { site, name, number, assignment, peers });
        }
        Ok(all)
    }
}

async fn counts(tx: &mut Tx, query: super::db::Ready) -> Stored<BTreeMap<String, i64>> {
    query.all(tx).await?.iter().map(|row| Ok((row.text("grp")?, row.int("n")?))).collect()
}

/// With what a proxy speaks for a peer. It is looked at in the very change that it allows, and no lease of another begins before
/// that change is made or given up.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    by: ProxyActor,
    number: i64,
}

impl Claim {
    pub fn new(by: &ProxyActor, number: i64) -> Self {
        Self { by: by.clone(), number }
    }

    /// Refuses a change that the claim does not allow. Its lease is held.
    pub async fn check(&self, db: &Db, tx: &mut Tx, peer: &PeerId) -> Stored<()> {
        let now = now_ms(db, tx).await?;
        let row = q!(SPEAKS, peer.as_str(), self.by.account.as_str()).maybe(tx).await?;
        self.judge(row.as_ref(), now, peer).map(drop)
    }

    /// Whether it is good, by what the store has; tells the peer's instance.
    fn judge(&self, row: Option<&AnyRow>, now: i64, peer: &PeerId) -> Stored<InstanceId> {
        let row = row.ok_or_else(|| not_found("peer", peer))?;
        let is_own = row.opt_text("token")?.as_deref() == Some(self.by.token.as_str());
        let is_it = is_own
            && row.opt_int("number")? == Some(self.number)
            && row.opt_int("until_ms")?.is_some_and(|end| end > now);
        if is_it {
            return row.word("instance");
        }
        let detail = format!("the lease {} of peer {peer}'s site has ended", self.number);
        Err(conflict("number", detail, code::LEASE_ENDED).hint("whoever has a lease renews it: POST /v1/proxy/leases"))
    }
}

/// Holds the leases of these peers' sites as they are: whoever would take one waits for the change that a claim allows. Other claims
/// do not, and what ended is left to whoever takes it.
pub(super) async fn hold(db: &Db, tx: &mut Tx, peers: &[&PeerId]) -> Stored<()> {
    if db.dialect == Dialect::Sqlite || peers.is_empty() {
        // SQLite's changes come one after the other.
        return Ok(());
    }
    let mut sql = Sql::new("SELECT site FROM lease WHERE until_ms > ");
    sql.push(&DATABASE_NOW.replace("CAST($1 AS BIGINT)", &db.clock.ahead_ms().to_string()));
    sql.push(" AND site IN (SELECT site FROM peer WHERE id IN (''");
    for peer in peers {
        sql.push(", ").bind(peer.as_str().to_owned());
    }
    sql.push(")) ORDER BY site FOR SHARE");
    sql.query().all(tx).await?;
    Ok(())
}

/// A peer's instance, and the lease of its site.
const SPEAKS: &str = "SELECT p.instance, l.token, l.number, l.until_ms FROM peer p LEFT JOIN lease l ON l.site = p.site \
    WHERE p.id = $1 AND p.account = $2 AND p.kind = 'site'";

/// Whether a proxy has the lease of a peer's site with this number, and in which instance the peer is.
pub(super) async fn holds(db: &Db, by: &ProxyActor, peer: &PeerId, number: i64) -> Stored<InstanceId> {
    let mut connection = db.read().await?;
    let now = match db.dialect {
        Dialect::Sqlite => db.clock.now_ms(),
        Dialect::Postgres => database_now(db, &mut connection).await?,
    };
    let row = q!(SPEAKS, peer.as_str(), by.account.as_str()).maybe(&mut connection).await?;
    Claim::new(by, number).judge(row.as_ref(), now, peer)
}
