//! Numbers for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::store::Census;

/// The media type of what [`Metrics::text`] gives.
pub(super) const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A report that is older than this by the sender's clock says more of that clock than of its way.
const MAX_LAG_SECS: i64 = 86_400;

type Labels<const N: usize> = [(&'static str, String); N];
type Numbers<const N: usize> = Family<Labels<N>, Gauge<i64, AtomicI64>>;

/// What is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels<3>, Counter<u64, AtomicU64>>,
    latency: Family<Labels<1>, Histogram, fn() -> Histogram>,
    lag: Family<Labels<1>, Histogram, fn() -> Histogram>,
    polls: Numbers<1>,
    connections: Gauge,
    turned_away: Counter,
    panics: Counter,
    tick_failures: Counter,
    instances: Numbers<1>,
    peers: Gauge,
    connected: Gauge,
    gateways: Gauge,
}

/// 1 ms to 16 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 8))
}

/// 1 s to a day.
fn lag() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 4.0, 9))
}

impl Metrics {
    /// Everything at zero.
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("sitepeer_hub");
        let metrics = Self {
            requests: Family::default(),
            latency: Family::new_with_constructor(latency),
            lag: Family::new_with_constructor(lag),
            polls: Family::default(),
            connections: Gauge::default(),
            turned_away: Counter::default(),
            panics: Counter::default(),
            tick_failures: Counter::default(),
            instances: Family::default(),
            peers: Gauge::default(),
            connected: Gauge::default(),
            gateways: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests by method, route and status", metrics.requests.clone());
        let help = "How long requests took, long-polls left out";
        registry.register_with_unit("request_duration", help, Unit::Seconds, metrics.latency.clone());
        let help = "Age of reports when they came in, by the sender's clock";
        registry.register_with_unit("report_lag", help, Unit::Seconds, metrics.lag.clone());
        registry.register("waiting_polls", "Long-polls that wait, by who waits", metrics.polls.clone());
        registry.register("connections", "Connections that are open", metrics.connections.clone());
        let help = "Connections that were closed because their address had its most";
        registry.register("connections_turned_away", help, metrics.turned_away.clone());
        registry.register("panics", "Requests that ended in a fault of the hub", metrics.panics.clone());
        registry.register("tick_failures", "Rounds of housekeeping that failed", metrics.tick_failures.clone());
        registry.register("instances", "Instances by status", metrics.instances.clone());
        registry.register("peers", "Peers, enabled or not", metrics.peers.clone());
        registry.register("peers_connected", "Peers that are connected", metrics.connected.clone());
        registry.register("gateways", "Gateways heard within the last minute", metrics.gateways.clone());
        Self { registry, ..metrics }
    }

    /// Counts a request that was answered. `route` is a pattern, never a path: there are few of them.
    pub(super) fn answered(&self, method: &str, route: &str, status: u16, took: Option<Duration>) {
        let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        if let Some(took) = took {
            self.latency.get_or_create(&[("route", route.to_owned())]).observe(took.as_secs_f64());
        }
    }

    /// Notes how old a report was.
    pub(super) fn report(&self, from: &str, at: i64) {
        let age = now().saturating_sub(at).clamp(0, MAX_LAG_SECS);
        let age = f64::from(i32::try_from(age).unwrap_or(i32::MAX));
        self.lag.get_or_create(&[("from", from.to_owned())]).observe(age);
    }

    /// Counts a long-poll as long as the result lives.
    pub(super) fn poll(&self, who: &str) -> Counted {
        Counted::new(self.polls.get_or_create_owned(&[("who", who.to_owned())]))
    }

    /// Counts a connection as long as the result lives.
    pub(super) fn connection(&self) -> Counted {
        Counted::new(self.connections.clone())
    }

    /// Counts a connection that was closed because its address had its most.
    pub(super) fn turned_away(&self) {
        self.turned_away.inc();
    }

    /// Counts a panic.
    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a round of housekeeping that failed.
    pub(super) fn tick_failed(&self) {
        self.tick_failures.inc();
    }

    /// Writes everything, with the store's census of this moment.
    pub(super) fn text(&self, census: &Census) -> Result<String, std::fmt::Error> {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.instances.clear();
        for (status, number) in &census.instances {
            let status = format!("{status:?}").to_lowercase();
            self.instances.get_or_create(&[("status", status)]).set(gauge(*number));
        }
        self.peers.set(gauge(census.peers));
        self.connected.set(gauge(census.connected));
        self.gateways.set(gauge(census.gateways));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Something that is counted as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
