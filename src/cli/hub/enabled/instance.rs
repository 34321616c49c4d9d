//! `sitepeer hub instance`.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{Api, Asked};
use super::text::{Column, Sheet, Table, join, now, when, word};
use crate::api::{Instance, InstanceDevice, InstanceStatus, Policy, Readiness, StepState};
use crate::cli::args::hub::InstanceAction;
use crate::cli::failure::Failure;
use crate::cli::report::{Confirm, Outcome, Reporter, Verdict};
use crate::cli::show::bytes;
use crate::uplink::encode;

/// Carries out `instance …`.
pub(super) async fn run(api: &Api, action: InstanceAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        InstanceAction::Create { mut new, account, wait } => {
            new.account = api.owner(account).await?;
            let made: Instance = api.create("/v1/instances", &new).await?;
            reporter.note_for_people(&format!("made instance {} ({})", made.name, made.id));
            settled(api, made, wait, reporter).await
        }
        InstanceAction::List { search, status, account } => list(api, search, status, account, reporter).await,
        InstanceAction::Show(instance) => Ok(shown(&api.instance(&instance).await?, reporter)),
        InstanceAction::Edit { instance, mut edit, client_to_client, site_to_site } => {
            let found = api.instance(&instance).await?;
            // A policy goes as a whole: only over the version that it was read from.
            let mut version = None;
            if client_to_client.is_some() || site_to_site.is_some() {
                edit.policy = Some(Policy {
                    client_to_client: client_to_client.unwrap_or(found.policy.client_to_client),
                    site_to_site: site_to_site.unwrap_or(found.policy.site_to_site),
                });
                version = Some(found.version);
            }
            let edited: Instance = api.edit(&path(&found), version, &edit).await?;
            Ok(changed(&edited).say(format!("changed instance {} ({})", edited.name, edited.id)))
        }
        InstanceAction::Retry(instance, wait) => {
            let found = api.instance(&instance).await?;
            let tried: Instance = api.act(&format!("{}/retry", path(&found))).await?;
            reporter.note_for_people(&format!("instance {} ({}) is tried again", tried.name, tried.id));
            settled(api, tried, wait, reporter).await
        }
        InstanceAction::Resume(instance, wait) => {
            let found = api.instance(&instance).await?;
            let resumed: Instance = api.act(&format!("{}/resume", path(&found))).await?;
            reporter.note_for_people(&format!("instance {} ({}) is switched on", resumed.name, resumed.id));
            settled(api, resumed, wait, reporter).await
        }
        InstanceAction::Rotate(instance) => {
            let found = api.instance(&instance).await?;
            let rotating: Instance = api.act(&format!("{}/rotate", path(&found))).await?;
            let said = format!("instance {} ({}) gets another key; its sites follow", rotating.name, rotating.id);
            let look = format!("sitepeer hub instance show {} tells how far they are", rotating.id);
            Ok(changed(&rotating).say(said).say(look))
        }
        InstanceAction::Suspend(instance, confirm) => suspend(api, &instance, confirm, reporter).await,
        InstanceAction::Delete(instance, confirm) => delete(api, &instance, confirm, reporter).await,
    }
}

fn path(instance: &Instance) -> String {
    format!("/v1/instances/{}", encode(instance.id.as_str()))
}

async fn suspend(api: &Api, wanted: &str, confirm: Confirm, reporter: &Reporter) -> Asked<Outcome> {
    let found = api.instance(wanted).await?;
    let question =
        format!("Switch instance {} ({}) off? Its {} connected peers are cut.", found.name, found.id, found.connected);
    confirm.obtain(reporter, &question).await?;
    let suspended: Instance = api.act(&format!("{}/suspend", path(&found))).await?;
    let said = format!("instance {} ({}) is switched off; everything is kept", suspended.name, suspended.id);
    Ok(changed(&suspended).say(said))
}

async fn delete(api: &Api, wanted: &str, confirm: Confirm, reporter: &Reporter) -> Asked<Outcome> {
    let found = api.instance(wanted).await?;
    let question = format!(
        "Delete instance {} ({}) of {} with its keys and its peers ({})? There is no way back.",
        found.name, found.id, found.account_name, found.peers
    );
    confirm.obtain(reporter, &question).await?;
    api.delete(&path(&found)).await?;
    let said = format!("deleted instance {} ({})", found.name, found.id);
    Ok(Outcome::new(Verdict::Done).say(said).detail("deleted", found.id.as_str()))
}

async fn list(
    api: &Api,
    search: Option<String>,
    status: Option<InstanceStatus>,
    account: Option<String>,
    reporter: &Reporter,
) -> Asked<Outcome> {
    let mut query = Vec::new();
    if let Some(search) = search {
        query.push(("search", search));
    }
    if let Some(status) = status {
        query.push(("status", word(&status)));
    }
    if let Some(account) = account {
        query.push(("account", api.account(&account).await?.id.to_string()));
    }
    let all: Vec<Instance> = api.all("/v1/instances", &query).await?;
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME", 8),
        Column::cut("ACCOUNT", 7),
        Column::whole("STATUS"),
        Column::cut("REGION", 6),
        Column::cut("ENDPOINT", 12),
        Column::whole("PEERS"),
    ];
    let rows = all.iter().map(|instance| {
        [
            instance.id.to_string(),
            instance.name.to_string(),
            instance.account_name.clone(),
            word(&instance.status),
            instance.region.clone(),
            instance.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
            format!("{}/{}", instance.connected, instance.peers),
        ]
    });
    reporter.data(&Table::new(columns, rows).text());
    Ok(listed("instances", "sitepeer hub instance create NAME makes one", &all))
}

/// The outcome of a list. What to do where it is empty stands beside it.
pub(super) fn listed<T: serde::Serialize>(plural: &str, if_empty: &str, all: &[T]) -> Outcome {
    let outcome = Outcome::new(Verdict::Done).detail(plural, json!(all));
    if all.is_empty() { outcome.say(format!("no {plural}; {if_empty}")) } else { outcome }
}

/// The outcome of one instance, once it is what was waited for.
async fn settled(api: &Api, made: Instance, wait: Option<Duration>, reporter: &Reporter) -> Asked<Outcome> {
    let Some(patience) = wait else {
        let outcome = shown(&made, reporter);
        return Ok(match made.status {
            InstanceStatus::Deploying => {
                outcome.say(format!("it is {}: sitepeer hub instance show {} tells more", steps(&made), made.name))
            }
            _ => outcome,
        });
    };
    let done = |instance: &Instance| instance.status != InstanceStatus::Deploying;
    let instance: Instance = api.until(&path(&made), patience, done).await?;
    match instance.status {
        InstanceStatus::Active => Ok(shown(&instance, reporter)),
        InstanceStatus::Error => {
            let why = instance.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
            let message = format!("instance {} ({}) could not be served: {why}", instance.name, instance.id);
            Err(Failure::new(Verdict::Rejected, "instance-error", message).hint(format!(
                "mend it, or change it with sitepeer hub instance edit; then: sitepeer hub instance retry {} --wait",
                instance.id
            )))
        }
        InstanceStatus::Suspended => {
            let message = format!("instance {} ({}) was switched off meanwhile", instance.name, instance.id);
            Err(Failure::new(Verdict::Pending, "instance-suspended", message)
                .hint(format!("sitepeer hub instance resume {}", instance.id)))
        }
        InstanceStatus::Deploying => {
            let message = format!(
                "instance {} ({}) is not active after {} s: {}",
                instance.name,
                instance.id,
                patience.as_secs(),
                steps(&instance)
            );
            let hint = format!("it goes on by itself; sitepeer hub instance show {} tells how far it is", instance.id);
            Err(Failure::new(Verdict::Pending, "instance-deploying", message).hint(hint))
        }
    }
}

/// The first step that is not done.
fn steps(instance: &Instance) -> String {
    let open = instance.readiness.iter().find(|step| step.state != StepState::Done);
    open.map_or_else(|| word(&instance.status), |step| step.detail.clone())
}

/// The outcome of a change: people asked for it, and know what is there.
fn changed(instance: &Instance) -> Outcome {
    Outcome::new(Verdict::Done).detail("instance", json_of(instance))
}

fn shown(instance: &Instance, reporter: &Reporter) -> Outcome {
    reporter.data(sheet(instance).text());
    changed(instance)
}

/// An object of the API as it goes into the result.
pub(super) fn json_of(object: &impl serde::Serialize) -> Value {
    json!(object)
}

fn sheet(instance: &Instance) -> Sheet {
    let now = now();
    let status = match &instance.reason {
        Some(reason) => format!("{}: {reason}", word(&instance.status)),
        None => word(&instance.status),
    };
    let subnets = [Some(instance.tunnel_subnet), instance.tunnel_subnet6];
    let usage = &instance.usage;
    let sheet = Sheet::default()
        .line("instance", format!("{} ({})", instance.name, instance.id))
        .line("account", format!("{} ({})", instance.account_name, instance.account))
        .line("status", status);
    let sheet = instance.readiness.iter().fold(sheet, |sheet, step| sheet.line("", readiness(step)));
    let sheet = sheet
        .line("hostname", &instance.hostname)
        .line("region", &instance.region)
        .line_if("gateway", instance.gateway.as_ref().map(ToString::to_string))
        .line("endpoint", instance.endpoint.as_ref().map(ToString::to_string).unwrap_or_default())
        .line("public key", instance.public_key.map(|key| key.to_string()).unwrap_or_default())
        .line("listen port", instance.listen_port.map(|port| port.to_string()).unwrap_or_default())
        .line_if("rotating", instance.rotating_since.map(|at| format!("since {}", when(at, now))));
    let sheet = instance.devices.iter().fold(sheet, |sheet, device| {
        let key = device.public_key.map_or_else(|| "not made yet".to_owned(), |key| key.to_string());
        sheet.line("other key", key).line("", other(device))
    });
    sheet
        .line_if("new keys", instance.rotate_keys_days.map(|days| format!("of routers every {days} days")))
        .line("tunnel", join(subnets.into_iter().flatten()))
        .line("routes", join(instance.pushed_routes.iter()))
        .line("reach", join(instance.reach.iter()))
        .line("dns", join(&instance.dns))
        .line("search", join(&instance.search))
        .line("policy", policy(instance.policy))
        .line("peers", format!("{}, {} connected", instance.peers, instance.connected))
        .line(
            "traffic",
            format!("{} received, {} sent in {} (UTC)", bytes(usage.rx_bytes), bytes(usage.tx_bytes), usage.period),
        )
        .line("made", when(instance.created_at, now))
}

fn readiness(step: &Readiness) -> String {
    let detail = if step.detail.is_empty() { String::new() } else { format!(": {}", step.detail) };
    format!("{} {}{detail}", word(&step.step), word(&step.state))
}

/// A further device of the gateway.
fn other(device: &InstanceDevice) -> String {
    let (state, port, peers) = (word(&device.state), device.listen_port, device.peers);
    let trouble = device.error.as_ref().map(|error| format!(", could not: {error}")).unwrap_or_default();
    format!("{state}, port {port}, {peers} peers{trouble}")
}

fn policy(policy: Policy) -> String {
    let says = |allowed| if allowed { "reach each other" } else { "do not reach each other" };
    format!("sites {}, clients {}", says(policy.site_to_site), says(policy.client_to_client))
}
