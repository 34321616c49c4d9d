//! Finding a gateway for an instance, and a port on it.

use super::{Inst, next_revisions};
use crate::api::{GatewayId, InstanceStatus, code};
use crate::hub::store::sql::check::conflict;
use crate::hub::store::sql::db::{RowExt as _, Run as _, Tx, q, to_word};
use crate::hub::store::sql::gateway::HEARD_WITHIN;
use crate::hub::store::{Scope, StoreError, Stored};

/// The port of an instance that asked for none, where it is free.
const DEFAULT_PORT: u16 = 51820;
/// Gateways that are looked at for one instance.
const MOST_CANDIDATES: i64 = 50;

/// What came of it.
#[derive(Debug)]
pub(in crate::hub::store::sql) enum Assigned {
    /// A gateway has it now.
    Done,
    /// None of the region was heard lately.
    NoGateway,
    /// All of them have something against it.
    Unfit(Unfit),
}

/// Why a gateway cannot serve an instance.
#[derive(Debug)]
pub(in crate::hub::store::sql) struct Unfit {
    field: &'static str,
    code: &'static str,
    hint: &'static str,
    /// In words.
    pub why: String,
}

impl Unfit {
    /// The refusal of who asked for the instance.
    pub fn refusal(self) -> StoreError {
        conflict(self.field, self.why, self.code).hint(self.hint)
    }
}

/// Gives an instance to the least loaded gateway of its region that was heard lately, with a port.
pub(in crate::hub::store::sql) async fn assign(tx: &mut Tx, inst: &mut Inst, seen_by: &Scope) -> Stored<Assigned> {
    let candidates = q!(
        "SELECT g.id, g.public_host, (SELECT COUNT(*) FROM instance i WHERE i.gateway = g.id) AS load FROM gateway g \
         JOIN gateway_seen s ON s.gateway = g.id WHERE g.region = $1 AND s.seen_at >= $2 ORDER BY load, g.id LIMIT $3",
        inst.region.as_str(),
        tx.now - HEARD_WITHIN,
        MOST_CANDIDATES
    );
    let mut outcome = Assigned::NoGateway;
    for row in candidates.all(tx).await? {
        let gateway: GatewayId = row.word("id")?;
        if let Some(why) = inst.swallowed(Some(&row.text("public_host")?)) {
            let hint = "choose another tunnel subnet";
            outcome = Assigned::Unfit(Unfit { field: "tunnel_subnet", code: code::OVERLAP, hint, why });
            continue;
        }
        // The gateway's row is held from here on, so that nobody else takes the port.
        let peers = q!("SELECT COUNT(*) AS n FROM peer WHERE instance = $1", inst.id.as_str()).one(tx).await?;
        let peers = peers.int("n")?;
        let last = next_revisions(tx, Some(&gateway), peers + 1).await?;
        match port(tx, &gateway, inst, inst.asked_port, seen_by).await? {
            Ok(port) => {
                take(tx, inst, gateway, port, last - peers).await?;
                return Ok(Assigned::Done);
            }
            Err(why) => {
                let hint = "choose another port, or none";
                outcome = Assigned::Unfit(Unfit { field: "listen_port", code: code::PORT_TAKEN, hint, why });
            }
        }
    }
    Ok(outcome)
}

/// Finds a free port on a gateway, or says who has the one that was asked for.
pub(in crate::hub::store::sql) async fn port(
    tx: &mut Tx,
    gateway: &GatewayId,
    inst: &Inst,
    asked: Option<u16>,
    seen_by: &Scope,
) -> Stored<Result<u16, String>> {
    if let Some(port) = asked {
        let row = q!(
            "SELECT id, name, account FROM instance WHERE gateway = $1 AND listen_port = $2 AND id <> $3",
            gateway.as_str(),
            i64::from(port),
            inst.id.as_str()
        );
        let Some(row) = row.maybe(tx).await? else { return beside(tx, gateway, port).await };
        let seen = *seen_by == Scope::All || row.text("account")? == inst.account.as_str();
        let whose =
            if seen { format!("instance {} ({})", row.text("id")?, row.text("name")?) } else { "another".to_owned() };
        return Ok(Err(format!("port {port} is taken on the gateway by {whose}")));
    }
    let rows = q!(
        "SELECT listen_port FROM instance WHERE gateway = $1 AND listen_port >= $2 \
         UNION SELECT listen_port FROM device WHERE gateway = $1 AND listen_port >= $2 \
         UNION SELECT r.port FROM removal r JOIN gateway_seen s ON s.gateway = r.gateway \
         WHERE r.gateway = $1 AND r.port >= $2 AND r.revision > s.applied_revision ORDER BY 1",
        gateway.as_str(),
        i64::from(DEFAULT_PORT)
    );
    let mut free = DEFAULT_PORT;
    for row in rows.all(tx).await? {
        if row.small::<u16>("listen_port")? > free {
            break;
        }
        match free.checked_add(1) {
            Some(next) => free = next,
            None => return Ok(Err(format!("no port from {DEFAULT_PORT} on is free on the gateway"))),
        }
    }
    Ok(Ok(free))
}

/// A further device of an instance has its port until the gateway has taken it down.
async fn beside(tx: &mut Tx, gateway: &GatewayId, port: u16) -> Stored<Result<u16, String>> {
    let row = q!(
        "SELECT COUNT(*) AS n FROM device WHERE gateway = $1 AND listen_port = $2",
        gateway.as_str(),
        i64::from(port)
    );
    if row.one(tx).await?.int("n")? > 0 {
        return Ok(Err(format!("port {port} is taken on the gateway by a further device of an instance")));
    }
    leaving(tx, gateway, port).await
}

/// A port is taken until the gateway has taken the instance down that had it.
async fn leaving(tx: &mut Tx, gateway: &GatewayId, port: u16) -> Stored<Result<u16, String>> {
    let row = q!(
        "SELECT COUNT(*) AS n FROM removal r JOIN gateway_seen s ON s.gateway = r.gateway \
         WHERE r.gateway = $1 AND r.port = $2 AND r.revision > s.applied_revision",
        gateway.as_str(),
        i64::from(port)
    );
    let held = row.one(tx).await?.int("n")? > 0;
    Ok(if held { Err(format!("port {port} is still being taken down on the gateway")) } else { Ok(port) })
}

/// Writes the gateway down. Every peer gets a revision of its own, so that they can be told in parts.
async fn take(tx: &mut Tx, inst: &mut Inst, gateway: GatewayId, port: u16, revision: i64) -> Stored<()> {
    inst.gateway = Some(gateway);
    inst.listen_port = Some(port);
    inst.revision = revision;
    inst.state = InstanceStatus::Deploying;
    inst.reason = None;
    inst.all_agents_changed(tx);
    q!(
        "UPDATE instance SET gateway = $2, listen_port = $3, revision = $4, state = $5, reason = NULL, agent_counter = $6, \
         agent_revision = $7 WHERE id = $1",
        inst.id.as_str(),
        inst.gateway.as_ref().map(|gateway| gateway.as_str().to_owned()),
        i64::from(port),
        revision,
        to_word(&inst.state)?,
        inst.agent_counter,
        inst.agent_revision
    )
    .run(tx)
    .await?;
    q!(
        "UPDATE peer SET revision = $1 + n.place FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS place FROM peer \
         WHERE instance = $2) AS n WHERE peer.id = n.id",
        revision,
        inst.id.as_str()
    )
    .run(tx)
    .await?;
    Ok(())
}
