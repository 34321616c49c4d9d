//! The move of a router from one tunnel to the next: when it is begun, when it is taken back, when it is left alone for a while.
//!
//! The next tunnel is made beside the one in use. Once it has a handshake, addresses and routes are led into it, and the hub is
//! told; the hub ends the move by wanting the next tunnel alone. A next tunnel that never proves itself stays where it is, and
//! harms nobody. One that dies after it took over, while the one before still has handshakes, is left again.
//!
//! A router with a strict `rp-filter` takes a packet only from where it would send the answer to: from its turn on it would drop all
//! that still comes by the tunnel before, until the hub has turned as well. There a move is not begun, and a finding says so; the
//! setting is the router's owner's.
//!
//! What is in use is read from the router: an agent that comes along in the middle goes on from there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::round::RoundError;
use super::source::Wanted;
use crate::domain::{Beside, Role, Site};
use crate::reconcile::converge::ConvergeError;
use crate::reconcile::decide::Refused;
use crate::reconcile::entry::Entry;
use crate::reconcile::generation::as_on;
use crate::reconcile::guard::GuardError;
use crate::reconcile::names::Names;
use crate::reconcile::observe::{Interest, ReadError, observe};
use crate::reconcile::prove::{RECENT, ping};
use crate::routeros::client::Client;
use crate::routeros::command::Command;
use crate::routeros::error::CallError;
use crate::routeros::menu::{self, parse_duration};

/// Between two looks at the tunnels of a move: a handshake is waited for, or a death would be an outage.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks once a move has taken [`CLOSELY_FOR`]: it waits for somebody, and must not cost the router more than its tunnel.
const LOOK_SELDOM: Duration = Duration::from_secs(20);
/// How long a move is looked at closely, from its last turn on: a hub lets go of the old tunnel after about as long.
const CLOSELY_FOR: Duration = Duration::from_mins(5);
/// So many pings in a row are lost in a tunnel that is dead: with the time between looks, and what the health of the tunnel asks in
/// between, ten to twenty seconds.
const SILENT_PINGS: u32 = 4;
/// How long one ping may take.
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// After a try that failed, before the next: longer than [`RECENT`], so that no handshake of before is taken for a new one.
const PAUSE: Duration = Duration::from_mins(10);
/// The menu that says how strict the router is with sources.
const SETTINGS: &str = "/ip/settings";
/// What a strict router would do in a move.
const STRICT: &str =
    "the router has rp-filter=strict: moving to the next tunnel, it would drop what still comes by the present one";
/// Most tries at one move: what failed so often needs a person, or another tunnel.
const MAX_TRIES: u32 = 3;

/// Which tunnel the router is to use, of a site that has two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    /// The one that it uses already, whichever that is.
    #[default]
    AsFound,
    /// The one that is there for good.
    Present,
    /// The one that takes over.
    Next,
    /// The present one, without the next beside it: the router does not take that.
    Alone,
}

/// Where a router is on its way to the next tunnel.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The next tunnel, as the hub wants it.
    next: Option<Beside>,
    side: Side,
    /// Rows were led over, or back, in the last round that went well.
    settled: bool,
    /// Tries that failed.
    tries: u32,
    /// No try before this.
    not_before: Option<Instant>,
    /// Pings came back through a tunnel: that they do not means something.
    heard: bool,
    /// Pings that did not come back, in a row.
    silent: u32,
    /// When the side was chosen.
    since: Option<Instant>,
    /// The router would drop what comes by the tunnel before, once the next one is in use: the move is not begun.
    strict: bool,
    /// When the tunnels are to be looked at; `None` as long as the router is not as it is wanted.
    due: Option<Instant>,
    /// What is wanted of the router, made of what the hub wants.
    made: Option<(Arc<Wanted>, Side, Arc<Wanted>)>,
}

/// What a look saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sight {
    /// Age of the last handshake of the tunnel in use.
    in_use: Option<Duration>,
    /// The same of the one beside it.
    beside: Option<Duration>,
    /// Whether a ping came back through the one in use; `None` if the router would not ping.
    answered: Option<bool>,
}

/// Why a side is left.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    side: Side,
    evidence: String,
}

impl Course {
    /// Returns what is wanted of the router now: what the hub wants, with the tunnel in use that is to be.
    ///
    /// # Errors
    /// [`ReadError`] if the router must be read to know which that is, and cannot be.
    ///
    /// # Cancel safety
    /// Nothing is written.
    pub(super) async fn wanted(&mut self, client: &Client, wish: &Arc<Wanted>) -> Result<Arc<Wanted>, ReadError> {
        self.due = None;
        if self.next != wish.site.beside {
            *self = Self { next: wish.site.beside.clone(), ..Self::default() };
        }
        if self.next.is_none() {
            return Ok(Arc::clone(wish));
        }
        let mut begins = false;
        if self.side == Side::AsFound {
            let observed = observe(client, &Interest::of(&wish.site)).await?;
            let is_next = as_on(wish.site.clone(), &observed).generation != wish.site.generation;
            self.side = if is_next { Side::Next } else { Side::Present };
            // A turn that was cut short is still to be carried out.
            (self.since, self.settled) = (Some(Instant::now()), !is_next);
            begins = !is_next;
        }
        if self.side == Side::Alone && (self.strict || self.may_try(Instant::now())) {
            (self.side, begins) = (Side::Present, true);
        }
        if begins {
            self.strict = is_strict(client).await.map_err(|source| ReadError::Call { path: SETTINGS, source })?;
            if self.strict {
                self.side = Side::Alone;
            }
        }
        match &self.made {
            Some((of, side, made)) if Arc::ptr_eq(of, wish) && *side == self.side => Ok(Arc::clone(made)),
            _ => {
                let made = Arc::new(self.side.of(wish));
                self.made = Some((Arc::clone(wish), self.side, Arc::clone(&made)));
                Ok(made)
            }
        }
    }

    /// Whether the router is on its way to another tunnel.
    pub(super) fn is_on(&self) -> bool {
        self.next.is_some() && self.side != Side::Alone
    }

    /// Why a move is not begun, if it is the router that speaks against it.
    pub(super) fn held(&self) -> Option<&'static str> {
        self.strict.then_some(STRICT)
    }

    /// Whether the last turn is still to be carried out: the changes of the next round are nobody's drift.
    pub(super) fn is_turning(&self) -> bool {
        self.next.is_some() && !self.settled
    }

    /// Takes note that the router is as it is wanted: from now on the tunnels are looked at.
    pub(super) fn settle(&mut self) {
        self.settled = true;
        self.due = self.is_on().then(Instant::now);
    }

    /// Takes note of a round that failed; `Some` with what is done instead, if there is anything.
    pub(super) fn failed(&mut self, error: &RoundError) -> Option<String> {
        let why = || super::source::Chain(error).to_string();
        match self.side {
            Side::Next if !self.settled && is_about_writes(error) && (error.is_undone() || !error.is_lost()) => {
                self.give_up(Side::Present, Instant::now());
                Some(format!("back to the tunnel before: {}", why()))
            }
            Side::Present if self.next.is_some() && is_about_rows(error) && !error.is_undone() && !error.is_lost() => {
                self.give_up(Side::Alone, Instant::now());
                Some(format!("on without a tunnel beside the one in use: {}", why()))
            }
            _ => None,
        }
    }

    fn give_up(&mut self, side: Side, now: Instant) {
        self.tries += 1;
        (self.side, self.since, self.settled) = (side, Some(now), false);
        (self.silent, self.due) = (0, None);
        self.not_before = Some(now + PAUSE);
    }

    fn may_try(&self, now: Instant) -> bool {
        self.tries < MAX_TRIES && self.not_before.is_none_or(|not_before| now >= not_before)
    }

    /// When the tunnels are to be looked at, if there are two.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks at the tunnels of what is wanted; returns what speaks for another turn, if anything does.
    ///
    /// # Errors
    /// The session is over.
    ///
    /// # Cancel safety
    /// Nothing is written.
    pub(super) async fn look(&mut self, client: &Client) -> Result<Option<String>, CallError> {
        let Some((_, _, wanted)) = self.made.clone() else {
            self.due = None;
            return Ok(None);
        };
        let sight = see(client, &wanted.site).await?;
        let now = Instant::now();
        let closely = self.since.is_none_or(|since| now.saturating_duration_since(since) < CLOSELY_FOR);
        self.due = Some(now + if closely { LOOK_EVERY } else { LOOK_SELDOM });
        Ok(self.judge(&sight, now).map(|turn| {
            match turn.side {
                Side::Present => self.give_up(Side::Present, now),
                side => (self.side, self.since, self.settled, self.silent) = (side, Some(now), false, 0),
            }
            turn.evidence
        }))
    }

    /// Decides whether what was seen calls for a turn.
    fn judge(&mut self, sight: &Sight, now: Instant) -> Option<Turn> {
        match sight.answered {
            Some(true) => (self.heard, self.silent) = (true, 0),
            Some(false) => self.silent = self.silent.saturating_add(1),
            None => {}
        }
        let beside = sight.beside.filter(|age| *age <= RECENT)?;
        let beside = menu::format_duration(beside);
        match self.side {
            Side::Present if self.may_try(now) => {
                Some(Turn { side: Side::Next, evidence: format!("the next tunnel had a handshake {beside} ago") })
            }
            Side::Next => {
                let silent = self.heard && self.silent >= SILENT_PINGS;
                let stale = sight.in_use.is_none_or(|age| age > RECENT);
                let age = sight.in_use.map_or_else(|| "never".to_owned(), |age| menu::format_duration(age) + " ago");
                (silent || stale).then(|| Turn {
                    side: Side::Present,
                    evidence: format!(
                        "{} pings in a row were lost, its last handshake was {age}, and that of the tunnel before {beside} ago",
                        self.silent
                    ),
                })
            }
            _ => None,
        }
    }
}

impl Side {
    fn of(self, wish: &Arc<Wanted>) -> Wanted {
        let wanted = Wanted::clone(wish);
        match self {
            // What key the hub has for the next tunnel it does not say.
            Self::Next => Wanted { site: wanted.site.switched(), known_key: None, ..wanted },
            Self::Alone => Wanted { site: wanted.site.alone(), ..wanted },
            Self::AsFound | Self::Present => wanted,
        }
    }
}

/// Whether a round failed by what was to be on the router, and not by who else is at work there.
fn is_about_rows(error: &RoundError) -> bool {
    matches!(error, RoundError::Refused(Refused::Preflight(_))) || is_about_writes(error)
}

/// Whether it failed by what was written.
fn is_about_writes(error: &RoundError) -> bool {
    let RoundError::Apply(error) = error else { return false };
    matches!(
        error,
        GuardError::Converge(ConvergeError::Apply(_) | ConvergeError::Unsettled(_))
            | GuardError::PutBack { .. }
            | GuardError::OutOfSight { .. }
    )
}

/// Reads the handshakes of both tunnels, and pings through the one in use.
async fn see(client: &Client, site: &Site) -> Result<Sight, CallError> {
    let pinged = async {
        match site.tunnel.probe.first() {
            Some(probe) => ping(client, probe, 1, PING_PATIENCE).await.map(Some),
            None => Ok(None),
        }
    };
    let (peers, pinged) = futures_util::try_join!(peers(client, site), pinged)?;
    let age = |generation: u32| {
        let is_it = |row: &&Entry| {
            row.marker().is_some_and(|marker| {
                marker.site == site.id && marker.role == Role::Peer && marker.generation() == Some(generation)
            })
        };
        peers.iter().find(is_it).and_then(|row| parse_duration(row.get("last-handshake")?))
    };
    let answered = pinged.filter(|pinged| pinged.refused.is_none()).map(|pinged| !pinged.rtts.is_empty());
    let beside = site.beside.as_ref().and_then(|beside| age(beside.generation));
    Ok(Sight { in_use: age(site.generation), beside, answered })
}

/// Whether the router drops what comes in by another way than its answer would go out. One that does not say so is not.
async fn is_strict(client: &Client) -> Result<bool, CallError> {
    match client.call(&Command::new("/ip/settings/print").proplist(&["rp-filter"])).await {
        Ok(reply) => Ok(reply.rows.first().and_then(|row| row.get("rp-filter")) == Some(b"strict")),
        Err(error) if error.refusal().is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The peers of our interfaces. A router that does not know the query answers with all.
async fn peers(client: &Client, site: &Site) -> Result<Vec<Entry>, CallError> {
    let names = Names::of(site);
    let command = Command::new("/interface/wireguard/peers/print").proplist(&[".id", "comment", "last-handshake"]);
    let command = names.interfaces().fold(command, |command, name| command.query(&format!("?interface={name}")));
    let command = if names.beside.is_some() { command.query("?#|") } else { command };
    match client.call(&command).await {
        Ok(reply) => Ok(reply.rows.iter().map(Entry::of_row).collect()),
        Err(error) if error.refusal().is_some() => {
            tracing::debug!(%error, "the tunnels of a move cannot be looked at");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(side: Side) -> Course {
        Course { side, settled: true, ..Course::default() }
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    /// A look at a tunnel in use that answers, and one beside it.
    fn sight(beside: Option<Duration>) -> Sight {
        Sight { in_use: Some(secs(60)), beside, answered: Some(true) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_tunnel_is_used_once_it_has_a_fresh_handshake_and_not_before() {
        let (mut course, now) = (course(Side::Present), Instant::now());
        assert_eq!(course.judge(&sight(None), now), None);
        assert_eq!(course.judge(&sight(Some(secs(181))), now), None, "one of long ago proves nothing");
        assert_eq!(course.judge(&sight(Some(secs(0))), now).map(|turn| turn.side), Some(Side::Next));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_took_over_and_died_is_left_again_while_the_one_before_lives() {
        let now = Instant::now();
        let dead = Sight { answered: Some(false), ..sight(Some(secs(30))) };
        let mut course = course(Side::Next);
        assert_eq!(course.judge(&sight(Some(secs(30))), now), None);
        for _ in 1..SILENT_PINGS {
            assert_eq!(course.judge(&dead, now), None);
        }
        let turn = course.judge(&dead, now).unwrap();
        assert_eq!(turn.side, Side::Present);
        assert!(turn.evidence.contains("4 pings in a row were lost"), "{}", turn.evidence);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_tunnel_is_not_left_for_another_dead_one() {
        let now = Instant::now();
        let mut course = course(Side::Next);
        course.judge(&sight(Some(secs(30))), now);
        for beside in [None, Some(secs(181)), Some(secs(900))] {
            for _ in 0..10 {
                assert_eq!(course.judge(&Sight { in_use: None, beside, answered: Some(false) }, now), None);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_answers_pings_the_handshakes_alone_tell() {
        let now = Instant::now();
        for answered in [None, Some(false)] {
            let mut course = course(Side::Next);
            for _ in 0..20 {
                assert_eq!(course.judge(&Sight { answered, ..sight(Some(secs(5))) }, now), None, "{answered:?}");
            }
            let stale = Sight { in_use: Some(secs(181)), beside: Some(secs(5)), answered };
            assert_eq!(course.judge(&stale, now).map(|turn| turn.side), Some(Side::Present), "{answered:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_that_was_taken_back_is_tried_again_after_a_pause_and_not_for_ever() {
        let mut course = course(Side::Present);
        for _ in 0..MAX_TRIES {
            assert!(course.judge(&sight(Some(secs(1))), Instant::now()).is_some());
            course.give_up(Side::Present, Instant::now());
            assert_eq!(course.judge(&sight(Some(secs(1))), Instant::now()), None, "at once");
            tokio::time::advance(PAUSE).await;
        }
        tokio::time::advance(PAUSE * 100).await;
        assert_eq!(course.judge(&sight(Some(secs(1))), Instant::now()), None, "what failed so often needs a person");
    }
}
