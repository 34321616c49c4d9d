//! `sitepeer hub peer`.

use std::time::Duration;

use serde_json::json;

use super::api::{Api, Asked};
use super::instance::{json_of, listed};
use super::profile;
use super::text::{Column, Sheet, Table, age, join, now, rate, since, when, word};
use crate::api::{MoveStep, NewPeer, Peer, PeerKind, PeerMove, PeerStatus};
use crate::cli::args::hub::{PeerAction, PeerAdding, PeerEditing};
use crate::cli::failure::Failure;
use crate::cli::report::{Confirm, Outcome, Reporter, Verdict};
use crate::cli::show::bytes;
use crate::uplink::encode;

/// Longest wait for the next report of a gateway: two of the slowest.
const RATE_PATIENCE: Duration = Duration::from_mins(2);

/// Carries out `peer …`.
pub(super) async fn run(api: &Api, action: PeerAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        PeerAction::Add(instance, adding) => add(api, &instance, adding, reporter).await,
        PeerAction::List { instance, site, kind, status, search } => {
            let mut query = Vec::new();
            if let Some(instance) = instance {
                query.push(("instance", api.instance(&instance).await?.id.to_string()));
            }
            if let Some(site) = site {
                query.push(("site", api.site(&site).await?.id.to_string()));
            }
            query.extend(kind.map(|kind| ("kind", word(&kind))));
            query.extend(status.map(|status| ("status", word(&status))));
            query.extend(search.map(|search| ("search", search)));
            list(api, &query, reporter).await
        }
        PeerAction::Show(peer, false) => Ok(shown(&api.peer(&peer).await?, reporter)),
        PeerAction::Show(peer, true) => show_rate(api, &peer, reporter).await,
        PeerAction::Switch(peer, on) => {
            let found = api.peer(&peer).await?;
            let verb = if on { "enable" } else { "disable" };
            let switched: Peer = api.act(&format!("{}/{verb}", path(&found))).await?;
            let said = if on { "may connect again" } else { "is switched off; its configuration is kept" };
            Ok(changed(&switched).say(format!("peer {} {said}", called(&switched))))
        }
        PeerAction::Rotate(peer, cancel) => rotate(api, &peer, cancel).await,
        PeerAction::Edit(editing) => edit(api, *editing).await,
        PeerAction::Profile(peer, shape) => profile::run(api, &api.peer(&peer).await?, shape, reporter).await,
        PeerAction::Revoke(peer, confirm) => revoke(api, &peer, confirm, reporter).await,
        PeerAction::Remove(peer, confirm) => {
            let found = api.peer(&peer).await?;
            let question = format!("Delete peer {}? What is on its device stays there.", called(&found));
            confirm.obtain(reporter, &question).await?;
            api.delete(&path(&found)).await?;
            Ok(Outcome::new(Verdict::Done)
                .say(format!("deleted peer {}", called(&found)))
                .detail("deleted", found.id.as_str()))
        }
    }
}

/// How a peer is spoken of.
pub(super) fn called(peer: &Peer) -> String {
    format!("{}/{} ({})", peer.instance_name, peer.name, peer.id)
}

pub(super) fn path(peer: &Peer) -> String {
    format!("/v1/peers/{}", encode(peer.id.as_str()))
}

async fn add(api: &Api, instance: &str, adding: PeerAdding, reporter: &Reporter) -> Asked<Outcome> {
    let instance = api.instance(instance).await?;
    let new = match adding {
        PeerAdding::Other(new) => *new,
        PeerAdding::Site { site, details } => NewPeer::Site {
            site: api.site(&site).await?.id,
            name: details.name,
            protocol: details.protocol,
            subnets: details.subnets,
            reach: details.reach,
            address: details.address,
            keepalive_secs: details.keepalive_secs,
            allow_broad: details.allow_broad,
        },
    };
    let made: Peer = api.create(&format!("/v1/instances/{}/peers", encode(instance.id.as_str())), &new).await?;
    let next = match made.kind {
        PeerKind::Site => Some(format!("sitepeer hub enrollment create {} --out {}.token", made.id, made.id)),
        PeerKind::Client if made.public_key.is_none() => {
            Some(format!("sitepeer hub enrollment create {} --out {}.token, for sitepeer client-key", made.id, made.id))
        }
        PeerKind::Client => Some(format!("sitepeer hub peer profile {}", made.id)),
        PeerKind::Remote => None,
    };
    let outcome = shown(&made, reporter).say(format!("added peer {}", called(&made)));
    Ok(match next {
        Some(next) => outcome.say(format!("next: {next}")),
        None => outcome,
    })
}

async fn edit(api: &Api, editing: PeerEditing) -> Asked<Outcome> {
    let found = api.peer(&editing.peer).await?;
    let (mut edit, changes) = (editing.edit, editing.subnets);
    // What counts from what it is goes only over the version that it was read from.
    let mut version = None;
    if !changes.add.is_empty() || !changes.remove.is_empty() {
        let mut subnets: Vec<_> = found.subnets.iter().collect();
        if let Some(missing) = changes.remove.iter().find(|subnet| !subnets.contains(subnet)) {
            let message = format!("peer {} does not have {missing}", called(&found));
            return Err(Failure::usage("usage", message).hint(format!("it has {}", join(&subnets))));
        }
        subnets.retain(|subnet| !changes.remove.contains(subnet));
        subnets.extend(changes.add);
        edit.subnets = Some(subnets);
        version = Some(found.version);
    }
    let edited: Peer = api.edit(&path(&found), version, &edit).await?;
    Ok(changed(&edited).say(format!("changed peer {}", called(&edited))))
}

async fn rotate(api: &Api, peer: &str, cancel: bool) -> Asked<Outcome> {
    let found = api.peer(peer).await?;
    let place = format!("{}/rotate", path(&found));
    if cancel {
        api.delete(&place).await?;
        let said = format!("peer {} keeps the key that it has", called(&found));
        return Ok(Outcome::new(Verdict::Done).say(said).detail("deleted", found.id.as_str()));
    }
    let rotating: Peer = api.act(&place).await?;
    let said = format!("the router of peer {} gets a new key", called(&rotating));
    let look = format!("sitepeer hub peer show {} tells how far it is", rotating.id);
    Ok(changed(&rotating).say(said).say(look))
}

async fn revoke(api: &Api, peer: &str, confirm: Confirm, reporter: &Reporter) -> Asked<Outcome> {
    let found = api.peer(peer).await?;
    let question = format!("Take the credential of {}'s agent back? It has to be enrolled again.", called(&found));
    confirm.obtain(reporter, &question).await?;
    api.delete(&format!("{}/credential", path(&found))).await?;
    Ok(Outcome::new(Verdict::Done)
        .say(format!("the agent of peer {} is shut out; its tunnel goes on until the peer is disabled", called(&found)))
        .detail("deleted", found.id.as_str()))
}

async fn list(api: &Api, query: &[(&str, String)], reporter: &Reporter) -> Asked<Outcome> {
    let all: Vec<Peer> = api.all("/v1/peers", query).await?;
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME", 8),
        Column::cut("INSTANCE", 8),
        Column::whole("KIND"),
        Column::whole("STATUS"),
        Column::whole("HANDSHAKE"),
        Column::cut("SUBNETS", 12),
    ];
    let rows = all.iter().map(|peer| {
        let lies_behind = if peer.subnets.is_empty() { join(&peer.addresses) } else { join(peer.subnets.iter()) };
        [
            peer.id.to_string(),
            peer.name.clone(),
            peer.instance_name.clone(),
            word(&peer.kind),
            word(&peer.status),
            handshake(peer),
            lies_behind,
        ]
    });
    reporter.data(&Table::new(columns, rows).text());
    let connected = all.iter().filter(|peer| peer.status == PeerStatus::Connected).count();
    let outcome = listed("peers", "sitepeer hub peer add site|client|remote adds one", &all);
    let count = match all.len() {
        0 => return Ok(outcome),
        1 => "1 peer".to_owned(),
        more => format!("{more} peers"),
    };
    Ok(outcome.say(format!("{count}, {connected} connected")))
}

/// What was not measured is no age.
fn handshake(peer: &Peer) -> String {
    match (peer.status, peer.link.handshake_age_secs) {
        (PeerStatus::Unknown, _) => "unknown".to_owned(),
        (_, Some(secs)) => format!("{} ago", age(secs)),
        (_, None) => "never".to_owned(),
    }
}

/// Two reports of the gateway, and what passed between them.
async fn show_rate(api: &Api, peer: &str, reporter: &Reporter) -> Asked<Outcome> {
    let first = api.peer(peer).await?;
    let Some(began) = first.link.reported_at else {
        return Err(Failure::new(Verdict::Pending, "no-report", format!("no gateway reports peer {}", called(&first)))
            .hint(format!("sitepeer hub instance show {} tells whether it is served", first.instance)));
    };
    reporter
        .note_for_people("waiting for the gateway's next report: of a peer without traffic it takes up to a minute");
    let second: Peer =
        api.until(&path(&first), RATE_PATIENCE, |peer: &Peer| peer.link.reported_at > Some(began)).await?;
    let outcome = shown(&second, reporter);
    let secs = second.link.reported_at.map_or(0, |at| at.saturating_sub(began)).unsigned_abs();
    if secs == 0 {
        let message = format!("the gateway did not report again within {} s", RATE_PATIENCE.as_secs());
        return Err(Failure::new(Verdict::Pending, "no-report", message));
    }
    let received = second.link.rx_bytes.saturating_sub(first.link.rx_bytes);
    let sent = second.link.tx_bytes.saturating_sub(first.link.tx_bytes);
    let text = format!("{} received, {} sent, over {secs} s", rate(received, secs), rate(sent, secs));
    reporter.data(Sheet::default().line("rate", text).text());
    Ok(outcome.detail("rate", json!({"rx_bytes": received, "tx_bytes": sent, "secs": secs})))
}

/// The outcome of a change: people asked for it, and know what is there.
fn changed(peer: &Peer) -> Outcome {
    Outcome::new(Verdict::Done).detail("peer", json_of(peer))
}

fn shown(peer: &Peer, reporter: &Reporter) -> Outcome {
    reporter.data(sheet(peer).text());
    changed(peer)
}

fn sheet(peer: &Peer) -> Sheet {
    let (now, link) = (now(), &peer.link);
    let reach = peer.reach.as_ref().map(|reach| join(reach.iter()));
    let sheet = Sheet::default()
        .line("peer", called(peer))
        .line("kind", format!("{}, {}", word(&peer.kind), word(&peer.protocol)))
        .line("status", word(&peer.status))
        .line_if("site", peer.site.as_ref().map(ToString::to_string))
        .line_if("user", peer.user.as_deref())
        .line("address", join(&peer.addresses))
        .line("public key", peer.public_key.map(|key| key.to_string()).unwrap_or_default())
        .line_if("", peer.key_at.map(|at| format!("since {}", when(at, now))))
        .line_if("next key", peer.next.as_ref().map(|next| next_key(next, now)));
    let sheet = match peer.kind {
        PeerKind::Client => sheet
            .line("routes", if peer.route_all { "everything" } else { "what the instance reaches" })
            .line("dns", peer.dns.as_ref().map_or_else(|| "the instance's".to_owned(), join)),
        PeerKind::Site => sheet
            .line("advertises", join(peer.subnets.iter()))
            .line("reaches", reach.unwrap_or_else(|| "what the instance offers to all".to_owned())),
        PeerKind::Remote => sheet
            .line("subnets", join(peer.subnets.iter()))
            .line("called at", peer.remote_endpoint.as_ref().map(ToString::to_string).unwrap_or_default()),
    };
    let keys = if peer.preshared_key { "a preshared key is set" } else { "no preshared key" };
    sheet
        .line("keepalive", format!("{} s, {keys}", peer.keepalive_secs))
        .line("handshake", link.handshake_at.map_or_else(|| handshake(peer), |at| when(at, now)))
        .line_if("connected", link.connected_since.map(|at| format!("since {}", when(at, now))))
        .line_if("heard at", link.endpoint.map(|endpoint| endpoint.to_string()))
        .line("traffic", format!("{} received, {} sent, ever", bytes(link.rx_bytes), bytes(link.tx_bytes)))
        .line(
            "",
            format!(
                "{} received, {} sent in {} (UTC)",
                bytes(peer.usage.rx_bytes),
                bytes(peer.usage.tx_bytes),
                peer.usage.period
            ),
        )
        .line("gateway", applied(link.gateway_revision, link.gateway_wanted, link.gateway_error.as_deref()))
        .line_if("", link.reported_at.map(|at| format!("reported {}", since(at, now))))
        .line_if("router", (peer.kind == PeerKind::Site).then(|| applied(link.router_revision, link.revision, None)))
        .line_if("agent says", link.agent_says.as_ref().map(|says| agent(says, link.agent_at, now)))
        .line("made", when(peer.created_at, now))
}

/// What is to take over, and what it waits for.
fn next_key(next: &PeerMove, now: i64) -> String {
    let waits = match next.step {
        MoveStep::Device => "waits for the gateway to make its end",
        MoveStep::Router => "waits for the router to make its end",
        MoveStep::Proof => "both ends are there; waits for the router to prove and use it",
        MoveStep::Grace => "in use; the old one stays a while",
    };
    format!("tunnel {} {waits}, {}", next.generation, since(next.step_at, now))
}

fn agent(says: &str, at: Option<i64>, now: i64) -> String {
    at.map_or_else(|| says.to_owned(), |at| format!("{says}, {}", since(at, now)))
}

/// Whether what is wanted is there.
fn applied(has: Option<i64>, wanted: i64, error: Option<&str>) -> String {
    match (has, error) {
        (_, Some(error)) => format!("could not: {error}"),
        (None, _) => "has nothing yet".to_owned(),
        (Some(has), _) if has >= wanted => "has all of it".to_owned(),
        (Some(_), _) => "has an older version".to_owned(),
    }
}
