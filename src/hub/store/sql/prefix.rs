//! Prefixes as rows: no two enabled ones of an instance share an address.
//!
//! Enabled prefixes are disjoint, so of all that begin before a new one ends, only the one that begins last can meet it: one step
//! into an index, however many peers there are. A trigger holds the same rule in the database.

use std::net::IpAddr;

use ipnet::IpNet;
use sqlx::AnyConnection;

use super::check::conflict;
use super::db::{RowExt as _, Run as _, q};
use super::instance::Inst;
use crate::api::{InstanceId, PeerId, code};
use crate::domain::{SubnetSet, overlap};
use crate::hub::store::Stored;

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family(net: IpNet) -> i64 {
    if net.addr().is_ipv4() { 4 } else { 6 }
}

/// Refuses prefixes that meet the tunnel's own.
pub(super) fn beside_tunnel(field: &str, inst: &Inst, subnets: &SubnetSet) -> Stored<()> {
    for (index, net) in subnets.iter().enumerate() {
        if let Some(tunnel) = inst.tunnels().find(|tunnel| overlap(*tunnel, net)) {
            let detail = format!("{net} overlaps the instance's own tunnel subnet {tunnel}");
            return Err(conflict(&format!("{field}[{index}]"), detail, code::OVERLAP));
        }
    }
    Ok(())
}

/// Refuses prefixes that another enabled peer has, and names it.
pub(super) async fn disjoint(
    connection: &mut AnyConnection,
    field: &str,
    inst: &Inst,
    own: &PeerId,
    subnets: &SubnetSet,
) -> Stored<()> {
    for (index, net) in subnets.iter().enumerate() {
        let row = q!(
            "SELECT f.peer, f.net, f.last, p.name FROM prefix f LEFT JOIN peer p ON p.id = f.peer \
             WHERE f.instance = $1 AND f.family = $2 AND f.enabled = 1 AND f.first <= $3 AND f.peer <> $4 \
             ORDER BY f.first DESC LIMIT 1",
            inst.id.as_str(),
            family(net),
            bytes(net.broadcast()),
            own.as_str()
        );
        let Some(row) = row.maybe(connection).await? else { continue };
        if row.bytes("last")? < bytes(net.network()) {
            continue;
        }
        let (theirs, peer) = (row.text("net")?, row.text("peer")?);
        let whose = match row.opt_text("name")? {
            Some(name) => format!("peer {peer} ({name}) has"),
            None => "the instance's own tunnel has".to_owned(),
        };
        let detail = format!("{net} overlaps {theirs}, which {whose} already");
        return Err(conflict(&format!("{field}[{index}]"), detail, code::OVERLAP)
            .hint("take the prefix out there, or disable that peer first"));
    }
    Ok(())
}

/// Writes the prefixes of a peer in place of those it had; `None` writes an instance's tunnel.
pub(super) async fn write(
    connection: &mut AnyConnection,
    instance: &InstanceId,
    peer: Option<&PeerId>,
    subnets: &SubnetSet,
    enabled: bool,
) -> Stored<()> {
    let peer = peer.map_or("", PeerId::as_str);
    q!("DELETE FROM prefix WHERE instance = $1 AND peer = $2", instance.as_str(), peer).run(connection).await?;
    for net in subnets.iter() {
        q!(
            "INSERT INTO prefix (instance, peer, family, first, last, net, enabled) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            instance.as_str(),
            peer,
            family(net),
            bytes(net.network()),
            bytes(net.broadcast()),
            net.to_string(),
            i64::from(enabled)
        )
        .run(connection)
        .await?;
    }
    Ok(())
}
