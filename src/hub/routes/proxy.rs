//! `/v1/proxy/…`: what proxies ask for and say, and `/v1/sites/{id}/proxy`, which sites they drive.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::limits;
use super::poll::{PollParams, Wait};
use super::reply;
use crate::api::{
    AgentApplied, AgentDesired, AgentReports, LeaseReply, LeaseRequest, PeerId, ProxyAssignment, ReportsTaken, Site,
    SiteId,
};
use crate::hub::auth::{Operator, ProxyCaller};
use crate::hub::problem::Answer;
use crate::hub::request::{Body, Id, Params};
use crate::hub::state::Context;
use crate::hub::wake::Topic;

/// The lease with which a proxy speaks for a peer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct LeaseParams {
    /// The number of the lease of the peer's site.
    #[param(minimum = 0)]
    number: i64,
}

/// What a long-poll with a lease asks for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::hub) struct LeasePollParams {
    /// The number of the lease of the peer's site.
    #[param(minimum = 0)]
    number: i64,
    /// The revision that the caller has; missing if it has none.
    #[param(minimum = 0)]
    revision: Option<i64>,
    /// Seconds to wait for another one; 30 if it is missing.
    #[param(minimum = 0, maximum = 50)]
    wait: Option<u64>,
}

/// Assigns a site's router to a group of proxies.
#[utoipa::path(post, path = "/v1/sites/{id}/proxy", tag = "sites", request_body = ProxyAssignment,
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")),
    responses((status = 200, description = "As it is now", body = Site)))]
pub(in crate::hub) async fn assign(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<SiteId>,
    Body(assignment): Body<ProxyAssignment>,
) -> Answer {
    let site = hub.store.assign_site(&by, &id, Some(assignment)).await?;
    reply::versioned(site.version, &site)
}

/// Takes a site's router away from its proxies.
#[utoipa::path(delete, path = "/v1/sites/{id}/proxy", tag = "sites",
    params(("id" = String, Path, description = "Which", pattern = "^[a-z0-9]{4,12}$")),
    responses((status = 204, description = "No proxy drives it")))]
pub(in crate::hub) async fn unassign(Operator(by): Operator, State(hub): State<Context>, Id(id): Id<SiteId>) -> Answer {
    hub.store.assign_site(&by, &id, None).await?;
    Ok(reply::done())
}

/// Renews a proxy's leases, and takes more up to its fair share.
#[utoipa::path(post, path = "/v1/proxy/leases", tag = "proxy", request_body = LeaseRequest,
    responses((status = 200, description = "What it has now", body = LeaseReply)))]
pub(in crate::hub) async fn leases(
    caller: ProxyCaller,
    State(hub): State<Context>,
    Body(request): Body<LeaseRequest>,
) -> Answer {
    reply::ok(&hub.store.proxy_leases(&caller.actor, &request).await?)
}

/// What is to be on the router of a site that the caller has the lease of. Waits until it is another revision than the one named.
#[utoipa::path(get, path = "/v1/proxy/peers/{id}/desired", tag = "proxy",
    params(("id" = PeerId, Path, description = "Which"), LeasePollParams),
    responses((status = 200, description = "Another revision", body = AgentDesired),
        (status = 304, description = "Nothing new")))]
pub(in crate::hub) async fn desired(
    caller: ProxyCaller,
    State(hub): State<Context>,
    Id(peer): Id<PeerId>,
    Params(params): Params<LeasePollParams>,
) -> Answer {
    let LeasePollParams { number, revision, wait } = params;
    let (since, time) = PollParams { revision, wait }.checked()?;
    let ProxyCaller { actor, pass } = caller;
    let instance = hub.store.proxy_holds(&actor, &peer, number).await?;
    let topic = Topic::Peer(peer.clone());
    let wait = Wait { hub: &hub, topic, instance: Some(instance), pass: &pass, time };
    let read = || async {
        // Somebody else's by now: it is told at the next change, and at the next question.
        hub.store.proxy_holds(&actor, &peer, number).await?;
        Ok(hub.store.agent_desired(&peer, since).await?)
    };
    let news = wait.until(read).await?;
    news.map_or_else(|| Ok(reply::nothing_new()), |desired| reply::ok(&desired))
}

/// Tells the hub what is on the router of a site that the caller has the lease of.
#[utoipa::path(post, path = "/v1/proxy/peers/{id}/applied", tag = "proxy", request_body = AgentApplied,
    params(("id" = PeerId, Path, description = "Which"), LeaseParams),
    responses((status = 204, description = "Taken")))]
pub(in crate::hub) async fn applied(
    caller: ProxyCaller,
    State(hub): State<Context>,
    Id(peer): Id<PeerId>,
    Params(params): Params<LeaseParams>,
    Body(mut applied): Body<AgentApplied>,
) -> Answer {
    limits::device(&mut applied.device, "device")?;
    hub.store.proxy_applied(&caller.actor, &peer, params.number, applied).await?;
    Ok(reply::done())
}

/// Takes reports of a site that the caller has the lease of, each once.
#[utoipa::path(post, path = "/v1/proxy/peers/{id}/reports", tag = "proxy", request_body = AgentReports,
    params(("id" = PeerId, Path, description = "Which"), LeaseParams),
    responses((status = 200, description = "What the hub has", body = ReportsTaken)))]
pub(in crate::hub) async fn reports(
    caller: ProxyCaller,
    State(hub): State<Context>,
    Id(peer): Id<PeerId>,
    Params(params): Params<LeaseParams>,
    Body(mut reports): Body<AgentReports>,
) -> Answer {
    limits::agent_reports(&mut reports)?;
    let at: Vec<_> = reports.reports.iter().map(|report| report.at).collect();
    let taken = hub.store.proxy_reports(&caller.actor, &peer, params.number, reports).await?;
    for at in at {
        hub.metrics.report("agent", at);
    }
    reply::ok(&taken)
}
