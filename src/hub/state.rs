//! What every request sees of the hub.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::auth::{Doorman, Limiter};
use super::config::HubConfig;
use super::metrics::Metrics;
use super::routes::Seats;
use super::store::Store;

/// The hub, as handlers see it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Arc<dyn Store>,
    pub(super) config: HubConfig,
    pub(super) doorman: Doorman,
    pub(super) enrolments: Limiter,
    pub(super) metrics: Metrics,
    pub(super) seats: Seats,
    /// The hub is about to end: long-polls answer at once.
    pub(super) stopping: CancellationToken,
}

/// A cheap handle to it.
pub(super) type Context = Arc<State>;

impl State {
    /// The state of a hub that begins.
    pub(super) fn new(config: HubConfig, store: Arc<dyn Store>) -> Context {
        Arc::new(Self {
            store,
            doorman: Doorman::default(),
            enrolments: Limiter::per_minute(config.enroll_per_minute),
            metrics: Metrics::new(),
            seats: Seats::default(),
            stopping: CancellationToken::new(),
            config,
        })
    }
}
