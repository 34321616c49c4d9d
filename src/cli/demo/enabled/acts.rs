//! The acts of the demo. Each checks what it shows: what is not as it should be ends the demo with the exit code for it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::account::{self, Account, counted};
use super::command::{Ended, Heard, Prepared};
use super::stage::{Site, Stage, field, seen_by};
use crate::cli::failure::Failure;
use crate::cli::report::{Tally, Verdict};
use crate::domain::PublicKey;
use crate::sim::plane::{HubEnd, PingSummary};

/// Pings of each kind: enough to see that it is no accident.
const PINGS: u32 = 5;
/// Pings that are expected to be lost. Each lasts until its deadline, one second.
const LOST_PINGS: u32 = 1;
/// Longest wait for a handshake after the key was entered. A router tries every 5 s; `provision` itself waits longer.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at the hub: the precision of the handshake's time.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between two looks at the routers' keys while the demo stays up.
const TEND_EVERY: Duration = Duration::from_millis(500);

/// A router that was provisioned, and its key entered at the hub.
struct Provisioned {
    ended: Ended,
    key: PublicKey,
    /// From the key's entry at the hub to the handshake.
    handshake: Duration,
}

/// Gives both routers their tunnels.
pub(super) async fn provision(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    account.act("provision both over the API with TLS; the key each router tells is then entered at the hub");
    let [north, south] = &stage.sites;
    let (to_north, to_south) =
        futures_util::future::try_join(provision_one(north, &stage.hub), provision_one(south, &stage.hub)).await?;
    for (site, done) in stage.sites.iter().zip([to_north, to_south]) {
        let tally = done.ended.tally;
        let rows = changed(&done.ended);
        let detail = format!(
            "{} made in {}   handshake after {}",
            counted(rows, "row"),
            account::round_trips(&tally),
            account::duration(done.handshake)
        );
        let figures = json!({
            "rows": rows,
            "cost": account::cost(&tally),
            "handshake_ms": u64::try_from(done.handshake.as_millis()).unwrap_or(u64::MAX),
            "public_key": done.key.to_string(),
        });
        account.fact("provision", site.name, &detail, figures);
    }
    Ok(())
}

async fn provision_one(site: &Site, hub: &HubEnd) -> anyhow::Result<Provisioned> {
    let command = Prepared::of(&site.words("provision"))?;
    let entering = enter_at_hub(site, hub, command.heard());
    let (ended, entered) = futures_util::join!(command.carry_out(), entering);
    let ended = ended.with_context(|| format!("provision of {}", site.name))?;
    expect(&ended, Verdict::Converged, site, "provision")?;
    let (key, handshake) = entered
        .with_context(|| format!("the hub, for {}", site.name))?
        .ok_or_else(|| Failure::new(Verdict::Unproven, "demo-handshake", format!("{}: no handshake", site.name)))?;
    Ok(Provisioned { ended, key, handshake })
}

/// Plays the person at the hub: enters the router's key when `provision` tells it, and looks for the handshake.
async fn enter_at_hub(
    site: &Site,
    hub: &HubEnd,
    mut heard: watch::Receiver<Heard>,
) -> anyhow::Result<Option<(PublicKey, Duration)>> {
    let key = loop {
        if let Some(key) = heard.borrow_and_update().public_key {
            break key;
        }
        if heard.changed().await.is_err() {
            // The command ended before: why, it says itself.
            return Ok(None);
        }
    };
    hub.set_peer(site.hub_peer(key)).await?;
    site.key.set(Some(key));
    let entered = Instant::now();
    loop {
        let has_ended = heard.has_changed().is_err();
        if seen_by(hub, key).await?.is_some_and(|peer| peer.last_handshake.is_some()) {
            return Ok(Some((key, entered.elapsed())));
        }
        if has_ended || entered.elapsed() > HANDSHAKE_DEADLINE {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Pings from LAN to LAN, both ways.
pub(super) async fn ping(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    account.act("ping from LAN to LAN, through both tunnels and the hub");
    let [north, south] = &stage.sites;
    for (from, to) in [(north, south), (south, north)] {
        answered(from, to, account, "ping").await?;
    }
    for (site, peer) in stage.sites.iter().zip(traffic(stage).await?) {
        let (rx, tx) = peer;
        let detail = format!("so far {rx} B to the hub, {tx} B from it, by the hub's counters");
        account.fact("traffic", site.name, &detail, json!({"rx_bytes": rx, "tx_bytes": tx}));
    }
    Ok(())
}

/// Bytes that the hub received from each site, and sent to it.
async fn traffic(stage: &Stage) -> anyhow::Result<Vec<(u64, u64)>> {
    let peers = stage.hub.peers().await?;
    let of = |site: &Site| {
        let key = site.key.get().map(|key| *key.as_bytes());
        peers.iter().find(|peer| Some(peer.public_key) == key).map_or((0, 0), |peer| (peer.rx, peer.tx))
    };
    Ok(stage.sites.iter().map(of).collect())
}

/// Pings once more, and fails unless every ping is answered.
async fn answered(from: &Site, to: &Site, account: &Account<'_>, act: &'static str) -> anyhow::Result<()> {
    let summary = from.ping(to, PINGS).await;
    tell_ping(from, to, &summary, account, act);
    if summary.received == summary.sent && summary.sent > 0 {
        return Ok(());
    }
    let message = format!("ping {} -> {}: {}", from.host, to.host, account::pings(&summary));
    Err(Failure::new(Verdict::Unproven, "demo-ping", message).into())
}

fn tell_ping(from: &Site, to: &Site, summary: &PingSummary, account: &Account<'_>, act: &'static str) {
    let detail = format!("{} -> {}   {}", from.host, to.host, account::pings(summary));
    account.fact(act, "ping", &detail, account::ping_figures(from, to, summary));
}

/// Breaks something by hand, and lets it be found and healed.
pub(super) async fn drift(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    let [north, south] = &stage.sites;
    account.act(&format!("drift: somebody removes the route to {} on north", south.subnet));
    remove_route(north, south).await.context("removing the route by hand")?;
    let summary = north.ping(south, LOST_PINGS).await;
    tell_ping(north, south, &summary, account, "broken");
    if summary.received > 0 {
        return Err(Failure::internal("the ping is answered without its route").into());
    }
    find(north, account).await?;
    heal(north, account).await?;
    answered(north, south, account, "healed").await
}

/// Shows what `plan` finds: the one change that was made by hand.
async fn find(site: &Site, account: &Account<'_>) -> anyhow::Result<()> {
    let found = Prepared::of(&site.words("plan"))?.carry_out().await;
    let found = found.with_context(|| format!("plan of {}", site.name))?;
    expect(&found, Verdict::Pending, site, "plan")?;
    let heard = found.heard.borrow();
    let [change] = heard.changes.as_slice() else {
        return Err(Failure::internal(format!("plan finds {} changes instead of one", heard.changes.len())).into());
    };
    let told = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
    let (action, menu, marker) = (told("action"), told("menu"), told("marker"));
    let detail = format!("finds 1 change: {action} {menu} {marker} ({})", told("reason"));
    account.fact("drift", "plan", &detail, json!({"action": action, "menu": menu, "marker": marker}));
    Ok(())
}

/// Provisions again, which puts back what is missing.
async fn heal(site: &Site, account: &Account<'_>) -> anyhow::Result<()> {
    let healed = Prepared::of(&site.words("provision"))?.carry_out().await;
    let healed = healed.with_context(|| format!("provision of {}", site.name))?;
    expect(&healed, Verdict::Converged, site, "provision")?;
    let rows = changed(&healed);
    let detail = format!("{} put back in {}", counted(rows, "row"), account::round_trips(&healed.tally));
    account.fact("healed", site.name, &detail, json!({"rows": rows, "cost": account::cost(&healed.tally)}));
    Ok(())
}

/// How many rows a command changed, by its result.
fn changed(ended: &Ended) -> u64 {
    ended.outcome.details.get("changes").and_then(Value::as_u64).unwrap_or(0)
}

/// Removes the route to another site, as somebody at the router would.
async fn remove_route(site: &Site, to: &Site) -> anyhow::Result<()> {
    let subnet = to.subnet.to_string();
    let rows = site.operator("/ip/route/print", &[]).await?;
    let row = rows.iter().find(|row| field(row, "dst-address") == subnet.as_bytes());
    let id = field(row.with_context(|| format!("there is no route to {subnet}"))?, ".id");
    site.operator("/ip/route/remove", &[(".id", id)]).await?;
    Ok(())
}

/// Runs `provision` where nothing is to be done.
pub(super) async fn again(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    account.act("provision both once more: nothing to do");
    for site in &stage.sites {
        let ended = Prepared::of(&site.words("provision"))?.carry_out().await;
        let ended = ended.with_context(|| format!("second provision of {}", site.name))?;
        expect(&ended, Verdict::Converged, site, "second provision")?;
        let Tally { writes, round_trips } = ended.tally;
        let detail = format!(
            "{}, {} of reading; tunnel proven again",
            counted(writes, "write"),
            counted(round_trips.read, "round trip")
        );
        account.fact("again", site.name, &detail, json!({"cost": account::cost(&ended.tally)}));
        if (writes, round_trips.read) != (0, 1) {
            return Err(Failure::internal(format!("{}: a second run is not free: {detail}", site.name)).into());
        }
    }
    Ok(())
}

/// Takes everything out, and compares the routers with what they were.
pub(super) async fn remove(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    account.act("remove from both, and compare every row with how it was before");
    for site in &stage.sites {
        let ended = Prepared::of(&site.words("remove"))?.carry_out().await;
        let ended = ended.with_context(|| format!("remove from {}", site.name))?;
        expect(&ended, Verdict::Removed, site, "remove")?;
        let gone = changed(&ended);
        let (difference, rows) = site.difference();
        let compared = if difference.is_empty() { "as before" } else { "compared, NOT as before" };
        let detail = format!(
            "{} removed in {}   {} {compared}",
            counted(gone, "row"),
            account::round_trips(&ended.tally),
            counted(u64::try_from(rows).unwrap_or(u64::MAX), "row"),
        );
        let figures = json!({
            "rows": gone,
            "cost": account::cost(&ended.tally),
            "compared": rows,
            "difference": difference,
        });
        account.fact("remove", site.name, &detail, figures);
        if !difference.is_empty() {
            let message = format!("{} is not as it was: {}", site.name, difference.join("; "));
            return Err(Failure::new(Verdict::Failed, "demo-left-behind", message).into());
        }
    }
    Ok(())
}

/// Keeps the hub's keys those of the routers, while others may remove and provision them; ends on an error only.
pub(super) async fn tend(stage: &Stage, account: &Account<'_>) -> anyhow::Result<()> {
    loop {
        for site in &stage.sites {
            let known = site.key.get();
            let Some(key) = site.current_key().await? else { continue };
            if known == Some(key) {
                continue;
            }
            if let Some(old) = known {
                stage.hub.remove_peer(old.as_bytes()).await?;
            }
            stage.hub.set_peer(site.hub_peer(key)).await?;
            site.key.set(Some(key));
            let detail = format!("has a new key, now entered at the hub: {key}");
            account.fact("key", site.name, &detail, json!({"public_key": key.to_string()}));
        }
        tokio::time::sleep(TEND_EVERY).await;
    }
}

/// Fails unless a command ended as it should.
fn expect(ended: &Ended, verdict: Verdict, site: &Site, what: &str) -> Result<(), Failure> {
    if ended.outcome.verdict == verdict {
        return Ok(());
    }
    let said = ended.outcome.summary.join("; ");
    let got = match ended.outcome.verdict {
        // Success of the wrong kind is no success.
        wrong if wrong.exit() == crate::cli::exit::Exit::Converged => Verdict::Failed,
        wrong => wrong,
    };
    Err(Failure::new(got, "demo-command", format!("{what} of {}: {:?}: {said}", site.name, ended.outcome.verdict)))
}
