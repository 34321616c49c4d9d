//! `/v1/agent/…`: what a site peer's agent says and is told.

use axum::extract::State;

use super::limits;
use super::poll::{PollParams, Wait};
use super::reply;
use crate::api::{AgentApplied, AgentDesired, AgentReports, ReportsTaken};
use crate::hub::auth::AgentCaller;
use crate::hub::problem::{Answer, Refusal};
use crate::hub::request::{Body, Params};
use crate::hub::state::Context;
use crate::hub::store::StoreError;
use crate::hub::wake::Topic;

/// What is to be on the router. Waits until it is another revision than the one named.
#[utoipa::path(get, path = "/v1/agent/desired", tag = "agent", params(PollParams),
    responses((status = 200, description = "Another revision", body = AgentDesired),
        (status = 304, description = "Nothing new")))]
pub(in crate::hub) async fn desired(
    caller: AgentCaller,
    State(hub): State<Context>,
    Params(params): Params<PollParams>,
) -> Answer {
    let (since, time) = params.checked()?;
    let AgentCaller { peer, instance, pass } = caller;
    let topic = Topic::Peer(peer.clone());
    let wait = Wait { hub: &hub, topic, instance: Some(instance), pass: &pass, time };
    let news = wait.until(|| async { hub.store.agent_desired(&peer, since).await.map_err(gone) }).await?;
    news.map_or_else(|| Ok(reply::nothing_new()), |desired| reply::ok(&desired))
}

/// Tells the hub what is on the router now, with the public key that the router made.
#[utoipa::path(post, path = "/v1/agent/applied", tag = "agent", request_body = AgentApplied,
    responses((status = 204, description = "Taken")))]
pub(in crate::hub) async fn applied(
    caller: AgentCaller,
    State(hub): State<Context>,
    Body(mut applied): Body<AgentApplied>,
) -> Answer {
    limits::device(&mut applied.device, "device")?;
    hub.store.agent_applied(&caller.peer, applied).await.map_err(gone)?;
    Ok(reply::done())
}

/// Takes reports, each once.
#[utoipa::path(post, path = "/v1/agent/reports", tag = "agent", request_body = AgentReports,
    responses((status = 200, description = "What the hub has", body = ReportsTaken)))]
pub(in crate::hub) async fn reports(
    caller: AgentCaller,
    State(hub): State<Context>,
    Body(mut reports): Body<AgentReports>,
) -> Answer {
    limits::agent_reports(&mut reports)?;
    for report in &reports.reports {
        hub.metrics.report("agent", report.at);
    }
    reply::ok(&hub.store.agent_reports(&caller.peer, reports).await.map_err(gone)?)
}

/// An agent's own peer is not there any more.
pub(super) fn gone(error: StoreError) -> Refusal {
    match error {
        StoreError::NotFound { .. } => Refusal::removed(),
        other => other.into(),
    }
}
