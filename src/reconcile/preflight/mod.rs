//! What must hold before the first write: every finding is collected, none stops the search for the next.

mod device;
mod overlap;
mod path;
mod taken;

pub use device::version;
pub use path::cuts_itself_off;

use std::net::IpAddr;

use super::desired::DesiredRow;
use super::entry::Entry;
use super::observe::Observed;
use super::plan::OwnRow;
use crate::domain::Site;
use crate::routeros::menu::{self, Menu};

/// Something that speaks against a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable word for machines.
    pub code: &'static str,
    /// Whether it stops the run.
    pub weight: Weight,
    /// What is the matter, naming the thing and the place.
    pub message: String,
    /// The way out.
    pub hint: &'static str,
}

/// Whether a finding stops the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing may be written.
    Refuse,
    /// A person should know.
    Warn,
}

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

fn refuse(code: &'static str, message: String, hint: &'static str) -> Finding {
    Finding { code, weight: Weight::Refuse, message, hint }
}

fn warn(code: &'static str, message: String, hint: &'static str) -> Finding {
    Finding { code, weight: Weight::Warn, message, hint }
}

/// Returns all that speaks against provisioning this site on this router, in the order of importance.
#[must_use]
pub fn preflight(
    site: &Site,
    desired: &[DesiredRow],
    observed: &Observed,
    own: &[OwnRow<'_>],
    session: &Session,
) -> Vec<Finding> {
    let mut found = version(observed);
    found.extend(device::policies(observed, session));
    found.extend(device::unreadable(desired, observed));
    found.extend(device::routing_table(site, observed));
    found.extend(taken::names(site, observed, own));
    found.extend(taken::unmarked(desired, observed, own));
    found.extend(taken::listen_port(site, observed, own));
    found.extend(overlap::advertised(site, observed, own));
    found.extend(overlap::reached(site, observed, own));
    found.extend(path::own_path(site, observed, own, session));
    found.extend(device::clock(observed, session));
    found.extend(taken::same_hub(site, observed, own));
    found.extend(device::policy_routing(observed));
    found
}

fn is_own(own: &[OwnRow<'_>], menu: &Menu, row: &Entry) -> bool {
    own.iter().any(|mine| mine.menu == menu && mine.entry.id() == row.id())
}
