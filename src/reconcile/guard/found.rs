//! A guard that a reading shows.

use crate::domain::{Marker, Role, SiteId};
use crate::reconcile::entry::Entry;
use crate::reconcile::observe::Observed;
use crate::routeros::menu;

/// A guard on a router: armed by a run that is at work, or left over by one that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose.
    pub site: SiteId,
    /// Ids of its entries in the scheduler.
    pub(in crate::reconcile) timers: Vec<Vec<u8>>,
    /// Ids of its scripts.
    pub(in crate::reconcile) scripts: Vec<Vec<u8>>,
    /// Whether the router will run it by itself.
    pub armed: bool,
}

impl Found {
    /// Says what it is and what becomes of it, in a sentence.
    #[must_use]
    pub fn explain(&self) -> String {
        let site = &self.site;
        if self.armed {
            format!(
                "a guard of site {site} is armed: unless the run that made it confirms its changes, the router puts itself back as it was before them, within {} s or when it starts",
                super::FUSE.as_secs()
            )
        } else {
            format!(
                "a guard of site {site} is left over and will never run; the next guarded run, or remove, takes it out"
            )
        }
    }
}

/// Returns the guard that is in the way of a change: the one that is armed, if any is.
#[must_use]
pub fn armed(observed: &Observed) -> Option<Found> {
    first(observed, &|found| found.armed)
}

/// Returns the guard of a site.
#[must_use]
pub fn guard_of(observed: &Observed, site: &SiteId) -> Option<Found> {
    first(observed, &|found| found.site == *site)
}

#[inline(never)]
fn first(observed: &Observed, is_it: &dyn Fn(&Found) -> bool) -> Option<Found> {
    let mut all = guards(observed);
    all.retain(|found| is_it(found));
    all.truncate(1);
    all.pop()
}

/// Returns the guards that a reading shows, one for each site; those that are armed before those that are left over.
#[must_use]
pub fn guards(observed: &Observed) -> Vec<Found> {
    let of_menu = |menu| observed.rows(menu).iter().filter_map(|row: &Entry| Some((site_of(row)?, row)));
    let (timers, scripts): (Vec<_>, Vec<_>) = (of_menu(&menu::SCHEDULER).collect(), of_menu(&menu::SCRIPT).collect());
    let mut sites: Vec<&SiteId> = timers.iter().chain(&scripts).map(|(site, _)| site).collect();
    sites.sort_unstable();
    sites.dedup();
    let all = sites.into_iter().map(|site| {
        let of_site = |rows: &[(SiteId, &Entry)]| {
            rows.iter().filter(|(of, _)| of == site).map(|(_, row)| row.id().to_vec()).collect::<Vec<_>>()
        };
        let runs = timers.iter().any(|(of, row)| of == site && is_active(row));
        let (timers, scripts) = (of_site(&timers), of_site(&scripts));
        Found { site: site.clone(), armed: runs && !scripts.is_empty(), timers, scripts }
    });
    let mut all: Vec<Found> = all.collect();
    all.sort_by_key(|found| !found.armed);
    all
}

fn site_of(row: &Entry) -> Option<SiteId> {
    let marker = Marker::of_comment(row.get("comment")?)?;
    (marker.role == Role::Guard).then_some(marker.site)
}

/// *Source*: ";;; inactivated, not allowed by device-mode" of the manual; that the API says it in `.about` is inferred.
fn is_active(timer: &Entry) -> bool {
    !timer.is_true("disabled") && timer.get(".about").is_none_or(<[u8]>::is_empty)
}
