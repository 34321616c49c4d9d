//! What every command that talks to a router does first: connect, read, and know where it stands.

use std::time::SystemTime;

use super::failure::Failure;
use super::report::{Event, Reporter, Step, Verdict};
use crate::domain::{InstanceName, Site, SiteId};
use crate::reconcile::names::{instance_in, is_called_after};
use crate::reconcile::observe::{Interest, Observed, observe};
use crate::reconcile::preflight::Session;
use crate::routeros::client::Client;
use crate::routeros::menu;
use crate::routeros::target::{Access, connect};

/// Connects and logs in, saying so.
///
/// # Errors
/// [`crate::routeros::target::ConnectError`], which has an exit code of its own.
pub async fn open(access: &Access, reporter: &Reporter) -> anyhow::Result<Client> {
    let client = connect(access).await?;
    reporter.tally(|tally| tally.round_trips.login = client.round_trips());
    let how = format!("logged in as {} at {}", access.url.user, client.peer_addr());
    reporter.event(&Event::Step { step: Step::Connect, detail: how });
    Ok(client)
}

/// Reads the router, saying what it is.
///
/// # Errors
/// [`crate::routeros::error::CallError`], which has an exit code of its own.
pub async fn read(client: &Client, interest: &Interest, reporter: &Reporter) -> anyhow::Result<Observed> {
    let before = client.round_trips();
    let observed = observe(client, interest).await?;
    reporter.tally(|tally| tally.round_trips.read += client.round_trips() - before);
    reporter.event(&Event::Step { step: Step::Read, detail: device(&observed) });
    Ok(observed)
}

/// The device in a line.
fn device(observed: &Observed) -> String {
    let resource = observed.singleton(&menu::RESOURCE);
    let said = |name| resource.and_then(|row| row.text(name)).unwrap_or_default().into_owned();
    let identity =
        observed.singleton(&menu::IDENTITY).and_then(|row| row.text("name")).unwrap_or_default().into_owned();
    format!("{identity}: {}, RouterOS {}, {}", said("board-name"), said("version"), said("architecture-name"))
}

/// Returns what is known of this session beside the router's rows.
pub async fn facts(client: &Client, access: &Access, site: Option<&Site>, writes: bool) -> Session {
    Session::of(client, &access.url.user, site, now(), writes).await
}

/// Seconds since 1970 by this host's clock.
#[must_use]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the site whose rows are on the router: the only one, or the one of an instance.
///
/// # Errors
/// A [`Failure`] if there is none (exit 3), or more than one (exit 2).
pub fn site_on(observed: &Observed, instance: Option<&InstanceName>) -> Result<SiteId, Failure> {
    let found: Vec<(SiteId, String)> =
        observed.sites().into_iter().map(|id| (id.clone(), instance_on(observed, &id).unwrap_or_default())).collect();
    let fits = |id: &SiteId| {
        let is_called = |instance| interface_on(observed, id).is_some_and(|name| is_called_after(&name, instance));
        instance.is_none_or(is_called)
    };
    let mut fitting = found.iter().filter(|(id, _)| fits(id));
    match (fitting.next(), fitting.next(), instance) {
        (Some((id, _)), None, _) => Ok(id.clone()),
        (None, _, None) => Err(Failure::new(Verdict::Pending, "no-site", "there is no row of sitepeer on this router")
            .hint("sitepeer provision makes them")),
        (None, _, Some(name)) => {
            Err(Failure::new(Verdict::Pending, "no-site", format!("instance {name} is not on this router"))
                .hint(format!("on it: {}", listed(&found))))
        }
        (Some(_), Some(_), _) => {
            Err(Failure::usage("several-sites", format!("this router serves several sites: {}", listed(&found)))
                .hint("say which: --instance NAME, or --site FILE where two have one name"))
        }
    }
}

fn listed(found: &[(SiteId, String)]) -> String {
    let each = found.iter().map(|(id, name)| if name.is_empty() { id.to_string() } else { format!("{name} ({id})") });
    let all: Vec<String> = each.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Returns the instance's name that a site's interface carries.
#[must_use]
pub fn instance_on(observed: &Observed, site: &SiteId) -> Option<String> {
    interface_on(observed, site).map(|name| instance_in(&name).to_owned())
}

/// What a site's interface is called.
fn interface_on(observed: &Observed, site: &SiteId) -> Option<String> {
    let is_interface = |row: &&crate::reconcile::entry::Entry| row.marker().is_some_and(|marker| marker.site == *site);
    let row = observed.rows(&menu::WIREGUARD).iter().find(is_interface)?;
    row.text("name").map(std::borrow::Cow::into_owned)
}
