//! From a reading to a decision: ownership, preflight, plan, and the limit on removals.

use super::desired::desired;
use super::observe::Observed;
use super::plan::{Ambiguity, Basis, Plan, own_rows, plan, plan_removal};
use super::preflight::{Finding, Session, Weight, cuts_itself_off, preflight};
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
    let decision = decide_guarded(site, observed, session, max_removals)?;
    refuse_own_cut(&site.id, decision, observed, session)
}

/// A plan that could cut off the session that makes it is for nobody who makes it without a guard.
fn refuse_own_cut(
    site: &SiteId,
    decision: Decision,
    observed: &Observed,
    session: &Session,
) -> Result<Decision, Refused> {
    let own = own_rows(site, &[], observed).map_err(Refused::Ambiguous)?;
    match cuts_itself_off(&decision.plan, &own, observed, session) {
        Some(finding) => {
            let mut findings = decision.warnings;
            findings.push(finding);
            Err(Refused::Preflight(findings))
        }
        None => Ok(decision),
    }
}

/// Decides as [`decide`] does for who carries the plan out by [`super::guard::apply_guarded`]: then it may touch what the session
/// itself runs over.
///
/// # Errors
/// [`Refused`]; then nothing may be written.
pub fn decide_guarded(
    site: &Site,
    observed: &Observed,
    session: &Session,
    max_removals: usize,
) -> Result<Decision, Refused> {
    let version = version(observed)?;
    let wanted = desired(site, observed);
    let own = own_rows(&site.id, &wanted, observed).map_err(Refused::Ambiguous)?;
    let findings = preflight(site, &wanted, observed, &own, session);
    let basis = basis(site, &version, observed, session);
    let plan = plan(basis, &wanted, observed).map_err(Refused::Ambiguous)?;
    if findings.iter().any(|finding| finding.weight == Weight::Refuse) {
        return Err(Refused::Preflight(findings));
    }
    let count = plan.removals();
    if count > max_removals {
        return Err(Refused::Removals { count, limit: max_removals });
    }
    Ok(Decision { plan, warnings: findings })
}

/// Decides whether anything is left to do after writing: what our own rows changed is no reason to refuse.
///
/// # Errors
/// [`Refused::Ambiguous`], or [`Refused::Preflight`] if the version cannot be read any more.
pub fn decide_settled(site: &Site, observed: &Observed, session: &Session) -> Result<Plan, Refused> {
    let version = version(observed)?;
    let wanted = desired(site, observed);
    plan(basis(site, &version, observed, session), &wanted, observed).map_err(Refused::Ambiguous)
}

pub(super) fn basis<'a>(
    site: &'a Site,
    version: &'a RouterOsVersion,
    observed: &Observed,
    session: &Session,
) -> Basis<'a> {
    Basis { site: &site.id, version, may_read_secrets: observed.may_read_secrets(&session.user) }
}

pub(super) fn version(observed: &Observed) -> Result<RouterOsVersion, Refused> {
    let findings = super::preflight::version(observed);
    match observed.version() {
        Some(version) if findings.iter().all(|finding| finding.weight == Weight::Warn) => Ok(version),
        _ => Err(Refused::Preflight(findings)),
    }
}

/// Decides what taking a site out means for what was read.
///
/// # Errors
/// [`Refused::Ambiguous`], or [`Refused::Preflight`] if it would cut off this very session.
pub fn decide_removal(site: &SiteId, observed: &Observed, session: &Session) -> Result<Decision, Refused> {
    let decision = decide_removal_guarded(site, observed)?;
    refuse_own_cut(site, decision, observed, session)
}

/// Decides as [`decide_removal`] does for who carries the plan out by [`super::guard::apply_guarded`].
///
/// # Errors
/// [`Refused::Ambiguous`].
pub fn decide_removal_guarded(site: &SiteId, observed: &Observed) -> Result<Decision, Refused> {
    let own = own_rows(site, &[], observed).map_err(Refused::Ambiguous)?;
    Ok(Decision { plan: plan_removal(&own), warnings: Vec::new() })
}
