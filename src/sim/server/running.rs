//! Commands that run on: `listen` and pings.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Shared;
use super::reply::{Out, ReplyError};
use super::uplink::Pong;
use crate::sim::device::{Change, PingSpec, Rules, View, Viewer, Wanted};
use crate::sim::schema::print_duration;

/// What a `listen` shows.
pub(super) struct Listening {
    pub(super) rules: &'static Rules,
    pub(super) wanted: Wanted,
    pub(super) viewer: Viewer,
}

/// Sends rows as they change; never ends by itself.
pub(super) async fn listen(
    shared: Arc<Shared>,
    out: Out,
    tag: Option<Vec<u8>>,
    listening: Listening,
    mut changes: broadcast::Receiver<Change>,
) {
    loop {
        let change = match changes.recv().await {
            Ok(change) if change.table == listening.rules.table => change,
            Ok(_) => continue,
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "a listen missed changes");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        let row = if change.gone {
            let id = format!("*{:X}", change.id).into_bytes();
            Some(View(vec![(".id".to_owned(), id), (".dead".to_owned(), b"true".to_vec())]))
        } else {
            shared.device().print_one(listening.rules, change.id, &listening.wanted, &listening.viewer)
        };
        if let Some(row) = row
            && out.row(tag.as_deref(), &row).await.is_err()
        {
            return;
        }
    }
}

/// Sends a row for every reply or timeout, then `!done`.
pub(super) async fn ping(shared: Arc<Shared>, out: Out, tag: Option<Vec<u8>>, spec: PingSpec) {
    if let Err(error) = ping_all(&shared, &out, tag.as_deref(), spec).await {
        tracing::debug!(%error, "a ping ended early");
    }
}

async fn ping_all(shared: &Arc<Shared>, out: &Out, tag: Option<&[u8]>, spec: PingSpec) -> Result<(), ReplyError> {
    let mut statistics = Statistics::default();
    match shared.uplink.ping(shared, &spec) {
        Ok(mut pongs) => {
            while let Some(pong) = pongs.recv().await {
                out.row(tag, &statistics.row(&pong)).await?;
            }
        }
        Err(refusal) => {
            let trap = shared.device().texts.trap(&refusal);
            out.trap(tag, &trap).await?;
        }
    }
    out.done(tag, None).await
}

/// What a ping has seen so far, in microseconds.
#[derive(Default)]
struct Statistics {
    sent: u64,
    received: u64,
    min: u128,
    max: u128,
    total: u128,
}

impl Statistics {
    /// *Source*: `/tool/ping` recorded on 7.24.3.
    fn row(&mut self, pong: &Pong) -> View {
        let seq = self.sent;
        self.sent += 1;
        let mut fields = vec![("seq", seq.to_string()), ("host", pong.host.clone())];
        match pong.reply {
            Some(reply) => {
                let time = reply.time.as_micros();
                self.min = if self.received == 0 { time } else { self.min.min(time) };
                self.max = self.max.max(time);
                self.total += time;
                self.received += 1;
                fields.push(("size", reply.size.to_string()));
                fields.push(("ttl", reply.ttl.to_string()));
                fields.push(("time", micros(time)));
            }
            None => fields.push(("status", pong.status.to_owned())),
        }
        fields.push(("sent", self.sent.to_string()));
        fields.push(("received", self.received.to_string()));
        fields.push(("packet-loss", (100 * (self.sent - self.received) / self.sent).to_string()));
        if self.received > 0 {
            fields.push(("min-rtt", micros(self.min)));
            fields.push(("avg-rtt", micros(self.total / u128::from(self.received))));
            fields.push(("max-rtt", micros(self.max)));
        }
        View(fields.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect())
    }
}

fn micros(micros: u128) -> String {
    print_duration(std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}
