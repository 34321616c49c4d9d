//! `sitepeer hub site`.

use super::api::{Api, Asked};
use super::instance::{json_of, listed};
use super::site_health;
use super::text::{Column, Sheet, Table, age, join, now, since, when};
use crate::api::{NewSite, ProxyAssignment, Site, SiteEdit, SiteLease, SiteSubnets};
use crate::cli::args::hub::SiteAction;
use crate::cli::report::{Outcome, Reporter, Verdict};
use crate::uplink::encode;

/// Carries out `site …`.
pub(super) async fn run(api: &Api, action: SiteAction, reporter: &Reporter) -> Asked<Outcome> {
    match action {
        SiteAction::Create { name, account } => {
            let account = api.owner(account).await?;
            let made: Site = api.create("/v1/sites", &NewSite { name, account }).await?;
            Ok(changed(&made).say(format!("made site {} ({})", made.name, made.id)))
        }
        SiteAction::List(search) => list(api, search, reporter).await,
        SiteAction::Show(site) => Ok(shown(&api.site(&site).await?, reporter)),
        SiteAction::Rename { site, name } => {
            let found = api.site(&site).await?;
            let edited: Site = api.edit(&path(&found), None, &SiteEdit { name: Some(name) }).await?;
            Ok(changed(&edited).say(format!("site {} is now called {}", edited.id, edited.name)))
        }
        SiteAction::Subnets(site) => subnets(api, &site, reporter).await,
        SiteAction::Health(site, month) => site_health::health(api, &site, month, reporter).await,
        SiteAction::Transitions(site, limit) => site_health::transitions(api, &site, limit, reporter).await,
        SiteAction::Events(site, limit) => site_health::events(api, &site, limit, reporter).await,
        SiteAction::Freeze(site, freeze) => site_health::freeze(api, &site, freeze).await,
        SiteAction::Assign(site, assignment) => assign(api, &site, assignment).await,
        SiteAction::Remove(site, confirm) => {
            let found = api.site(&site).await?;
            confirm.obtain(reporter, &format!("Delete site {} ({})?", found.name, found.id)).await?;
            api.delete(&path(&found)).await?;
            let said = format!("deleted site {} ({})", found.name, found.id);
            Ok(Outcome::new(Verdict::Done).say(said).detail("deleted", found.id.as_str()))
        }
    }
}

async fn assign(api: &Api, site: &str, assignment: Option<ProxyAssignment>) -> Asked<Outcome> {
    let found = api.site(site).await?;
    let path = format!("{}/proxy", path(&found));
    let Some(assignment) = assignment else {
        api.delete(&path).await?;
        let said = format!("no proxy drives site {} ({}) any more", found.name, found.id);
        return Ok(Outcome::new(Verdict::Done).say(said).detail("deleted", found.id.as_str()));
    };
    let assigned: Site = api.act_with(&path, &assignment).await?;
    let said = format!("site {} ({}) is driven by the proxies of group {}", found.name, found.id, assignment.group);
    Ok(changed(&assigned).say(said))
}

pub(super) fn path(site: &Site) -> String {
    format!("/v1/sites/{}", encode(site.id.as_str()))
}

async fn list(api: &Api, search: Option<String>, reporter: &Reporter) -> Asked<Outcome> {
    let query: Vec<_> = search.into_iter().map(|search| ("search", search)).collect();
    let all: Vec<Site> = api.all("/v1/sites", &query).await?;
    let now = now();
    let columns = [
        Column::whole("ID"),
        Column::cut("NAME", 8),
        Column::cut("BOARD", 8),
        Column::cut("VERSION", 7),
        Column::cut("SERIAL", 8),
        Column::whole("HEARD"),
    ];
    let rows = all.iter().map(|site| {
        let device = site.device.clone().unwrap_or_default();
        // Two routers of one number: somebody should look.
        let doubt = if site.same_serial.is_empty() { "" } else { " (!)" };
        [
            site.id.to_string(),
            site.name.clone(),
            device.board.unwrap_or_default(),
            device.version.unwrap_or_default(),
            device.serial.map(|serial| serial + doubt).unwrap_or_default(),
            site.device_at.map(|at| since(at, now)).unwrap_or_default(),
        ]
    });
    reporter.data(&Table::new(columns, rows).text());
    Ok(listed("sites", "sitepeer hub site create NAME makes one", &all))
}

/// The outcome of a change: people asked for it, and know what is there.
pub(super) fn changed(site: &Site) -> Outcome {
    Outcome::new(Verdict::Done).detail("site", json_of(site))
}

fn shown(site: &Site, reporter: &Reporter) -> Outcome {
    reporter.data(sheet(site).text());
    changed(site)
}

fn sheet(site: &Site) -> Sheet {
    let now = now();
    let sheet = Sheet::default()
        .line("site", format!("{} ({})", site.name, site.id))
        .line("account", site.account.to_string())
        .line("made", when(site.created_at, now))
        .line_if("frozen", site.frozen.as_ref().map(|freeze| site_health::frozen(freeze, now)));
    let sheet = sheet
        .line_if("proxy", site.proxy.as_ref().map(|proxy| format!("group {}, router at {}", proxy.group, proxy.url)));
    let sheet = sheet.line_if("driven by", site.lease.as_ref().map(|lease| driver(lease, now)));
    let Some(device) = &site.device else {
        return sheet.line("router", "not heard of yet");
    };
    let words = [device.board.as_deref(), device.version.as_deref()];
    sheet
        .line("router", words.into_iter().flatten().collect::<Vec<_>>().join(", RouterOS "))
        .line_if("identity", device.identity.as_deref())
        .line_if("serial", device.serial.as_deref())
        .line_if("same serial", (!site.same_serial.is_empty()).then(|| join(&site.same_serial)))
        .line_if("up for", device.uptime_secs.map(age))
        .line("networks", join(device.subnets.iter().map(|found| format!("{} on {}", found.subnet, found.interface))))
        .line_if("heard", site.device_at.map(|at| when(at, now)))
}

/// Who drives a router; leases are renewed every few seconds, so what counts is whether this one was.
fn driver(lease: &SiteLease, now: i64) -> String {
    let (proxy, number) = (&lease.proxy, lease.number);
    if lease.until > now {
        return format!("proxy {proxy}, lease {number}");
    }
    format!("nobody the hub hears of; last by proxy {proxy}, lease {number}, which ended {}", when(lease.until, now))
}

async fn subnets(api: &Api, wanted: &str, reporter: &Reporter) -> Asked<Outcome> {
    let site = api.site(wanted).await?;
    let found: SiteSubnets = api.get(&format!("{}/subnets", path(&site))).await?;
    let columns = [Column::whole("SUBNET"), Column::cut("INTERFACE", 9), Column::cut("ADVERTISED BY", 13)];
    let rows = found
        .subnets
        .iter()
        .map(|subnet| [subnet.subnet.to_string(), subnet.interface.clone(), join(&subnet.advertised_by)]);
    reporter.data(&Table::new(columns, rows).text());
    let heard = found.at.map_or_else(
        || "its agent has not said anything yet".to_owned(),
        |at| format!("as its agent said {}", since(at, now())),
    );
    Ok(Outcome::new(Verdict::Done).say(heard).detail("subnets", json_of(&found)))
}
