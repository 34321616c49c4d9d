//! From a reading to a decision: ownership, preflight, plan, and the limit on removals.

use super::desired::desired;
use super::observe::Observed;
use super::plan::{Ambiguity, Basis, Plan, own_rows, plan, plan_removal};
use super::preflight::{Finding, Session, Weight, preflight};
use crate::domain::{RouterOsVersion, Site, SiteId};

/// What is to be done, and what a person should know of it.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The changes.
    pub plan: Plan,
    /// What speaks against it, but not enough to refuse.
    pub warnings: Vec<Finding>,
}

/// Why nothing may be written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// It is not certain which rows are ours.
    #[error("it is not certain which rows are ours")]
    Ambiguous(Vec<Ambiguity>),
    /// The preflight speaks against it; all findings, warnings too.
    #[error("the preflight refuses")]
    Preflight(Vec<Finding>),
    /// More removals than allowed.
    #[error("the plan removes {count} rows, and the limit is {limit}")]
    Removals {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// Decides what provisioning a site means for what was read.
///
/// # Errors
/// [`Refused`]; then nothing may be written.
pub fn decide(site: &Site, observed: &Observed, session: &Session, max_removals: usize) -> Result<Decision, Refused> {
    let unready = super::preflight::version(observed);
    if unready.iter().any(|finding| finding.weight == Weight::Refuse) {
        return Err(Refused::Preflight(unready));
    }
    let wanted = desired(site, observed);
    let own = own_rows(&site.id, &wanted, observed).map_err(Refused::Ambiguous)?;
    let findings = preflight(site, observed, &own, session);
    if findings.iter().any(|finding| finding.weight == Weight::Refuse) {
        return Err(Refused::Preflight(findings));
    }
    let version = observed.version().unwrap_or(RouterOsVersion::new(7, 12, 0));
    let may_read_secrets = observed.may_read_secrets(&session.user);
    let basis = Basis { site: &site.id, version: &version, may_read_secrets };
    let plan = plan(basis, &wanted, observed).map_err(Refused::Ambiguous)?;
    let count = plan.removals();
    if count > max_removals {
        return Err(Refused::Removals { count, limit: max_removals });
    }
    Ok(Decision { plan, warnings: findings })
}

/// Decides what taking a site out means for what was read.
///
/// # Errors
/// [`Refused::Ambiguous`].
pub fn decide_removal(site: &SiteId, observed: &Observed) -> Result<Decision, Refused> {
    let plan = plan_removal(site, observed).map_err(Refused::Ambiguous)?;
    Ok(Decision { plan, warnings: Vec::new() })
}
