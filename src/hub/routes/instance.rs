//! `/v1/instances`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::reply;
use crate::api::{AccountId, Instance, InstanceEdit, InstanceId, InstanceStatus, NewInstance, Page, Usage};
use crate::hub::auth::{Operator, Viewer};
use crate::hub::problem::{Answer, Refusal};
use crate::hub::request::{Body, Id, IfMatch, New, Params, paging, search};
use crate::hub::state::Context;
use crate::hub::store::{InstanceFilter, Scope};

/// Which instances.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct InstanceParams {
    /// Part of a name: the instance's, its hostname, a site's, the account's. Case does not matter.
    #[param(max_length = 128, pattern = "^[^\\x00]*$")]
    search: Option<String>,
    /// Only such.
    #[param(inline)]
    status: Option<InstanceStatus>,
    /// Only this account's.
    #[param(inline)]
    account: Option<AccountId>,
    /// `next` of the page before.
    #[param(min_length = 1, max_length = 64)]
    cursor: Option<String>,
    /// Items in a page; 100 if it is missing.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Lists instances.
#[utoipa::path(get, path = "/v1/instances", tag = "instances", params(InstanceParams),
    responses((status = 200, description = "A page of instances", body = Page<Instance>)))]
pub(in crate::hub) async fn list(
    caller: Viewer,
    State(hub): State<Context>,
    Params(params): Params<InstanceParams>,
) -> Answer {
    let paging = paging(params.cursor, params.limit)?;
    let filter = InstanceFilter { search: search(params.search)?, status: params.status, account: params.account };
    reply::ok(&hub.store.instances(&caller.actor, &filter, &paging).await?)
}

/// Makes an instance. It is `deploying` until a gateway serves it.
#[utoipa::path(post, path = "/v1/instances", tag = "instances", request_body = NewInstance,
    responses((status = 201, description = "Made", body = Instance)))]
pub(in crate::hub) async fn create(
    Operator(by): Operator,
    State(hub): State<Context>,
    new: New<NewInstance>,
) -> Answer {
    by_own_account(&by.scope, new.value.account.as_ref())?;
    let made = hub.store.create_instance(&by, new.once.as_ref(), new.value).await?;
    reply::created(&format!("/v1/instances/{}", made.id), Some(made.version), &made)
}

/// Reads an instance.
#[utoipa::path(get, path = "/v1/instances/{id}", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")),
    responses((status = 200, description = "The instance", body = Instance)))]
pub(in crate::hub) async fn one(caller: Viewer, State(hub): State<Context>, Id(id): Id<InstanceId>) -> Answer {
    let instance = hub.store.instance(&caller.actor, &id).await?;
    reply::versioned(instance.version, &instance)
}

/// Changes an instance.
#[utoipa::path(patch, path = "/v1/instances/{id}", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")), request_body = InstanceEdit,
    responses((status = 200, description = "As it is now", body = Instance)))]
pub(in crate::hub) async fn edit(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
    IfMatch(version): IfMatch,
    Body(edit): Body<InstanceEdit>,
) -> Answer {
    let instance = hub.store.edit_instance(&by, &id, version, edit).await?;
    reply::versioned(instance.version, &instance)
}

/// Deletes an instance with its peers; its gateway takes interface, routes, rules and keys down.
#[utoipa::path(delete, path = "/v1/instances/{id}", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")), responses((status = 204, description = "Deleted")))]
pub(in crate::hub) async fn delete(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
    IfMatch(version): IfMatch,
) -> Answer {
    hub.store.delete_instance(&by, &id, version).await?;
    Ok(reply::done())
}

/// Lets a gateway try again; name, hostname, settings and keys stay.
#[utoipa::path(post, path = "/v1/instances/{id}/retry", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Instance)))]
pub(in crate::hub) async fn retry(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
) -> Answer {
    let instance = hub.store.retry_instance(&by, &id).await?;
    reply::versioned(instance.version, &instance)
}

/// Switches an instance off; everything is kept.
#[utoipa::path(post, path = "/v1/instances/{id}/suspend", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Instance)))]
pub(in crate::hub) async fn suspend(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
) -> Answer {
    let instance = hub.store.suspend_instance(&by, &id, true).await?;
    reply::versioned(instance.version, &instance)
}

/// Switches an instance on again.
#[utoipa::path(post, path = "/v1/instances/{id}/resume", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Instance)))]
pub(in crate::hub) async fn resume(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
) -> Answer {
    let instance = hub.store.suspend_instance(&by, &id, false).await?;
    reply::versioned(instance.version, &instance)
}

/// Traffic of an instance by month, newest first.
#[utoipa::path(get, path = "/v1/instances/{id}/usage", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")),
    responses((status = 200, description = "At most 24 months", body = Vec<Usage>)))]
pub(in crate::hub) async fn usage(caller: Viewer, State(hub): State<Context>, Id(id): Id<InstanceId>) -> Answer {
    reply::ok(&hub.store.instance_usage(&caller.actor, &id).await?)
}

/// Only administrators name an account that is not their own; whether the named one exists is not told.
pub(super) fn by_own_account(scope: &Scope, named: Option<&AccountId>) -> Result<(), Refusal> {
    match (scope, named) {
        (Scope::Account(own), Some(named)) if own != named => {
            Err(Refusal::forbidden("only administrators make things for other accounts").field("account"))
        }
        _ => Ok(()),
    }
}
