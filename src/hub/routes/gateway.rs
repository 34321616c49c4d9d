//! `/v1/gateway/…`: what a gateway says and is told; and the list of gateways.

use axum::extract::State;

use super::account::ListParams;
use super::poll::{PollParams, until};
use super::reply;
use crate::api::{
    Gateway, GatewayApplied, GatewayDesired, GatewayHello, GatewayReport, GatewayWelcome, Page, ReportsTaken,
};
use crate::hub::auth::{Admin, GatewayCaller, GatewayToken};
use crate::hub::problem::Answer;
use crate::hub::request::{Body, Params, paging};
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

/// Registers a gateway, or finds it again by its token.
#[utoipa::path(post, path = "/v1/gateway/hello", tag = "gateway", request_body = GatewayHello,
    responses((status = 200, description = "Welcome", body = GatewayWelcome)))]
pub(in crate::hub) async fn hello(
    caller: GatewayToken,
    State(hub): State<Context>,
    Body(hello): Body<GatewayHello>,
) -> Answer {
    let welcome = hub.store.gateway_hello(&caller.token, hello).await?;
    reply::ok(&GatewayWelcome { report_secs: hub.config.report_secs, ..welcome })
}

/// What changed for a gateway since a revision. Waits until something does.
#[utoipa::path(get, path = "/v1/gateway/desired", tag = "gateway", params(PollParams),
    responses((status = 200, description = "What changed", body = GatewayDesired),
        (status = 304, description = "Nothing new")))]
pub(in crate::hub) async fn desired(
    GatewayCaller(gateway): GatewayCaller,
    State(hub): State<Context>,
    Params(params): Params<PollParams>,
) -> Answer {
    let (since, wait) = params.checked()?;
    let waiter = hub.store.wakes().waiter(Topic::Gateway(gateway.clone()), None);
    let _counted = hub.metrics.poll("gateway");
    let read = || async { Ok(hub.store.gateway_desired(&gateway, since).await?) };
    let news = until(&hub, waiter, wait, read).await?;
    news.map_or_else(|| Ok(reply::nothing_new()), |desired| reply::ok(&desired))
}

/// Tells the hub what a gateway did.
#[utoipa::path(post, path = "/v1/gateway/applied", tag = "gateway", request_body = GatewayApplied,
    responses((status = 204, description = "Taken")))]
pub(in crate::hub) async fn applied(
    GatewayCaller(gateway): GatewayCaller,
    State(hub): State<Context>,
    Body(applied): Body<GatewayApplied>,
) -> Answer {
    hub.store.gateway_applied(&gateway, applied).await?;
    Ok(reply::done())
}

/// Takes a report, once.
#[utoipa::path(post, path = "/v1/gateway/reports", tag = "gateway", request_body = GatewayReport,
    responses((status = 200, description = "What the hub has", body = ReportsTaken)))]
pub(in crate::hub) async fn report(
    GatewayCaller(gateway): GatewayCaller,
    State(hub): State<Context>,
    Body(report): Body<GatewayReport>,
) -> Answer {
    hub.metrics.report("gateway", report.at);
    reply::ok(&hub.store.gateway_report(&gateway, report).await?)
}
