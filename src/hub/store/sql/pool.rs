//! Tunnel addresses: host numbers of an instance's networks, given out in turn.
//!
//! The walk goes on where it ended, so that an address just freed is not given to somebody else before the pool went round.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use sqlx::AnyConnection;

use super::check::{conflict, invalid};
use super::db::{RowExt as _, Run as _, q};
use super::instance::Inst;
use crate::api::{InstanceId, PeerId, code};
use crate::hub::store::Stored;

/// The gateway's own host number.
const GATEWAY: u32 = 1;
/// The first that a peer gets.
const FIRST: u32 = 2;

/// The last host number of a network: the one before the broadcast address.
pub(super) fn last_host(net: Ipv4Net) -> u32 {
    u32::from(net.hostmask()).saturating_sub(1)
}

/// The IPv4 address of a host number.
pub(super) fn address4(net: Ipv4Net, host: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()) | host)
}

/// The IPv6 address of the same host number.
pub(super) fn address6(net: Ipv6Net, host: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(net.network()) | u128::from(host))
}

/// The gateway's addresses, with the length of the tunnel's networks.
pub(super) fn gateway_addresses(tunnel4: Ipv4Net, tunnel6: Option<Ipv6Net>) -> Vec<ipnet::IpNet> {
    let four = IpAddr::from(address4(tunnel4, GATEWAY));
    let six = tunnel6.map(|net| (IpAddr::from(address6(net, GATEWAY)), net.prefix_len()));
    let all = std::iter::once((four, tunnel4.prefix_len())).chain(six);
    all.filter_map(|(address, length)| ipnet::IpNet::new(address, length).ok()).collect()
}

/// The host number of an address that was asked for.
fn host_of(inst: &Inst, address: IpAddr) -> Stored<u32> {
    let outside = || {
        let nets = inst.tunnel6.map_or(inst.tunnel4.to_string(), |six| format!("{} and {six}", inst.tunnel4));
        invalid("address", format!("{address} is no address for a peer in {nets}"), code::INVALID)
    };
    let host = match (address, inst.tunnel6) {
        (IpAddr::V4(address), _) if inst.tunnel4.contains(&address) => {
            u32::from(address) & u32::from(inst.tunnel4.hostmask())
        }
        (IpAddr::V6(address), Some(net)) if net.contains(&address) => {
            u32::try_from(u128::from(address) & u128::from(net.hostmask())).map_err(|_| outside())?
        }
        _ => return Err(outside()),
    };
    if host == GATEWAY {
        return Err(invalid("address", format!("{address} is the gateway's own"), code::ADDRESS_TAKEN));
    }
    if (FIRST..=last_host(inst.tunnel4)).contains(&host) { Ok(host) } else { Err(outside()) }
}

/// Takes the address that was asked for; a disabled peer's is taken too.
pub(super) async fn take(
    connection: &mut AnyConnection,
    inst: &Inst,
    address: IpAddr,
    own: Option<&PeerId>,
) -> Stored<u32> {
    let host = host_of(inst, address)?;
    let row = q!("SELECT id, name FROM peer WHERE instance = $1 AND host = $2", inst.id.as_str(), i64::from(host));
    let Some(row) = row.maybe(connection).await? else { return Ok(host) };
    let id = row.text("id")?;
    if own.is_some_and(|own| own.as_str() == id) {
        return Ok(host);
    }
    let detail = format!("{address} belongs to peer {id} ({})", row.text("name")?);
    Err(conflict("address", detail, code::ADDRESS_TAKEN))
}

/// Gives out the next free address, and remembers in `inst` where the walk ended.
pub(super) async fn next(connection: &mut AnyConnection, inst: &mut Inst) -> Stored<u32> {
    let last = last_host(inst.tunnel4);
    let from = u32::try_from(inst.cursor).unwrap_or(0).saturating_add(1).clamp(FIRST, last.saturating_add(1));
    let mut found = free_from(connection, &inst.id, from).await?.filter(|host| *host <= last);
    if found.is_none() {
        found = free_from(connection, &inst.id, FIRST).await?.filter(|host| *host <= last);
    }
    let Some(host) = found else {
        let detail = format!("all {} addresses of {} are taken", last.saturating_sub(GATEWAY), inst.tunnel4);
        return Err(conflict("address", detail, code::POOL_FULL)
            .hint("delete peers that are not needed: disabled ones keep their address; the next instance may have a larger tunnel subnet"));
    };
    inst.cursor = i64::from(host);
    Ok(host)
}

/// The first free host number from here on: this one, or the one behind the run of taken ones that begins here.
async fn free_from(connection: &mut AnyConnection, instance: &InstanceId, from: u32) -> Stored<Option<u32>> {
    let taken = q!("SELECT 1 AS one FROM peer WHERE instance = $1 AND host = $2", instance.as_str(), i64::from(from));
    if taken.maybe(connection).await?.is_none() {
        return Ok(Some(from));
    }
    let row = q!(
        "SELECT p.host + 1 AS free FROM peer p WHERE p.instance = $1 AND p.host >= $2 AND NOT EXISTS \
         (SELECT 1 FROM peer q WHERE q.instance = p.instance AND q.host = p.host + 1) ORDER BY p.host LIMIT 1",
        instance.as_str(),
        i64::from(from)
    );
    row.maybe(connection).await?.map(|row| row.small("free")).transpose()
}
