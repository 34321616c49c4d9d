//! What machines around the hub ask: is it alive, is it ready, how is it, what does it speak.

use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::IntoResponse as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::reply;
use crate::hub::auth::Admin;
use crate::hub::metrics::METRICS_TYPE;
use crate::hub::openapi;
use crate::hub::problem::{Answer, Refusal};
use crate::hub::state::Context;
use crate::hub::store::StoreError;

/// How long the store may take to say that it is there: a balancer asks every few seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// That the hub is well.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::hub) struct Health {
    /// `ok`.
    status: &'static str,
    /// The hub's version.
    version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// Says that the process is alive, and nothing of the store.
#[utoipa::path(get, path = "/healthz", tag = "service", security(()),
    responses((status = 200, description = "Alive", body = Health)))]
pub(in crate::hub) async fn health() -> Answer {
    reply::ok(&OK)
}

/// Says whether the hub can serve: the store answers, and no stop is under way.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, description = "Ready", body = Health)))]
pub(in crate::hub) async fn ready(State(hub): State<Context>) -> Answer {
    let away = |why: &str| Refusal::from(StoreError::Unavailable(why.to_owned().into()));
    if hub.stopping.is_cancelled() {
        return Err(away("the hub is stopping"));
    }
    tokio::time::timeout(READY_TIMEOUT, hub.store.ping()).await.map_err(|_| away("no answer in time"))??;
    reply::ok(&OK)
}

/// Somebody who may read the metrics.
pub(in crate::hub) struct Watcher;

impl FromRequestParts<Context> for Watcher {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Context) -> Result<Self, Refusal> {
        if !hub.config.metrics_open {
            Admin::from_request_parts(parts, hub).await?;
        }
        Ok(Self)
    }
}

/// Numbers for Prometheus. For administrators, unless the hub's settings open them to all.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text")))]
pub(in crate::hub) async fn metrics(_: Watcher, State(hub): State<Context>) -> Answer {
    let census = hub.store.census().await?;
    let text = hub.metrics.text(&census).map_err(|_| Refusal::internal())?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

/// The OpenAPI document of this hub.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(in crate::hub) async fn openapi() -> Answer {
    Ok(([(header::CONTENT_TYPE, "application/json")], openapi::document()).into_response())
}
