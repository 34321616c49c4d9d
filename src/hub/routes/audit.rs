//! `/v1/whoami` and `/v1/audit`.

use axum::extract::State;

use super::account::ListParams;
use super::reply;
use crate::api::{AuditEntry, Page, Role, WhoAmI};
use crate::hub::auth::{Anyone, Viewer};
use crate::hub::problem::Answer;
use crate::hub::request::{Params, paging};
use crate::hub::state::Context;
use crate::hub::store::Principal;

/// Who the credential stands for.
#[utoipa::path(get, path = "/v1/whoami", tag = "tokens",
    responses((status = 200, description = "Whom it stands for", body = WhoAmI)))]
pub(in crate::hub) async fn whoami(Anyone(principal): Anyone) -> Answer {
    reply::ok(&match principal {
        Principal::Token { name, role, account, .. } => WhoAmI { name, role: Some(role), account },
        Principal::Gateway { token, gateway } => {
            let name = gateway.map_or_else(|| format!("gateway token {token}"), |id| format!("gateway {id}"));
            WhoAmI { name, role: Some(Role::Gateway), account: None }
        }
        Principal::Proxy(proxy) => {
            let name = format!("proxy token {}", proxy.token);
            WhoAmI { name, role: Some(Role::Proxy), account: Some(proxy.account) }
        }
        Principal::Agent { peer, account, .. } => {
            WhoAmI { name: format!("agent {peer}"), role: None, account: Some(account) }
        }
    })
}

/// The audit log, newest first: who did what to what, before and after.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(ListParams),
    responses((status = 200, description = "A page of entries", body = Page<AuditEntry>)))]
pub(in crate::hub) async fn list(
    caller: Viewer,
    State(hub): State<Context>,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = hub.store.audit(&caller.actor, &paging(params.cursor, params.limit)?).await?;
    reply::ok(&page)
}
