//! A closer look: the whole configuration at once, and pings beside the tunnel. Costs some thirty commands, so it is taken
//! only at the start, when told that something changed, and when something looks wrong.

use std::net::IpAddr;

use futures_util::future::try_join_all;

use super::finding::Seen;
use super::measured::Echo;
use super::probe::{Pings, ping};
use super::rows::{interface, judge};
use crate::domain::{Endpoint, Site};
use crate::reconcile::entry::Entry;
use crate::reconcile::heal::meant;
use crate::reconcile::observe::{Interest, Observed, ReadError, observe};
use crate::reconcile::preflight::Session;
use crate::routeros::client::Client;
use crate::routeros::error::CallError;
use crate::routeros::menu;

/// Pings to the hub's host and to the gateway, beside the tunnel.
const OUTSIDE_PINGS: u32 = 2;
/// Lengths of packets that are tried when those of the full length do not pass: what common links leave of 1500 bytes once
/// WireGuard's own 60 or 80 are off, down to what IPv6 needs.
pub const SIZES: [u16; 6] = [1440, 1412, 1400, 1380, 1340, 1280];

/// What a closer look saw.
#[derive(Clone, Debug, Default)]
pub struct Near {
    /// What speaks against the tunnel in the rows.
    pub rows: Vec<Seen>,
    /// The router's own public key.
    pub key: Option<String>,
    /// What our interface is called on the router, if it is there.
    pub interface: Option<String>,
    /// Rules of the router's own that drop UDP on its way to the hub, as they are printed.
    pub output_drop: Option<String>,
    /// The hub's host, pinged beside the tunnel: tells what its name stands for.
    pub hub_host: Option<Echo>,
    /// The default gateway.
    pub gateway: Option<Echo>,
    /// The router's clock less ours, in seconds.
    pub clock_offset: Option<i64>,
    /// The hub's endpoints, the one in use first; none if the rows could not be judged.
    pub endpoints: Vec<Endpoint>,
    /// Why the rows could not be judged.
    pub unread: Option<String>,
}

/// What a closer look looks at.
#[derive(Clone, Copy, Debug)]
pub struct Closely<'a> {
    /// The site, with the hub's endpoint in use first.
    pub site: &'a Site,
    /// The site as it is wanted.
    pub wanted: &'a Site,
    /// Who we are on the router.
    pub session: &'a Session,
    /// The default gateway, if it is known.
    pub gateway: Option<IpAddr>,
}

/// Looks closely.
///
/// # Errors
/// Any [`CallError`] but a refusal. Rows that cannot be judged are no error: [`Near::unread`] says why.
///
/// # Cancel safety
/// Nothing is written: the future can be dropped at any time.
pub async fn look_closely(client: &Client, what: Closely<'_>) -> Result<Near, CallError> {
    let interest = Interest::of(what.site);
    let host = what.site.endpoint().map(|endpoint| endpoint.host.to_string());
    let outside = Pings::small(OUTSIDE_PINGS);
    let hub_host = maybe(client, host, &outside);
    let gateway = maybe(client, what.gateway.map(|address| address.to_string()), &outside);
    let read = async { Ok::<_, CallError>(observe(client, &interest).await) };
    let (observed, hub_host, gateway) = futures_util::try_join!(read, hub_host, gateway)?;
    let mut near = Near { hub_host, gateway, ..Near::default() };
    match observed {
        Ok(observed) => near.judge(&observed, what, client.peer_addr().port()),
        Err(ReadError::Call { source, .. }) if source.refusal().is_none() => return Err(source),
        Err(error) => near.unread = Some(error.to_string()),
    }
    Ok(near)
}

impl Near {
    /// Puts in what a reading says.
    fn judge(&mut self, observed: &Observed, what: Closely<'_>, port: u16) {
        self.rows = judge(what.wanted, observed, what.session, port);
        self.endpoints.clone_from(&meant(what.wanted, observed).hub.endpoints);
        let interface = interface(what.site, observed);
        let said = |name: &str| interface.and_then(|row| row.text(name)).map(std::borrow::Cow::into_owned);
        (self.key, self.interface) = (said("public-key"), said("name"));
        self.output_drop = output_drop(what.site, observed);
        self.clock_offset = observed.clock().map(|clock| clock.saturating_sub(what.session.now));
    }
}

async fn maybe(client: &Client, to: Option<String>, how: &Pings) -> Result<Option<Echo>, CallError> {
    match to {
        Some(to) => Ok(Some(ping(client, &to, how).await?)),
        None => Ok(None),
    }
}

/// Tries packets of several lengths at once, the full one again among them: one that was lost by chance passes now.
/// Returns each length with whether one of it came back.
///
/// # Errors
/// Any [`CallError`] but a refusal.
pub async fn try_sizes(client: &Client, site: &Site, full: u16) -> Result<Vec<(u16, bool)>, CallError> {
    let Some(probe) = site.tunnel.probe.first() else { return Ok(Vec::new()) };
    let to = &probe.to_string();
    let lengths = std::iter::once(full).chain(SIZES.into_iter().filter(|size| *size < full));
    let tries = lengths.map(|size| async move {
        Ok::<_, CallError>((size, ping(client, to, &Pings::whole(OUTSIDE_PINGS, size)).await?))
    });
    let echoes = try_join_all(tries).await?;
    Ok(echoes
        .into_iter()
        .filter(|(_, echo)| echo.refused.is_none())
        .map(|(size, echo)| (size, echo.answered()))
        .collect())
}

/// The first enabled rule of chain output that drops UDP towards the hub, by what it says itself.
pub(super) fn output_drop(site: &Site, observed: &Observed) -> Option<String> {
    let port = site.endpoint()?.port.to_string();
    let drops = |row: &&Entry| {
        let is = |name: &str, value: &str| row.text(name).is_none_or(|have| have.is_empty() || have == value);
        row.get("chain") == Some(b"output")
            && !row.is_true("disabled")
            && matches!(row.get("action"), Some(b"drop" | b"reject"))
            && is("protocol", "udp")
            && is("dst-port", &port)
    };
    let rows = observed.rows(&menu::FILTER).iter().chain(observed.rows(&menu::FILTER6));
    let row = rows.into_iter().find(drops)?;
    let said: Vec<String> = ["chain", "action", "protocol", "dst-port", "dst-address", "comment"]
        .iter()
        .filter_map(|name| Some(format!("{name}={}", row.text(name).filter(|text| !text.is_empty())?)))
        .collect();
    Some(said.join(" "))
}
