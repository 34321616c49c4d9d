//! Making an instance, and the rules of what it is made of.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::assign::{Assigned, assign};
use super::{Inst, lock, read};
use crate::api::{AccountId, Instance, InstanceId, MAX_ROTATE_DAYS, NewInstance, RESERVED_HOSTNAMES, code};
use crate::domain::{InstanceName, MAX_SUBNETS, SubnetSet, overlap};
use crate::hub::store::sql::check::{self, conflict, invalid, not_found, owner};
use crate::hub::store::sql::db::{Db, RowExt as _, Run as _, Tx, is_unique, q, to_json};
use crate::hub::store::sql::once::{Change, audit, fields, first_time};
use crate::hub::store::sql::secret::new_id;
use crate::hub::store::sql::{Context, account, prefix, reach};
use crate::hub::store::{Actor, Once, Scope, Stored};

/// The tunnel subnet of an instance that names none.
const DEFAULT_TUNNEL: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 99, 0, 0), 24);
/// Broadest and narrowest IPv4 tunnel: a /30 has room for one peer.
const TUNNEL4: std::ops::RangeInclusive<u8> = 8..=30;
/// Most DNS servers and search domains: what fits a profile that people still read.
const MAX_DNS: usize = 8;

pub(in crate::hub::store::sql) async fn create(
    db: &Db,
    context: &Context,
    by: &Actor,
    once: Option<&Once>,
    new: NewInstance,
) -> Stored<Instance> {
    let made = Made::check(&new)?;
    let mut tx = db.begin().await?;
    let (owner, _) = owner(&mut tx, by, new.account.as_ref()).await?;
    account::lock(&mut tx, &owner).await?;
    let id: InstanceId = new_id()?;
    if let Some(before) = first_time(&mut tx, by, once, id.as_str()).await? {
        let before = before.parse().map_err(|_| not_found("instance", &before))?;
        let now = tx.now;
        return read::read(&mut tx, context, &by.scope, &before, now).await;
    }
    limit(&mut tx, &owner).await?;
    free(&mut tx, by, &owner, None, &new.name, &made.hostname).await?;
    insert(&mut tx, &id, &owner, &new, &made).await?;
    let tunnels: SubnetSet = made.tunnels().collect();
    prefix::write(&mut tx, &id, None, &tunnels, true).await?;
    let mut inst = lock(&mut tx, &Scope::All, &id).await?;
    if let Assigned::Unfit(unfit) = assign(&mut tx, &mut inst, &by.scope).await? {
        return Err(unfit.refusal());
    }
    let now = tx.now;
    let instance = read::read(&mut tx, context, &Scope::All, &id, now).await?;
    let change = Change {
        action: "instance.create",
        object: inst.object(),
        account: Some(&owner),
        before: None,
        after: fields(&instance)?,
    };
    audit(&mut tx, &by.who, change).await?;
    tx.commit().await?;
    Ok(instance)
}

/// What a new instance is made of, checked.
struct Made {
    hostname: String,
    tunnel4: Ipv4Net,
    tunnel6: Option<Ipv6Net>,
    pushed: SubnetSet,
}

impl Made {
    fn check(new: &NewInstance) -> Stored<Self> {
        let hostname = new.hostname.clone().unwrap_or_else(|| new.name.to_string());
        self::hostname(&hostname)?;
        check::name("region", &new.region)?;
        let (tunnel4, tunnel6) = tunnels(new.tunnel_subnet, new.tunnel_subnet6)?;
        let pushed = check::prefixes("pushed_routes", &new.pushed_routes, new.allow_broad)?;
        if new.listen_port == Some(0) {
            return Err(invalid("listen_port", "a port is 1 to 65535", code::INVALID));
        }
        dns(&new.dns, &new.search)?;
        rotate_days(new.rotate_keys_days)?;
        let made = Self { hostname, tunnel4, tunnel6, pushed };
        pushed_beside(&made.pushed, made.tunnels())?;
        Ok(made)
    }

    fn tunnels(&self) -> impl Iterator<Item = IpNet> + '_ {
        std::iter::once(IpNet::V4(self.tunnel4)).chain(self.tunnel6.map(IpNet::V6))
    }
}

/// Refuses pushed routes that meet the tunnel, or are too many.
pub(super) fn pushed_beside(pushed: &SubnetSet, tunnels: impl Iterator<Item = IpNet>) -> Stored<()> {
    for tunnel in tunnels {
        // A default route is pushed on purpose with `allow_broad`, and the tunnel's own is always the longer one.
        let met = pushed.iter().enumerate().find(|(_, net)| overlap(*net, tunnel) && net.prefix_len() > 0);
        if let Some((index, net)) = met {
            let detail = format!("{net} overlaps the instance's own tunnel subnet {tunnel}");
            return Err(conflict(&format!("pushed_routes[{index}]"), detail, code::OVERLAP));
        }
    }
    if pushed.len() > MAX_SUBNETS - 2 {
        return Err(invalid("pushed_routes", format!("more than {} prefixes", MAX_SUBNETS - 2), code::LIMIT));
    }
    Ok(())
}

fn tunnels(four: Option<IpNet>, six: Option<IpNet>) -> Stored<(Ipv4Net, Option<Ipv6Net>)> {
    let bad = |field: &str, detail: &str| invalid(field, detail, code::INVALID);
    let tunnel4 = match four {
        None => DEFAULT_TUNNEL,
        Some(IpNet::V4(net)) => net.trunc(),
        Some(IpNet::V6(_)) => return Err(bad("tunnel_subnet", "an IPv6 network goes into `tunnel_subnet6`")),
    };
    if !TUNNEL4.contains(&tunnel4.prefix_len()) {
        return Err(bad("tunnel_subnet", "a tunnel subnet is a /8 to a /30"));
    }
    let tunnel6 = match six {
        None => None,
        Some(IpNet::V6(net)) => Some(net.trunc()),
        Some(IpNet::V4(_)) => return Err(bad("tunnel_subnet6", "an IPv4 network goes into `tunnel_subnet`")),
    };
    if let Some(net) = tunnel6 {
        if net.prefix_len() < 8 {
            return Err(invalid("tunnel_subnet6", format!("{net} is broader than a /8"), code::BROAD));
        }
        if 128 - net.prefix_len() < 32 - tunnel4.prefix_len() {
            return Err(bad(
                "tunnel_subnet6",
                "it has fewer addresses than the IPv4 network: every peer gets one of each",
            ));
        }
    }
    for (field, net) in [("tunnel_subnet", Some(IpNet::V4(tunnel4))), ("tunnel_subnet6", tunnel6.map(IpNet::V6))] {
        if let Some((net, what)) = net.and_then(|net| reach::never(net).map(|what| (net, what))) {
            return Err(bad(field, &format!("{net} is {what}: no tunnel carries it")));
        }
    }
    Ok((tunnel4, tunnel6))
}

/// A public label: 3 to 20 characters, DNS-safe, not reserved.
pub(super) fn hostname(text: &str) -> Stored<()> {
    if text.len() < 3 || text.parse::<InstanceName>().is_err() {
        let detail = "a hostname has 3 to 20 characters of a-z, 0-9 and '-', not first or last '-'";
        return Err(invalid("hostname", detail, code::INVALID));
    }
    if RESERVED_HOSTNAMES.contains(&text) {
        return Err(invalid("hostname", format!("the hostname {text:?} is reserved"), code::HOSTNAME_RESERVED)
            .hint("choose another in `hostname`; the instance's name may stay"));
    }
    Ok(())
}

/// DNS servers and search domains of profiles.
pub(super) fn dns(servers: &[IpAddr], search: &[String]) -> Stored<()> {
    if servers.len() > MAX_DNS || search.len() > MAX_DNS {
        return Err(invalid(
            "dns",
            format!("at most {MAX_DNS} DNS servers and {MAX_DNS} search domains"),
            code::INVALID,
        ));
    }
    let odd = search.iter().enumerate().find(|(_, domain)| !is_domain(domain));
    odd.map_or(Ok(()), |(index, _)| {
        Err(invalid(format!("search[{index}]"), "not a DNS domain of letters, digits, '-' and '.'", code::INVALID))
    })
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

async fn limit(tx: &mut Tx, owner: &AccountId) -> Stored<()> {
    let row = q!(
        "SELECT a.max_instances, (SELECT COUNT(*) FROM instance i WHERE i.account = a.id) AS have FROM account a WHERE a.id = $1",
        owner.as_str()
    );
    let row = row.one(tx).await?;
    let (most, have) = (row.int("max_instances")?, row.int("have")?);
    if most != 0 && have >= most {
        return Err(conflict("account", format!("the account has {have} instances, {most} is its most"), code::LIMIT)
            .hint("delete one, or ask an administrator for more"));
    }
    Ok(())
}

/// Refuses a name or hostname that another instance has.
pub(super) async fn free(
    tx: &mut Tx,
    by: &Actor,
    owner: &AccountId,
    own: Option<&InstanceId>,
    name: &InstanceName,
    hostname: &str,
) -> Stored<()> {
    let own = own.map_or("", InstanceId::as_str);
    let row =
        q!("SELECT id FROM instance WHERE account = $1 AND name = $2 AND id <> $3", owner.as_str(), name.as_str(), own);
    if let Some(row) = row.maybe(tx).await? {
        let detail = format!("instance {} has the name {name} already", row.text("id")?);
        return Err(conflict("name", detail, code::NAME_TAKEN));
    }
    let row = q!("SELECT id, account FROM instance WHERE hostname = $1 AND id <> $2", hostname, own);
    let Some(row) = row.maybe(tx).await? else { return Ok(()) };
    // Whose it is, is nobody's business who does not see it anyway.
    let seen = by.scope == Scope::All || row.text("account")? == owner.as_str();
    let whose = if seen { format!(" by instance {}", row.text("id")?) } else { String::new() };
    Err(conflict("hostname", format!("the hostname {hostname} is taken{whose}"), code::HOSTNAME_TAKEN)
        .hint("choose another in `hostname`; the instance's name may stay"))
}

async fn insert(tx: &mut Tx, id: &InstanceId, owner: &AccountId, new: &NewInstance, made: &Made) -> Stored<()> {
    let reach = to_json(&reach::published(made.pushed.iter().chain(made.tunnels())))?;
    let result = q!(
        "INSERT INTO instance (id, account, name, hostname, region, suspended, state, asked_port, tunnel4, tunnel6, dns, search, \
         pushed, client_to_client, site_to_site, reach, agent_counter, agent_revision, revision, cursor, created_at, version, rotate_days) \
         VALUES ($1, $2, $3, $4, $5, 0, 'deploying', $6, $7, $8, $9, $10, $11, $12, $13, $14, 1, 1, 0, 1, $15, 1, $16)",
        id.as_str(),
        owner.as_str(),
        new.name.as_str(),
        made.hostname.as_str(),
        new.region.as_str(),
        new.listen_port.map(i64::from),
        made.tunnel4.to_string(),
        made.tunnel6.map(|net| net.to_string()),
        to_json(&new.dns)?,
        to_json(&new.search)?,
        to_json(&made.pushed)?,
        i64::from(new.policy.client_to_client),
        i64::from(new.policy.site_to_site),
        reach,
        tx.now,
        rotate_days(new.rotate_keys_days)?.map(i64::from)
    );
    taken(result.run(tx).await, &made.hostname)
}

/// After how many days routers get another key; 0 is never.
pub(super) fn rotate_days(asked: Option<u32>) -> Stored<Option<u32>> {
    if asked.is_some_and(|days| days > MAX_ROTATE_DAYS) {
        let detail = format!("a key is used for at most {MAX_ROTATE_DAYS} days, or for ever with 0");
        return Err(invalid("rotate_keys_days", detail, code::INVALID));
    }
    Ok(asked.filter(|days| *days > 0))
}

/// Two replicas that took the same name at the same time: the constraint decides.
pub(super) fn taken(result: Result<u64, sqlx::Error>, hostname: &str) -> Stored<()> {
    result.map(|_| ()).map_err(|error| {
        if is_unique(&error) {
            let detail = format!("the hostname {hostname} or the name was taken just now");
            return conflict("hostname", detail, code::HOSTNAME_TAKEN);
        }
        error.into()
    })
}

/// Whether the instance's row still is what it was: nothing else to see.
pub(super) fn same(before: &Inst, after: &Inst) -> bool {
    before.name == after.name
        && before.hostname == after.hostname
        && before.listen_port == after.listen_port
        && before.asked_port == after.asked_port
        && before.dns == after.dns
        && before.search == after.search
        && before.pushed == after.pushed
        && before.policy == after.policy
        && before.rotate_days == after.rotate_days
}
