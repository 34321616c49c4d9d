//! Changes on the router that concern our rows, as they happen.
//!
//! `listen` tells of a row that came, changed or went. *Source:* the API manual; observed on 7.23 (`.dead=true` for a row that
//! went). Which menus can be listened to, and which changes it tells of, differs: what is not told is found by the periodic
//! reading. A menu that changes all the time for reasons of its own is not listened to for long.

use std::time::Duration;

use futures_util::stream::{AbortHandle, SelectAll, Stream, StreamExt as _};
use futures_util::{FutureExt as _, stream};
use tokio::time::Instant;

use crate::domain::{Marker, SiteId};
use crate::reconcile::observe::Observed;
use crate::routeros::client::{Call, Client};
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu::{self, Menu};
use crate::routeros::row::Row;

/// What is listened to: every menu that has rows of ours, but for the routing tables of a router that speaks BGP.
const MENUS: [&Menu; 9] = [
    &menu::WIREGUARD,
    &menu::PEERS,
    &menu::IP_ADDRESS,
    &menu::IP_ROUTE,
    &menu::INTERFACE_LIST,
    &menu::LIST_MEMBER,
    &menu::FILTER,
    &menu::NAT,
    &menu::MANGLE,
];
/// Events of one menu within [`FLOOD_TIME`] from which it is not listened to any more.
const FLOOD: u32 = 600;
const FLOOD_TIME: Duration = Duration::from_mins(1);

/// What a menu says.
enum Said {
    /// A row changed.
    Row(Box<Row>),
    /// It says nothing any more, and why.
    End(Option<CallError>),
}

type Voice = std::pin::Pin<Box<dyn Stream<Item = (usize, Said)> + Send>>;

/// The ears at one router.
pub(super) struct Watch {
    voices: SelectAll<Voice>,
    site: SiteId,
    /// Ids of our rows by menu.
    own: Vec<(usize, Vec<u8>)>,
    floods: [u32; MENUS.len()],
    since: Instant,
    /// A change that was heard while the router was read: whether the reading has it nobody knows.
    missed: Option<&'static str>,
    /// What ends each voice, as long as it is heard.
    hearing: [Option<AbortHandle>; MENUS.len()],
}

/// Why a router is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noise {
    /// A row of ours changed in this menu, or one that may stand in its way.
    Changed(&'static str),
    /// The session is over.
    Lost,
}

impl Watch {
    /// Begins to listen. A router that refuses is not listened to.
    ///
    /// # Errors
    /// Any [`CallError`] but a refusal: then the session is over.
    pub(super) async fn begin(client: &Client, site: &SiteId) -> Result<Self, CallError> {
        let patient = client.with_deadline(Duration::MAX);
        let (mut voices, mut hearing) = (SelectAll::new(), [const { None }; MENUS.len()]);
        for (index, menu) in MENUS.iter().enumerate() {
            let command = Command::new(&format!("{}/listen", menu.path)).proplist(&[".id", "comment", ".dead"]);
            let (voice, end) = stream::abortable(voice(index, patient.stream(&command).await?));
            hearing[index] = Some(end);
            let voice: Voice = Box::pin(voice);
            voices.push(voice);
        }
        let since = Instant::now();
        Ok(Self { voices, site: site.clone(), own: Vec::new(), floods: [0; MENUS.len()], since, missed: None, hearing })
    }

    /// Forgets what was said until now: the reading that comes has it.
    pub(super) fn forget(&mut self) {
        self.hear();
        self.missed = None;
    }

    /// Notes which rows are ours now. What was said since [`Self::forget`] is our own doing if we wrote; else it is still to be looked at.
    pub(super) fn know(&mut self, observed: &Observed, wrote: bool) {
        self.own.clear();
        for (menu, row, marker) in observed.marked() {
            if let Some(index) = MENUS.iter().position(|known| *known == menu)
                && marker.site == self.site
            {
                self.own.push((index, row.id().to_vec()));
            }
        }
        self.hear();
        if wrote {
            self.missed = None;
        }
    }

    /// Takes in what was said until now.
    fn hear(&mut self) {
        while let Some(Some((index, said))) = self.voices.next().now_or_never() {
            match &said {
                Said::Row(row) if self.concerns_us(index, row) => self.missed = Some(MENUS[index].path),
                Said::Row(_) => {}
                // The end of a voice is heard all the same.
                Said::End(_) => drop(self.ended(index, &said)),
            }
        }
    }

    /// Tells how many menus can be heard.
    pub(super) fn heard(&self) -> usize {
        self.hearing.iter().flatten().count()
    }

    /// Waits for something that concerns us; for ever if nothing is listened to.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn noise(&mut self) -> Noise {
        if let Some(menu) = self.missed.take() {
            return Noise::Changed(menu);
        }
        loop {
            let Some((index, said)) = self.voices.next().await else {
                return std::future::pending().await;
            };
            match &said {
                Said::Row(_) if self.floods(index) => {}
                Said::Row(row) if self.concerns_us(index, row) => return Noise::Changed(MENUS[index].path),
                Said::End(_) if self.ended(index, &said) => return Noise::Lost,
                Said::Row(_) | Said::End(_) => {}
            }
        }
    }

    /// Counts an event; true once a menu says too much.
    fn floods(&mut self, index: usize) -> bool {
        if self.since.elapsed() >= FLOOD_TIME {
            self.since = Instant::now();
            self.floods = [0; MENUS.len()];
        }
        self.floods[index] += 1;
        if self.floods[index] < FLOOD {
            return false;
        }
        if let Some(voice) = self.hearing[index].take() {
            voice.abort();
            tracing::info!(menu = MENUS[index].path, "changes all the time: it is read from time to time only");
        }
        true
    }

    /// Whether a row is ours, or one that ours must stand before.
    fn concerns_us(&self, index: usize, row: &Row) -> bool {
        let marker = row.get("comment").and_then(Marker::of_comment);
        if marker.is_some_and(|marker| marker.site == self.site) || MENUS[index].ordered {
            return true;
        }
        let id = row.get(".id").unwrap_or_default();
        self.own.iter().any(|(menu, own)| *menu == index && own == id)
    }

    /// Notes that a menu says nothing any more; true if that is because the session is over.
    fn ended(&mut self, index: usize, said: &Said) -> bool {
        self.hearing[index] = None;
        match said {
            Said::End(Some(error)) if error.refusal().is_none() => true,
            Said::End(error) => {
                let why = error.as_ref().map(ToString::to_string);
                tracing::debug!(menu = MENUS[index].path, why, "cannot be listened to");
                false
            }
            Said::Row(_) => false,
        }
    }
}

/// What one menu says, up to its end.
fn voice(index: usize, call: Call) -> impl Stream<Item = (usize, Said)> + Send {
    stream::unfold(Some(call), move |call| async move {
        let mut call = call?;
        match call.next().await {
            Some(Ok(row)) => Some(((index, Said::Row(Box::new(row))), Some(call))),
            Some(Err(error)) => Some(((index, Said::End(Some(error))), None)),
            None => Some(((index, Said::End(None)), None)),
        }
    })
}
