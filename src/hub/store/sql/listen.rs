//! Hears what other replicas changed: LISTEN on PostgreSQL.

use std::sync::Weak;
use std::time::Duration;

use sqlx::postgres::PgListener;

use crate::domain::Secret;
use crate::hub::wake::{Signal, Wakes};

/// The channel of NOTIFY.
pub(super) const CHANNEL: &str = "sitepeer";
/// After the connection broke: long-polls end by themselves meanwhile, so nothing is lost but time.
const AGAIN: Duration = Duration::from_millis(500);
/// A quiet connection is looked at after this, so that one that died silently is noticed, and a store that is gone too.
const QUIET: Duration = Duration::from_secs(3);
/// An answer that takes longer does not come.
const ANSWER: Duration = Duration::from_secs(2);

/// Listens as long as the store is there; every new connection wakes all, because signals may have been lost before it.
pub(super) async fn run(url: Secret, wakes: Weak<Wakes>) {
    loop {
        match listen(&url, &wakes).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "not hearing the other replicas, trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen(url: &Secret, wakes: &Weak<Wakes>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect(url.expose()).await?;
    listener.listen(CHANNEL).await?;
    match wakes.upgrade() {
        Some(wakes) => wakes.wake_all(),
        None => return Ok(()),
    }
    loop {
        let heard = tokio::time::timeout(QUIET, listener.try_recv()).await;
        let Some(wakes) = wakes.upgrade() else { return Ok(()) };
        match heard {
            Ok(Ok(Some(notification))) => match notification.payload().parse::<Signal>() {
                Ok(signal) => wakes.signal(&signal),
                Err(error) => {
                    tracing::warn!(%error, "a notification that is none of ours");
                    wakes.wake_all();
                }
            },
            // The connection was lost and is there again: what was said meanwhile was not heard.
            Ok(Ok(None)) => wakes.wake_all(),
            Ok(Err(error)) => return Err(error),
            // Quiet: the next round finds out whether the connection is still there.
            Err(_) => check(&mut listener).await?,
        }
    }
}

/// Asks something, so that a connection that died silently is noticed.
async fn check(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    let asked = tokio::time::timeout(ANSWER, sqlx::query("SELECT 1").execute(listener)).await;
    asked.map_err(|_| sqlx::Error::PoolTimedOut)?.map(|_| ())
}
