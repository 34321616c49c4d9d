//! Telling the hub about traffic.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::Patience;
use crate::api::{GatewayReport, ReportsTaken};
use crate::gateway::traffic::Traffic;
use crate::uplink::{Hub, Retry, UplinkError};

/// How often every peer is reported, changed or not: the hub takes silence of a minute for "unknown".
const ALL_EVERY: Duration = Duration::from_secs(45);
/// A peer that was on no device for so long is not reported any more.
const FRESH: Duration = Duration::from_mins(2);
/// How long the last report may take when the gateway ends.
const LAST_REPORT: Duration = Duration::from_secs(3);

/// Reports every so often, and every peer now and then, once the hub knows us; never ends.
pub async fn tell_traffic(
    traffic: Arc<Traffic>,
    hub: Hub,
    every: watch::Receiver<Duration>,
    mut known: watch::Receiver<bool>,
) {
    if known.wait_for(|known| *known).await.is_err() {
        return;
    }
    let mut all_at = Instant::now();
    loop {
        let pause = *every.borrow();
        sleep(pause).await;
        if Instant::now() >= all_at {
            traffic.report_all(SystemTime::now(), FRESH);
            all_at = Instant::now() + ALL_EVERY;
        }
        while let Some(report) = next(&traffic).await {
            deliver(&hub, &report).await;
        }
    }
}

/// Writes totals down as often, whether or not the hub listens; never ends.
pub async fn write_down(traffic: Arc<Traffic>, every: watch::Receiver<Duration>) {
    loop {
        let pause = *every.borrow();
        sleep(pause).await;
        let traffic = Arc::clone(&traffic);
        match spawn_blocking(move || traffic.flush(SystemTime::now())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "traffic is not written down"),
            Err(error) => tracing::error!(%error, "the task that writes traffic down failed"),
        }
    }
}

/// Reports once more before the end, if the hub listens; what it does not hear, it hears next time.
pub async fn report_last(traffic: Arc<Traffic>, hub: &Hub) {
    let all = async {
        while let Some(report) = next(&traffic).await {
            if send(hub, &report).await.is_err() {
                return;
            }
        }
    };
    if timeout(LAST_REPORT, all).await.is_err() {
        tracing::debug!("the hub did not hear the last report");
    }
}

async fn next(traffic: &Arc<Traffic>) -> Option<GatewayReport> {
    let traffic = Arc::clone(traffic);
    match spawn_blocking(move || traffic.next_report(SystemTime::now())).await {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => {
            tracing::error!(%error, "traffic is not written down, so it is not reported either");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the task that writes traffic down failed");
            None
        }
    }
}

/// Sends one report until the hub has it. One that it will never take is dropped, or it would stop all others.
async fn deliver(hub: &Hub, report: &GatewayReport) {
    let mut patience = Patience::new();
    while let Err(error) = send(hub, report).await {
        let about_us = error.problem().is_some_and(|problem| [401, 403, 404, 409].contains(&problem.status));
        if error.retry() == Retry::Never && error.problem().is_some() && !about_us {
            tracing::error!(%error, number = report.number, peers = report.peers.len(), "a report is dropped");
            return;
        }
        tracing::warn!(%error, number = report.number, "a report waits for the hub");
        sleep(patience.after(&error)).await;
    }
}

async fn send(hub: &Hub, report: &GatewayReport) -> Result<(), UplinkError> {
    let taken: ReportsTaken = hub.post("/v1/gateway/reports", report).await?;
    tracing::debug!(number = report.number, taken = taken.number, peers = report.peers.len(), "the hub took a report");
    Ok(())
}
