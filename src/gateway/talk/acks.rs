//! Telling the hub what came of what it wanted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Patience;
use crate::gateway::keeper::Keeper;
use crate::uplink::Hub;

/// How often it is looked whether something took too long, when nothing else happens.
const LOOK: Duration = Duration::from_secs(5);

/// Tells the hub whenever there is something new to tell, once it knows us; never ends.
pub async fn tell_outcomes(keeper: Arc<Keeper>, hub: Hub, mut known: watch::Receiver<bool>) {
    if known.wait_for(|known| *known).await.is_err() {
        return;
    }
    let mut patience = Patience::new();
    loop {
        let Some(word) = keeper.word().await else {
            // Woken or not, the next look tells.
            drop(timeout(LOOK, keeper.host().news.notified()).await);
            continue;
        };
        match hub.post::<_, ()>("/v1/gateway/applied", &word.applied).await {
            Ok(()) => {
                patience.reset();
                keeper.was_told(word);
            }
            Err(error) => {
                tracing::warn!(%error, "the hub does not hear what was applied");
                sleep(patience.after(&error)).await;
            }
        }
    }
}
