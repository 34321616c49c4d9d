//! The acts of the demo. Each checks what it shows: what is not as it should be ends the demo with the exit code for it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::account::{self, Account, counted};
use super::command::{Ended, Prepared};
use super::stage::{Site, Stage, field};
use crate::cli::failure::Failure;
use crate::cli::report::{Tally, Verdict};
use crate::sim::plane::PingSummary;

/// Pings of each kind: enough to see that it is no accident.
const PINGS: u32 = 5;
/// Pings that are expected to be lost. Each lasts until its deadline, one second.
const LOST_PINGS: u32 = 1;
/// Longest wait until pings show what was switched: a session that has to be made anew.
const SWITCH_DEADLINE: Duration = Duration::from_secs(30);
/// Between two pings that wait for that.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Gives both routers their tunnels.
pub(super) async fn provision(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    account.act("provision both over the API with TLS: each enrols with its token, and tells the hub its key");
    let [north, south] = &stage.sites;
    let both = futures_util::future::try_join(provision_one(north), provision_one(south)).await?;
    for (site, ended) in stage.sites.iter().zip([both.0, both.1]) {
        let details = &ended.outcome.details;
        let waited_ms = details.get("proof").and_then(|proof| proof["waited_ms"].as_u64()).unwrap_or_default();
        let rows = changed(&ended);
        let detail = format!(
            "{} made in {}   proven after {}",
            counted(rows, "row"),
            account::round_trips(&ended.tally),
            account::duration(Duration::from_millis(waited_ms))
        );
        let figures = json!({
            "rows": rows,
            "cost": account::cost(&ended.tally),
            "waited_ms": waited_ms,
            "public_key": details.get("public_key"),
        });
        account.fact("provision", site.name, &detail, figures);
    }
    Ok(())
}

async fn provision_one(site: &Site) -> anyhow::Result<Ended> {
    let ended = Prepared::of(&site.words("provision"))?.carry_out().await;
    let ended = ended.with_context(|| format!("provision of {}", site.name))?;
    expect(&ended, Verdict::Converged, site, "provision")?;
    Ok(ended)
}

/// Pings from LAN to LAN, both ways.
pub(super) async fn ping(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    account.act("ping from LAN to LAN, through both tunnels and the gateway");
    let [north, south] = &stage.sites;
    for (from, to) in [(north, south), (south, north)] {
        answered(from, to, account, "ping").await?;
    }
    for site in &stage.sites {
        let (rx, tx) = stage.hub.traffic(&site.peer).await?;
        let detail = format!("so far {rx} B to the gateway, {tx} B from it, as it told the hub");
        account.fact("traffic", site.name, &detail, json!({"rx_bytes": rx, "tx_bytes": tx}));
    }
    Ok(())
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

/// Switches a peer off at the hub and on again, and shows both by pings.
pub(super) async fn switch(stage: &Stage, account: &mut Account<'_>) -> anyhow::Result<()> {
    let [north, south] = &stage.sites;
    account.act("at the hub: south is switched off, and on again");
    stage.hub.switch(&south.peer, false).await?;
    let off = pinged_until(north, south, |summary| summary.received == 0).await?;
    tell_ping(north, south, &off, account, "off");
    stage.hub.switch(&south.peer, true).await?;
    // WireGuard notices by itself that its session is gone, within 15 s of silence; nobody wants to watch that.
    reconnect(south).await.context("connecting again by hand")?;
    account.fact("on", south.name, "on again; told to connect at once, which it does by itself within 15 s", json!({}));
    let on = pinged_until(south, north, |summary| summary.received > 0).await?;
    tell_ping(south, north, &on, account, "on");
    Ok(())
}

/// Pings once and again until it is as it should be.
async fn pinged_until(from: &Site, to: &Site, wanted: impl Fn(&PingSummary) -> bool) -> anyhow::Result<PingSummary> {
    let begun = Instant::now();
    loop {
        let summary = from.ping(to, 1).await;
        if wanted(&summary) {
            return Ok(summary);
        }
        if begun.elapsed() > SWITCH_DEADLINE {
            let message = format!("ping {} -> {} stays: {}", from.host, to.host, account::pings(&summary));
            return Err(Failure::new(Verdict::Unproven, "demo-ping", message).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets a router begin a new session, as somebody at its console would.
async fn reconnect(site: &Site) -> anyhow::Result<()> {
    let rows = site.operator("/interface/wireguard/peers/print", &[]).await?;
    let marker = format!("sitepeer:{}:", site.peer);
    let row = rows.iter().find(|row| field(row, "comment").starts_with(marker.as_bytes()));
    let id = field(row.context("there is no peer")?, ".id");
    for disabled in [b"yes".as_slice(), b"no"] {
        site.operator("/interface/wireguard/peers/set", &[(".id", id), ("disabled", disabled)]).await?;
    }
    Ok(())
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
