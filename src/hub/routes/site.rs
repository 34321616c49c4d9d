//! `/v1/sites`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::instance::by_own_account;
use super::reply;
use crate::api::{NewSite, Page, Site, SiteEdit, SiteId, SiteSubnets};
use crate::hub::auth::{Operator, Viewer};
use crate::hub::problem::Answer;
use crate::hub::request::{Body, Id, IfMatch, New, Params, paging, search};
use crate::hub::state::Context;

/// Which sites.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct SiteParams {
    /// Part of the name, the board or the serial number. Case does not matter.
    #[param(max_length = 128, pattern = "^[^\\x00]*$")]
    search: Option<String>,
    /// `next` of the page before.
    #[param(min_length = 1, max_length = 64)]
    cursor: Option<String>,
    /// Items in a page; 100 if it is missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Lists sites.
#[utoipa::path(get, path = "/v1/sites", tag = "sites", params(SiteParams),
    responses((status = 200, description = "A page of sites", body = Page<Site>)))]
pub(in crate::hub) async fn list(
    caller: Viewer,
    State(hub): State<Context>,
    Params(params): Params<SiteParams>,
) -> Answer {
    let (paging, search) = (paging(params.cursor, params.limit)?, search(params.search)?);
    reply::ok(&hub.store.sites(&caller.actor, search.as_deref(), &paging).await?)
}

/// Makes a site.
#[utoipa::path(post, path = "/v1/sites", tag = "sites", request_body = NewSite,
    responses((status = 201, description = "Made", body = Site)))]
pub(in crate::hub) async fn create(Operator(by): Operator, State(hub): State<Context>, new: New<NewSite>) -> Answer {
    by_own_account(&by.scope, new.value.account.as_ref())?;
    let made = hub.store.create_site(&by, new.once.as_ref(), new.value).await?;
    reply::created(&format!("/v1/sites/{}", made.id), Some(made.version), &made)
}

/// Reads a site, with what its agent last said of the router.
#[utoipa::path(get, path = "/v1/sites/{id}", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")),
    responses((status = 200, description = "The site", body = Site)))]
pub(in crate::hub) async fn one(caller: Viewer, State(hub): State<Context>, Id(id): Id<SiteId>) -> Answer {
    let site = hub.store.site(&caller.actor, &id).await?;
    reply::versioned(site.version, &site)
}

/// Changes a site.
#[utoipa::path(patch, path = "/v1/sites/{id}", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")), request_body = SiteEdit,
    responses((status = 200, description = "As it is now", body = Site)))]
pub(in crate::hub) async fn edit(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    IfMatch(version): IfMatch,
    Body(edit): Body<SiteEdit>,
) -> Answer {
    let site = hub.store.edit_site(&by, &id, version, edit).await?;
    reply::versioned(site.version, &site)
}

/// Deletes a site that has no peers.
#[utoipa::path(delete, path = "/v1/sites/{id}", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")),
    responses((status = 204, description = "Deleted")))]
pub(in crate::hub) async fn delete(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    IfMatch(version): IfMatch,
) -> Answer {
    hub.store.delete_site(&by, &id, version).await?;
    Ok(reply::done())
}

/// What a site could advertise: the networks that its router is directly in.
#[utoipa::path(get, path = "/v1/sites/{id}/subnets", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")),
    responses((status = 200, description = "The networks", body = SiteSubnets)))]
pub(in crate::hub) async fn subnets(caller: Viewer, State(hub): State<Context>, Id(id): Id<SiteId>) -> Answer {
    reply::ok(&hub.store.site_subnets(&caller.actor, &id).await?)
}
