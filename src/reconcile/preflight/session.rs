//! This session, as far as it matters to what may be written.

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::{Host, Site};
use crate::reconcile::observe::Observed;
use crate::routeros::client::Client;
use crate::routeros::menu;

/// Longest wait for this host's resolver: what it says only adds to a check, the router resolves for itself.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(2);

/// What is known of this session beside the router's rows.
#[derive(Clone, Debug)]
pub struct Session {
    /// The user logged in.
    pub user: String,
    /// The address we speak from, as this end sees it.
    pub local: IpAddr,
    /// What the hub's endpoint name stands for, as far as this host can tell; empty for a literal address.
    pub endpoint_addresses: Vec<IpAddr>,
    /// Seconds since 1970 by this host's clock.
    pub now: i64,
    /// Whether anything is to be written.
    pub writes: bool,
}

impl Session {
    /// Finds out what is known of a session that was just opened; `now` is in seconds since 1970.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn of(client: &Client, user: &str, site: Option<&Site>, now: i64, writes: bool) -> Self {
        let endpoint_addresses = match site {
            Some(site) => resolved(site).await,
            None => Vec::new(),
        };
        Self { user: user.to_owned(), local: client.local_addr().ip(), endpoint_addresses, now, writes }
    }

    /// Returns the addresses this session may come from, as the router sees it.
    ///
    /// Where our own address is among those that the router lists for our user, it is that one; behind a NAT it may be
    /// any of them.
    #[must_use]
    pub fn seen_from(&self, observed: &Observed) -> Vec<IpAddr> {
        let local = self.local.to_canonical();
        let of_user = observed.rows(&menu::USER_ACTIVE).iter().filter(|row| {
            row.get("name") == Some(self.user.as_bytes()) && row.get("via").is_some_and(|via| via.starts_with(b"api"))
        });
        let mut from: Vec<IpAddr> =
            of_user.filter_map(|row| row.parse::<IpAddr>("address")).map(|address| address.to_canonical()).collect();
        from.sort_unstable();
        from.dedup();
        if from.is_empty() || from.contains(&local) { vec![local] } else { from }
    }
}

/// What the hub's names stand for here; nothing where they do not resolve in time, which is the router's affair.
async fn resolved(site: &Site) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for endpoint in site.ends().flat_map(|end| &end.hub.endpoints) {
        if let Host::Name(name) = &endpoint.host {
            let looked_up = tokio::net::lookup_host((name.as_str(), endpoint.port));
            if let Ok(Ok(addresses)) = tokio::time::timeout(RESOLVE_DEADLINE, looked_up).await {
                found.extend(addresses.map(|address| address.ip()));
            } else {
                tracing::debug!(%name, "the hub's name does not resolve on this host");
            }
        }
    }
    found
}
