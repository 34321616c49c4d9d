//! `/v1/accounts`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::reply;
use crate::api::{Account, AccountEdit, AccountId, NewAccount, Page};
use crate::hub::auth::{Admin, Viewer};
use crate::hub::problem::Answer;
use crate::hub::request::{Body, Id, IfMatch, New, Params, paging};
use crate::hub::state::Context;

/// A place in a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct ListParams {
    /// `next` of the page before.
    #[param(min_length = 1, max_length = 64)]
    pub(super) cursor: Option<String>,
    /// Items in a page; 100 if it is missing.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

/// Lists accounts: administrators see all, others their own.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", params(ListParams),
    responses((status = 200, description = "A page of accounts", body = Page<Account>)))]
pub(in crate::hub) async fn list(
    caller: Viewer,
    State(hub): State<Context>,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = hub.store.accounts(&caller.actor, &paging(params.cursor, params.limit)?).await?;
    reply::ok(&page)
}

/// Makes an account. For administrators.
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body = NewAccount,
    responses((status = 201, description = "Made", body = Account)))]
pub(in crate::hub) async fn create(Admin(by): Admin, State(hub): State<Context>, new: New<NewAccount>) -> Answer {
    let made = hub.store.create_account(&by, new.once.as_ref(), new.value).await?;
    reply::created(&format!("/v1/accounts/{}", made.id), Some(made.version), &made)
}

/// Reads an account.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = AccountId, Path, description = "Which")),
    responses((status = 200, description = "The account", body = Account)))]
pub(in crate::hub) async fn one(caller: Viewer, State(hub): State<Context>, Id(id): Id<AccountId>) -> Answer {
    let account = hub.store.account(&caller.actor, &id).await?;
    reply::versioned(account.version, &account)
}

/// Changes an account. For administrators.
#[utoipa::path(patch, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = AccountId, Path, description = "Which")),
    request_body = AccountEdit, responses((status = 200, description = "As it is now", body = Account)))]
pub(in crate::hub) async fn edit(
    Admin(by): Admin,
    State(hub): State<Context>,
    Id(id): Id<AccountId>,
    IfMatch(version): IfMatch,
    Body(edit): Body<AccountEdit>,
) -> Answer {
    let account = hub.store.edit_account(&by, &id, version, edit).await?;
    reply::versioned(account.version, &account)
}

/// Deletes an account that has no instances and no sites, with its tokens. For administrators.
#[utoipa::path(delete, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = AccountId, Path, description = "Which")),
    responses((status = 204, description = "Deleted")))]
pub(in crate::hub) async fn delete(
    Admin(by): Admin,
    State(hub): State<Context>,
    Id(id): Id<AccountId>,
    IfMatch(version): IfMatch,
) -> Answer {
    hub.store.delete_account(&by, &id, version).await?;
    Ok(reply::done())
}
