//! `/v1/gateway/…`: what a gateway says and is told; and the list of gateways.

use axum::extract::State;

use super::account::ListParams;
use super::limits;
use super::poll::{PollParams, Wait};
use super::reply;
use crate::api::{
    Gateway, GatewayApplied, GatewayDesired, GatewayHello, GatewayId, GatewayReport, GatewayWelcome, Page, ReportsTaken,
};
use crate::hub::auth::{Admin, GatewayCaller, GatewayToken};
use crate::hub::problem::Answer;
use crate::hub::request::{Body, Id, Params, paging};
use crate::hub::state::Context;
use crate::hub::wake::Topic;

/// Lists gateways. For administrators.
#[utoipa::path(get, path = "/v1/gateways", tag = "gateways", params(ListParams),
    responses((status = 200, description = "A page of gateways", body = Page<Gateway>)))]
pub(in crate::hub) async fn list(
    Admin(by): Admin,
    State(hub): State<Context>,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = hub.store.gateways(&by, &paging(params.cursor, params.limit)?).await?;
    reply::ok(&page)
}

/// Forgets a gateway that is gone for good: its token is revoked, its instances go to another one and get new keys. For administrators.
#[utoipa::path(delete, path = "/v1/gateways/{id}", tag = "gateways", params(("id" = GatewayId, Path, description = "Which")),
    responses((status = 204, description = "Forgotten")))]
pub(in crate::hub) async fn delete(Admin(by): Admin, State(hub): State<Context>, Id(id): Id<GatewayId>) -> Answer {
    hub.store.delete_gateway(&by, &id).await?;
    Ok(reply::done())
}

/// Registers a gateway, or finds it again by its token.
#[utoipa::path(post, path = "/v1/gateway/hello", tag = "gateway", request_body = GatewayHello,
    responses((status = 200, description = "Welcome", body = GatewayWelcome)))]
pub(in crate::hub) async fn hello(
    caller: GatewayToken,
    State(hub): State<Context>,
    Body(hello): Body<GatewayHello>,
) -> Answer {
    limits::hello(&hello)?;
    let welcome = hub.store.gateway_hello(&caller.token, hello).await?;
    reply::ok(&GatewayWelcome { report_secs: hub.config.report_secs, ..welcome })
}

/// What changed for a gateway since a revision. Waits until something does.
#[utoipa::path(get, path = "/v1/gateway/desired", tag = "gateway", params(PollParams),
    responses((status = 200, description = "What changed", body = GatewayDesired),
        (status = 304, description = "Nothing new")))]
pub(in crate::hub) async fn desired(
    caller: GatewayCaller,
    State(hub): State<Context>,
    Params(params): Params<PollParams>,
) -> Answer {
    let (since, time) = params.checked()?;
    let GatewayCaller { gateway, pass } = caller;
    let wait = Wait { hub: &hub, topic: Topic::Gateway(gateway.clone()), instance: None, pass: &pass, time };
    let since = since.unwrap_or(0);
    let news = wait.until(|| async { Ok(hub.store.gateway_desired(&gateway, since).await?) }).await?;
    news.map_or_else(|| Ok(reply::nothing_new()), |desired| reply::ok(&desired))
}

/// Tells the hub what a gateway did.
#[utoipa::path(post, path = "/v1/gateway/applied", tag = "gateway", request_body = GatewayApplied,
    responses((status = 204, description = "Taken")))]
pub(in crate::hub) async fn applied(
    caller: GatewayCaller,
    State(hub): State<Context>,
    Body(mut applied): Body<GatewayApplied>,
) -> Answer {
    limits::applied(&mut applied)?;
    hub.store.gateway_applied(&caller.gateway, applied).await?;
    Ok(reply::done())
}

/// Takes a report, once.
#[utoipa::path(post, path = "/v1/gateway/reports", tag = "gateway", request_body = GatewayReport,
    responses((status = 200, description = "What the hub has", body = ReportsTaken)))]
pub(in crate::hub) async fn report(
    caller: GatewayCaller,
    State(hub): State<Context>,
    Body(report): Body<GatewayReport>,
) -> Answer {
    limits::report(&report)?;
    hub.metrics.report("gateway", report.at);
    reply::ok(&hub.store.gateway_report(&caller.gateway, report).await?)
}
