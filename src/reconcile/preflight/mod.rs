//! What must hold before the first write: every finding is collected, none stops the search for the next.

mod device;
mod overlap;
mod path;
mod session;
mod taken;

pub use device::version;
pub use path::cuts_itself_off;
pub use session::Session;

use super::desired::DesiredRow;
use super::entry::Entry;
use super::observe::Observed;
use super::plan::OwnRow;
use crate::domain::Site;
use crate::routeros::menu::Menu;

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
    found.extend(taken::listen_ports(site, observed, own));
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
