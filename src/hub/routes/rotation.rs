//! New keys for instances and routers, make before break.

use axum::extract::State;

use super::reply;
use crate::api::{Instance, InstanceId, Peer, PeerId};
use crate::hub::auth::{AgentCaller, Operator};
use crate::hub::problem::Answer;
use crate::hub::request::Id;
use crate::hub::state::Context;

/// Makes a new gateway key and port for an instance. Its site peers follow one after another, each without a gap; clients keep the old
/// one until they have a new key of their own and a new profile. While that goes on, it changes nothing.
#[utoipa::path(post, path = "/v1/instances/{id}/rotate", tag = "instances",
    params(("id" = InstanceId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Instance)))]
pub(in crate::hub) async fn instance(
    Operator(by): Operator,
    State(hub): State<Context>,
    Id(id): Id<InstanceId>,
) -> Answer {
    let instance = hub.store.rotate_instance(&by, &id).await?;
    reply::versioned(instance.version, &instance)
}

/// Has the router of a site peer make a new key, and changes over to it without a gap. While that goes on, it changes nothing.
#[utoipa::path(post, path = "/v1/peers/{id}/rotate", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    responses((status = 200, description = "As it is now", body = Peer)))]
pub(in crate::hub) async fn peer(Operator(by): Operator, State(hub): State<Context>, Id(id): Id<PeerId>) -> Answer {
    let peer = hub.store.rotate_peer(&by, &id).await?;
    reply::versioned(peer.version, &peer)
}

/// Gives up a change that the router does not use yet; 404 if there is none.
#[utoipa::path(delete, path = "/v1/peers/{id}/rotate", tag = "peers", params(("id" = PeerId, Path, description = "Which")),
    responses((status = 204, description = "Given up")))]
pub(in crate::hub) async fn cancel(Operator(by): Operator, State(hub): State<Context>, Id(id): Id<PeerId>) -> Answer {
    hub.store.cancel_rotation(&by, &id).await?;
    Ok(reply::done())
}

/// Asks for a new key of the agent's own router. While a change goes on, it changes nothing.
#[utoipa::path(post, path = "/v1/agent/rotate", tag = "agent",
    responses((status = 202, description = "It begins, or goes on")))]
pub(in crate::hub) async fn agent(caller: AgentCaller, State(hub): State<Context>) -> Answer {
    hub.store.agent_rotate(&caller.peer).await.map_err(super::agent::gone)?;
    Ok(reply::accepted())
}
