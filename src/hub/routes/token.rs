//! `/v1/tokens`. For administrators only: whoever makes tokens could outlive the taking back of its own.

use axum::extract::State;

use super::account::ListParams;
use super::reply;
use crate::api::{NewToken, Page, Token, TokenId, TokenMade};
use crate::hub::auth::Admin;
use crate::hub::problem::Answer;
use crate::hub::request::{Id, New, Params, paging};
use crate::hub::state::Context;

/// Lists tokens, without their secrets. For administrators.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(ListParams),
    responses((status = 200, description = "A page of tokens", body = Page<Token>)))]
pub(in crate::hub) async fn list(
    Admin(by): Admin,
    State(hub): State<Context>,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = hub.store.tokens(&by, &paging(params.cursor, params.limit)?).await?;
    reply::ok(&page)
}

/// Makes a token; its secret is shown this once. For administrators.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, description = "Made, with its secret", body = TokenMade)))]
pub(in crate::hub) async fn create(Admin(by): Admin, State(hub): State<Context>, new: New<NewToken>) -> Answer {
    let made = hub.store.create_token(&by, new.once.as_ref(), new.value).await?;
    reply::created(&format!("/v1/tokens/{}", made.token.id), None, &made)
}

/// Takes a token back. For administrators.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = TokenId, Path, description = "Which")),
    responses((status = 204, description = "Taken back")))]
pub(in crate::hub) async fn delete(Admin(by): Admin, State(hub): State<Context>, Id(id): Id<TokenId>) -> Answer {
    hub.store.delete_token(&by, &id).await?;
    Ok(reply::done())
}
