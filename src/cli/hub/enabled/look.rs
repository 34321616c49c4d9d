//! `sitepeer hub gateway`, `hub audit` and `hub whoami`.

use super::api::{Api, Asked};
use super::instance::{json_of, listed};
use super::text::{Column, Sheet, Table, now, since, word};
use crate::api::{AuditEntry, Gateway, WhoAmI};
use crate::cli::args::hub::GatewayAction;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::uplink::encode;

/// Carries out `gateway …`.
pub(super) async fn gateways(api: &Api, action: GatewayAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        GatewayAction::List => list(api, reporter).await,
        GatewayAction::Remove(wanted, confirm) => {
            let found: Gateway = api.one_of("/v1/gateways", &wanted).await?;
            let question = format!(
                "Remove gateway {} ({}) for good? Its {} instances get new keys elsewhere: every peer has to follow.",
                found.name, found.id, found.instances
            );
            confirm.obtain(reporter, &question).await?;
            api.delete(&format!("/v1/gateways/{}", encode(found.id.as_str()))).await?;
            Ok(Outcome::new(Verdict::Done)
                .say(format!("removed gateway {} ({}); take its token back too", found.name, found.id))
                .detail("deleted", found.id.as_str()))
        }
    }
}

async fn list(api: &Api, reporter: &Reporter) -> Asked<Outcome> {
    let all: Vec<Gateway> = api.all("/v1/gateways", &[]).await?;
    let now = now();
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME", 8),
        Column::cut("REGION", 6),
        Column::cut("PUBLIC HOST", 11),
        Column::whole("BACKEND"),
        Column::whole("INST"),
        Column::whole("HEARD"),
        Column::whole("APPLIED"),
    ];
    let rows = all.iter().map(|gateway| {
        // Revisions are large numbers: only how it stands is of use.
        let applied = if gateway.applied_revision >= gateway.revision { "all" } else { "behind" };
        [
            gateway.id.to_string(),
            gateway.name.clone(),
            gateway.region.clone(),
            gateway.public_host.clone(),
            word(&gateway.backend),
            gateway.instances.to_string(),
            gateway.seen_at.map_or_else(|| "never".to_owned(), |at| since(at, now)),
            applied.to_owned(),
        ]
    });
    reporter.data(&Table::new(columns, rows).text());
    Ok(listed("gateways", "sitepeer hub --gateway, or sitepeer gateway on another host, is one", &all))
}

/// Carries out `audit`.
pub(super) async fn audit(api: &Api, limit: usize, reporter: &Reporter) -> Asked<Outcome> {
    let entries: Vec<AuditEntry> = api.some("/v1/audit", &[], limit).await?;
    let now = now();
    for entry in &entries {
        let what = format!("{} {}", entry.action, entry.object);
        let sheet = Sheet::default().line(&since(entry.at, now), what).line("", format!("by {}", entry.who));
        let sheet = changes(entry).into_iter().fold(sheet, |sheet, change| sheet.line("", change));
        reporter.data(sheet.text());
    }
    Ok(listed("entries", "nothing was changed yet", &entries))
}

/// The fields that differ, a line each.
fn changes(entry: &AuditEntry) -> Vec<String> {
    let (Some(before), Some(after)) = (&entry.before, &entry.after) else { return Vec::new() };
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return Vec::new() };
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let shown = |value: Option<&serde_json::Value>| value.map_or_else(|| "none".to_owned(), ToString::to_string);
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key}: {} -> {}", shown(before.get(key)), shown(after.get(key))))
        .collect()
}

/// Carries out `whoami`.
pub(super) async fn whoami(api: &Api, reporter: &Reporter) -> Asked<Outcome> {
    let me: WhoAmI = api.get("/v1/whoami").await?;
    let sheet = Sheet::default()
        .line("name", &me.name)
        .line("role", me.role.map(|role| word(&role)).unwrap_or_default())
        .line("account", me.account.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string))
        .line("hub", &api.url);
    reporter.data(sheet.text());
    Ok(Outcome::new(Verdict::Done).detail("whoami", json_of(&me)))
}
