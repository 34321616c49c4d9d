//! `/v1/sites/{id}/…`: how a site is, how it was, and freezes.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::account::ListParams;
use super::reply;
use crate::api::{HealthHour, NewFreeze, Page, Site, SiteEvent, SiteHealth, SiteId, Transition};
use crate::hub::auth::{Operator, Viewer};
use crate::hub::problem::Answer;
use crate::hub::request::{Body, Id, Params, paging};
use crate::hub::state::Context;

/// Of which month.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct HealthParams {
    /// The month whose availability is told, such as `2026-11`, UTC; this one if it is missing.
    #[param(pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$")]
    month: Option<String>,
}

/// How a site is: the gateway's view and the agent's, what both come to, and how available it was.
#[utoipa::path(get, path = "/v1/sites/{id}/health", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$"), HealthParams),
    responses((status = 200, description = "Both ends, joined", body = SiteHealth)))]
pub(in crate::hub) async fn health(
    caller: Viewer,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    Params(params): Params<HealthParams>,
) -> Answer {
    reply::ok(&hub.store.site_health(&caller.actor, &id, params.month.as_deref()).await?)
}

/// Changes of state of a site's tunnels, newest first.
#[utoipa::path(get, path = "/v1/sites/{id}/transitions", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$"), ListParams),
    responses((status = 200, description = "A page of transitions", body = Page<Transition>)))]
pub(in crate::hub) async fn transitions(
    caller: Viewer,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    Params(params): Params<ListParams>,
) -> Answer {
    let paging = paging(params.cursor, params.limit)?;
    reply::ok(&hub.store.site_transitions(&caller.actor, &id, &paging).await?)
}

/// What agents did to a site's routers by themselves, and what they found that somebody did, newest first.
#[utoipa::path(get, path = "/v1/sites/{id}/events", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$"), ListParams),
    responses((status = 200, description = "A page of events", body = Page<SiteEvent>)))]
pub(in crate::hub) async fn events(
    caller: Viewer,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    Params(params): Params<ListParams>,
) -> Answer {
    let paging = paging(params.cursor, params.limit)?;
    reply::ok(&hub.store.site_events(&caller.actor, &id, &paging).await?)
}

/// Hours of a site's tunnels, newest first: 13 months of them, those of the last day with every report.
#[utoipa::path(get, path = "/v1/sites/{id}/hours", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$"), ListParams),
    responses((status = 200, description = "A page of hours", body = Page<HealthHour>)))]
pub(in crate::hub) async fn hours(
    caller: Viewer,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    Params(params): Params<ListParams>,
) -> Answer {
    let paging = paging(params.cursor, params.limit)?;
    reply::ok(&hub.store.site_hours(&caller.actor, &id, &paging).await?)
}

/// Makes the site's agents hold hands off for a while, or for longer; it ends by itself.
#[utoipa::path(post, path = "/v1/sites/{id}/freeze", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")), request_body = NewFreeze,
    responses((status = 200, description = "The site as it is now", body = Site)))]
pub(in crate::hub) async fn freeze(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    Body(new): Body<NewFreeze>,
) -> Answer {
    let site = hub.store.freeze_site(&by, &id, new).await?;
    reply::versioned(site.version, &site)
}

/// Ends a freeze before its time; 404 if there is none.
#[utoipa::path(delete, path = "/v1/sites/{id}/freeze", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")),
    responses((status = 204, description = "Ended")))]
pub(in crate::hub) async fn thaw(Operator(by): Operator, State(hub): State<Context>, Id(id): Id<SiteId>) -> Answer {
    hub.store.thaw_site(&by, &id).await?;
    Ok(reply::done())
}
