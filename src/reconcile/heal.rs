//! Healing in place: what a step changes on the router, and what of it is kept up afterwards.
//!
//! Pure, as all deciding. Who decides that a step is due, and how often it may be taken, is the agent.
//!
//! | step | changes |
//! |---|---|
//! | `resolve` | sets the same endpoint name again, which makes the router look it up anew |
//! | `bounce` | switches the peer off and on: its session begins anew |
//! | `port` | moves the local UDP port: what keeps state of the old one on the way forgets it |
//! | `endpoint` | takes the hub's next endpoint in turn |
//!
//! A port that the site config fixes, and another endpoint than its first, would be drift. What healing chose is told from drift by
//! a note behind our marker, which names the wish that it stands in for: [`WAY_NOTE`] with a digest of the hub's key, its endpoints and
//! the wished port. So it outlives the agent without a file, every command sees it alike, and another wish ends it.
//! The last step is noted too, for `status` and for an agent that begins anew: [`HEALED_NOTE`].

use std::borrow::Cow;

use super::decide::{Refused, basis, version};
use super::desired::{Note, Value, desired_as};
use super::entry::Entry;
use super::generation::row_in_use;
use super::hex;
use super::observe::Observed;
use super::plan::{Change, FieldChange, Op, Plan, note, plan};
use super::preflight::Session;
use crate::domain::{Marker, Role, Site, SiteId};
use crate::routeros::menu::{self, Menu};

/// The last step on a peer's row: its word, `@`, and when, in seconds since 1970.
pub const HEALED_NOTE: &str = "healed=";
/// How many steps were taken in the day before the last one, that one included: no restart of an agent takes them back.
pub const HEALS_NOTE: &str = "heals=";
/// The digest of the wish that an endpoint or a port stands in for.
pub const WAY_NOTE: &str = "way=";
/// Bytes of that digest: it tells apart wishes of one site, nothing more.
const WAY_DIGEST_BYTES: usize = 4;
/// First port that is chosen from, up to the last: those that nobody is assigned. *Source:* RFC 6335, section 6.
const FIRST_PORT: u16 = 49_152;
/// Ports that are tried for one that no other interface of the router has: there are far fewer interfaces.
const PORT_TRIES: u16 = 64;

/// A step of healing, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The endpoint's name is looked up again.
    Resolve,
    /// The peer is switched off and on.
    Bounce,
    /// Another local UDP port.
    Port,
    /// The hub's next endpoint.
    Endpoint,
}

impl Step {
    /// Every step, the mildest first.
    pub const ALL: [Self; 4] = [Self::Resolve, Self::Bounce, Self::Port, Self::Endpoint];

    /// Returns the stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Bounce => "bounce",
            Self::Port => "port",
            Self::Endpoint => "endpoint",
        }
    }

    /// Returns what it does, for people.
    #[must_use]
    pub fn said(self) -> &'static str {
        match self {
            Self::Resolve => "set the hub's name again",
            Self::Bounce => "switched the peer off and on",
            Self::Port => "moved the local UDP port",
            Self::Endpoint => "took the hub's next endpoint",
        }
    }
}

/// The last step that was taken on a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healed {
    /// Which.
    pub step: Step,
    /// When, in seconds since 1970 by the clock of the agent that took it.
    pub at: i64,
    /// How many there were in the day before that, this one included.
    pub of_day: u16,
}

impl Healed {
    /// Reads what a peer's row says; nothing where anybody wrote something else there.
    #[must_use]
    pub fn of(peer: &Entry) -> Option<Self> {
        let comment = peer.get("comment")?;
        let said = std::str::from_utf8(note(comment, HEALED_NOTE)?).ok()?;
        let of_day = note(comment, HEALS_NOTE).and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
        let (word, at) = said.split_once('@')?;
        let step = Step::ALL.into_iter().find(|step| step.word() == word)?;
        Some(Self { step, at: at.parse().ok()?, of_day: of_day.unwrap_or(1) })
    }

    /// The same from a whole reading.
    #[must_use]
    pub fn on(observed: &Observed, site: &SiteId) -> Option<Self> {
        let is_ours =
            |row: &&Entry| row.marker().is_some_and(|marker| marker.site == *site && marker.role == Role::Peer);
        observed.rows(&menu::PEERS).iter().filter(is_ours).filter_map(Self::of).max_by_key(|healed| healed.at)
    }
}

/// What healing chose in place of what the site config says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The place among the hub's endpoints; never the first.
    pub endpoint: Option<usize>,
    /// The local UDP port, where the site config fixes another.
    pub port: Option<u16>,
}

impl Chosen {
    /// Reads it from the router.
    #[must_use]
    pub fn of(site: &Site, observed: &Observed) -> Self {
        let way = way(site);
        let stands_in = |row: &&Entry| row.get("comment").and_then(|text| note(text, WAY_NOTE)) == Some(way.as_bytes());
        let peer = row_in_use(site, observed, &Role::Peer).filter(stands_in);
        let interface = row_in_use(site, observed, &Role::Interface).filter(stands_in);
        let port = interface.and_then(|row| row.parse::<u16>("listen-port"));
        Self {
            endpoint: peer.and_then(|row| place(site, row)).filter(|place| *place > 0),
            port: port.filter(|port| site.tunnel.listen_port.is_some_and(|wished| wished != *port)),
        }
    }

    /// Returns the site as it is meant now: the endpoint in use first, and the port in use.
    #[must_use]
    pub fn meant<'a>(&self, site: &'a Site) -> Cow<'a, Site> {
        if *self == Self::default() {
            return Cow::Borrowed(site);
        }
        let mut meant = site.clone();
        if let Some(place) = self.endpoint.filter(|place| *place < meant.hub.endpoints.len()) {
            let chosen = meant.hub.endpoints.remove(place);
            meant.hub.endpoints.insert(0, chosen);
        }
        if let (Some(port), Some(_)) = (self.port, site.tunnel.listen_port) {
            meant.tunnel.listen_port = Some(port);
        }
        Cow::Owned(meant)
    }

    /// Returns the notes that keep it from being taken for drift: of the interface, and of the peer.
    pub(super) fn notes(&self, site: &Site) -> [Note; 2] {
        let says = |is_so: bool| Note { name: WAY_NOTE, value: is_so.then(|| way(site)) };
        [says(self.port.is_some()), says(self.endpoint.is_some())]
    }
}

/// Returns the site as the router has it: what healing chose stands in for what it says.
#[must_use]
pub fn meant<'a>(site: &'a Site, observed: &Observed) -> Cow<'a, Site> {
    Chosen::of(site, observed).meant(site)
}

/// The digest of what healing may stand in for.
fn way(site: &Site) -> String {
    let mut text = site.hub.public_key.to_string();
    for endpoint in &site.hub.endpoints {
        text.push(' ');
        text.push_str(&endpoint.to_string());
    }
    if let Some(port) = site.tunnel.listen_port {
        text.push_str(" from ");
        text.push_str(&port.to_string());
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hex(digest.as_ref().get(..WAY_DIGEST_BYTES).unwrap_or_default())
}

/// Which of the hub's endpoints a peer's row has.
fn place(site: &Site, peer: &Entry) -> Option<usize> {
    let (host, port) = (peer.text("endpoint-address")?, peer.parse::<u16>("endpoint-port")?);
    site.hub.endpoints.iter().position(|endpoint| endpoint.port == port && endpoint.host.to_string() == host)
}

/// When a step is taken, and by what chance.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix: i64,
    /// Any number: chooses the port.
    pub chance: u16,
    /// How many steps were taken in the last day, this one included.
    pub of_day: u16,
}

/// Decides what a step means for what was read; empty if the tunnel's rows are not there.
///
/// # Errors
/// [`Refused`]; then nothing may be written.
pub fn plan_step(
    step: Step,
    site: &Site,
    observed: &Observed,
    session: &Session,
    moment: Moment,
) -> Result<Plan, Refused> {
    let (Some(interface), Some(peer)) =
        (row_in_use(site, observed, &Role::Interface), row_in_use(site, observed, &Role::Peer))
    else {
        return Ok(Plan::default());
    };
    let mut chosen = Chosen::of(site, observed);
    let port = free_port(observed, moment.chance);
    match step {
        Step::Endpoint => {
            let next = (place(site, peer).unwrap_or(0) + 1) % site.hub.endpoints.len().max(1);
            chosen.endpoint = Some(next).filter(|next| *next > 0);
        }
        Step::Port if site.tunnel.listen_port.is_some() => chosen.port = Some(port),
        Step::Resolve | Step::Bounce | Step::Port => {}
    }
    let mut rows = desired_as(site, observed, &chosen);
    let healed = Note { name: HEALED_NOTE, value: Some(format!("{}@{}", step.word(), moment.unix)) };
    let heals = Note { name: HEALS_NOTE, value: Some(moment.of_day.to_string()) };
    let is_in_use = |marker: &Marker| marker.role == Role::Peer && marker.generation() == Some(site.generation);
    if let Some(row) = rows.iter_mut().find(|row| is_in_use(&row.marker)) {
        row.notes.extend([healed, heals]);
    }
    let version = version(observed)?;
    let mut plan = plan(basis(site, &version, observed, session), &rows, observed).map_err(Refused::Ambiguous)?;
    plan.ops.retain(is_of_tunnel);
    plan.notes.clear();
    let has = |name: &str| peer.text(name).unwrap_or_default().into_owned();
    match step {
        Step::Resolve => {
            set(&mut plan, &menu::PEERS, Role::Peer, site, peer, "endpoint-address", &has("endpoint-address"));
        }
        Step::Port if site.tunnel.listen_port.is_none() => {
            set(&mut plan, &menu::WIREGUARD, Role::Interface, site, interface, "listen-port", &port.to_string());
        }
        Step::Bounce => {
            set(&mut plan, &menu::PEERS, Role::Peer, site, peer, "disabled", "false");
            let mut first = Plan::default();
            set(&mut first, &menu::PEERS, Role::Peer, site, peer, "disabled", "true");
            // Both are sent at once and in this order: what is in between is too short to cut anybody off.
            plan.ops.splice(0..0, first.ops);
        }
        Step::Port | Step::Endpoint => {}
    }
    for op in &mut plan.ops {
        step.said().clone_into(&mut op.reason);
    }
    Ok(plan)
}

/// Leaves of what is to be done only what concerns the tunnel's own rows.
#[must_use]
pub fn of_tunnel(mut plan: Plan) -> Plan {
    plan.ops.retain(is_of_tunnel);
    plan
}

fn is_of_tunnel(op: &Op) -> bool {
    let is_ours = matches!(op.marker.role, Role::Interface | Role::Peer | Role::InputPort);
    is_ours && matches!(op.change, Change::Set { .. })
}

/// Adds a field to the change of a row, or makes one.
fn set(plan: &mut Plan, menu: &'static Menu, role: Role, site: &Site, row: &Entry, name: &'static str, to: &str) {
    let from = row.text(name).map(Cow::into_owned);
    let field = FieldChange { name, from, to: Value::Plain(to.to_owned()) };
    let marker = Marker::of_tunnel(&site.id, role, site.generation);
    let of_row = plan.ops.iter_mut().find(|op| op.menu == menu && op.marker == marker);
    if let Some(Op { change: Change::Set { fields, .. }, .. }) = of_row {
        fields.retain(|other| other.name != name);
        fields.insert(0, field);
        return;
    }
    let change = Change::Set { id: row.id().to_vec(), fields: vec![field] };
    let op = Op { menu, marker, change, reason: String::new() };
    // The interface stands before what is upon it.
    let at = if menu == &menu::WIREGUARD { 0 } else { plan.ops.len() };
    plan.ops.insert(at, op);
}

/// A port that no WireGuard interface of the router has.
fn free_port(observed: &Observed, chance: u16) -> u16 {
    let span = u16::MAX - FIRST_PORT;
    let candidates = (0..PORT_TRIES).map(|n| FIRST_PORT + chance.wrapping_add(n) % span);
    let taken: Vec<u16> =
        observed.rows(&menu::WIREGUARD).iter().filter_map(|row| row.parse::<u16>("listen-port")).collect();
    candidates.into_iter().find(|port| !taken.contains(port)).unwrap_or(FIRST_PORT)
}
