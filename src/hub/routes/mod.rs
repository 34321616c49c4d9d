//! The paths below `/v1`, and the few beside it. Handlers are thin: read, ask the store, answer; rules are the store's.

#![expect(unused_qualifications, reason = "the attribute `utoipa::path` writes the types of bodies that way")]

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::problem::Refusal;
use super::state::Context;
use crate::api::code;

pub(super) mod account;
pub(super) mod agent;
pub(super) mod audit;
pub(super) mod enrollment;
pub(super) mod gateway;
pub(super) mod instance;
mod limits;
pub(super) mod peer;
mod poll;
pub(super) mod proxy;
mod reply;
pub(super) mod rotation;
pub(super) mod service;
pub(super) mod site;
pub(super) mod site_health;
pub(super) mod token;
mod watch;

pub(super) use poll::Seats;
use watch::Watch;

/// Everything the hub answers.
pub(super) fn router(context: Context) -> Router {
    let metrics = context.clone();
    let panicked = CatchPanicLayer::custom(move |_payload| {
        // The payload may hold anything, a secret too; the panic hook wrote where it was.
        metrics.metrics.panicked();
        tracing::error!("a request ended in a panic");
        Refusal::internal().into_response()
    });
    Router::new()
        .merge(people())
        .merge(machines())
        .route("/healthz", get(service::health))
        .route("/readyz", get(service::ready))
        .route("/metrics", get(service::metrics))
        .route("/openapi.json", get(service::openapi))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        // One layer, for each is boxed once a request, and ten thousand of those may wait.
        .layer((panicked, Watch(context.clone())))
        .with_state(context)
}

/// What people and their programs use.
fn people() -> Router<Context> {
    Router::new()
        .route("/v1/whoami", get(audit::whoami))
        .route("/v1/audit", get(audit::list))
        .route("/v1/gateways", get(gateway::list))
        .route("/v1/gateways/{id}", delete(gateway::delete))
        .route("/v1/tokens", get(token::list).post(token::create))
        .route("/v1/tokens/{id}", delete(token::delete))
        .route("/v1/accounts", get(account::list).post(account::create))
        .route("/v1/accounts/{id}", get(account::one).patch(account::edit).delete(account::delete))
        .route("/v1/instances", get(instance::list).post(instance::create))
        .route("/v1/instances/{id}", get(instance::one).patch(instance::edit).delete(instance::delete))
        .route("/v1/instances/{id}/retry", post(instance::retry))
        .route("/v1/instances/{id}/suspend", post(instance::suspend))
        .route("/v1/instances/{id}/resume", post(instance::resume))
        .route("/v1/instances/{id}/rotate", post(rotation::instance))
        .route("/v1/instances/{id}/usage", get(instance::usage))
        .route("/v1/instances/{id}/peers", get(peer::list_of_instance).post(peer::create))
        .route("/v1/peers", get(peer::list))
        .route("/v1/peers/{id}", get(peer::one).patch(peer::edit).delete(peer::delete))
        .route("/v1/peers/{id}/enable", post(peer::enable))
        .route("/v1/peers/{id}/disable", post(peer::disable))
        .route("/v1/peers/{id}/credential", delete(peer::revoke))
        .route("/v1/peers/{id}/rotate", post(rotation::peer).delete(rotation::cancel))
        .route("/v1/peers/{id}/usage", get(peer::usage))
        .route("/v1/peers/{id}/profile", get(peer::profile))
        .route("/v1/sites", get(site::list).post(site::create))
        .route("/v1/sites/{id}", get(site::one).patch(site::edit).delete(site::delete))
        .route("/v1/sites/{id}/subnets", get(site::subnets))
        .route("/v1/sites/{id}/health", get(site_health::health))
        .route("/v1/sites/{id}/transitions", get(site_health::transitions))
        .route("/v1/sites/{id}/events", get(site_health::events))
        .route("/v1/sites/{id}/hours", get(site_health::hours))
        .route("/v1/sites/{id}/freeze", post(site_health::freeze).delete(site_health::thaw))
        .route("/v1/sites/{id}/proxy", post(proxy::assign).delete(proxy::unassign))
        .route("/v1/enrollments", get(enrollment::list).post(enrollment::create))
        .route("/v1/enrollments/{id}", delete(enrollment::revoke))
}

/// What devices, agents and gateways use.
fn machines() -> Router<Context> {
    Router::new()
        .route("/v1/enroll", post(enrollment::enroll))
        .route("/v1/agent/desired", get(agent::desired))
        .route("/v1/agent/applied", post(agent::applied))
        .route("/v1/agent/rotate", post(rotation::agent))
        .route("/v1/agent/reports", post(agent::reports))
        .route("/v1/proxy/leases", post(proxy::leases))
        .route("/v1/proxy/peers/{id}/desired", get(proxy::desired))
        .route("/v1/proxy/peers/{id}/applied", post(proxy::applied))
        .route("/v1/proxy/peers/{id}/reports", post(proxy::reports))
        .route("/v1/gateway/hello", post(gateway::hello))
        .route("/v1/gateway/desired", get(gateway::desired))
        .route("/v1/gateway/applied", post(gateway::applied))
        .route("/v1/gateway/reports", post(gateway::report))
}

async fn unknown_path() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, code::NOT_FOUND, "there is no such path")
        .hint("GET /openapi.json lists the paths there are")
}

async fn unknown_method(method: Method) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, code::METHOD, format!("{method} is not served here"))
        .hint("the header Allow lists what is")
}
