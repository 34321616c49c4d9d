//! Connection tracking: which packets belong to what was let through before, and whose source was rewritten.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use crate::wireguard::packet::{Flow, IpPacket, Transport};

/// How long a connection is remembered after its last packet.
///
/// RouterOS has a timeout by protocol (ICMP 10 s, UDP 3 min, TCP a day); pings are what is seen here, so one is enough.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Most connections remembered; when full, the expired go, then the oldest.
const MAX_CONNECTIONS: usize = 4096;

/// `connection-state` of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// The first packets of a connection, until an answer was seen.
    New,
    /// Both sides have spoken.
    Established,
    /// An ICMP error about a known connection.
    Related,
    /// Not tracked (never the case here: there is no `raw` table).
    Untracked,
    /// Belongs to nothing known and cannot begin anything.
    Invalid,
}

/// What tracking says of one packet.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim::plane) struct Tracked {
    pub state: ConnectionState,
    /// The connection's rewritten source, if it has one.
    pub source_nat: Option<Ipv4Addr>,
    /// For a packet on the way back: where it must go instead of to the rewritten source.
    pub restore: Option<Ipv4Addr>,
    /// Whether the packet begins a connection.
    pub begins: bool,
}

#[derive(Debug)]
struct Connection {
    answered: bool,
    last: Instant,
    source_nat: Option<Ipv4Addr>,
    original: Flow,
}

/// The table of connections: each is found by its own flow and by that of its answers.
#[derive(Debug, Default)]
pub(in crate::sim::plane) struct Connections {
    by_original: HashMap<Flow, Connection>,
    original_by_answer: HashMap<Flow, Flow>,
}

impl Connections {
    /// Looks a packet up and notes that it was seen.
    pub fn track(&mut self, packet: &IpPacket, now: Instant) -> Tracked {
        if let Transport::Error { about, .. } = packet.transport() {
            return self.track_error(about);
        }
        let Some(flow) = packet.flow() else {
            return Tracked::of(ConnectionState::Invalid);
        };
        if let Some(original) = self.original_by_answer.get(&flow)
            && let Some(connection) = self.by_original.get_mut(original)
        {
            connection.answered = true;
            connection.last = now;
            return connection.answer();
        }
        match self.by_original.get_mut(&flow) {
            Some(connection) if now.duration_since(connection.last) < TIMEOUT => {
                connection.last = now;
                let state = if connection.answered { ConnectionState::Established } else { ConnectionState::New };
                Tracked { source_nat: connection.source_nat, ..Tracked::of(state) }
            }
            _ if begins_nothing(packet.transport()) => Tracked::of(ConnectionState::Invalid),
            _ => Tracked { begins: true, ..Tracked::of(ConnectionState::New) },
        }
    }

    /// An error belongs to the connection of the packet it quotes, which it met on its way out (after NAT).
    fn track_error(&self, about: Option<Flow>) -> Tracked {
        let related = about.and_then(|flow| {
            if let Some(connection) = self.by_original.get(&flow) {
                return Some((connection, false));
            }
            let original = self.original_by_answer.get(&flow.reversed())?;
            Some((self.by_original.get(original)?, true))
        });
        match related {
            Some((connection, after_nat)) => Tracked {
                restore: connection.answer().restore.filter(|_| after_nat),
                ..Tracked::of(ConnectionState::Related)
            },
            None => Tracked::of(ConnectionState::Invalid),
        }
    }

    /// Remembers a connection whose first packet was let through.
    pub fn begin(&mut self, packet: &IpPacket, source_nat: Option<Ipv4Addr>, now: Instant) {
        let Some(original) = packet.flow() else {
            return;
        };
        self.make_room(now);
        let mut sent = original;
        if let Some(address) = source_nat {
            sent.source.0 = address.into();
        }
        self.original_by_answer.insert(sent.reversed(), original);
        self.by_original.insert(original, Connection { answered: false, last: now, source_nat, original });
    }

    fn make_room(&mut self, now: Instant) {
        if self.by_original.len() < MAX_CONNECTIONS {
            return;
        }
        self.by_original.retain(|_, connection| now.duration_since(connection.last) < TIMEOUT);
        if self.by_original.len() >= MAX_CONNECTIONS {
            let oldest = self.by_original.values().min_by_key(|connection| connection.last);
            if let Some(original) = oldest.map(|connection| connection.original) {
                self.by_original.remove(&original);
            }
        }
        let Self { by_original, original_by_answer } = self;
        original_by_answer.retain(|_, original| by_original.contains_key(original));
    }
}

impl Connection {
    fn answer(&self) -> Tracked {
        let restore = match (self.source_nat, self.original.source.0) {
            (Some(_), std::net::IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        Tracked { source_nat: self.source_nat, restore, ..Tracked::of(ConnectionState::Established) }
    }
}

impl Tracked {
    fn of(state: ConnectionState) -> Self {
        Self { state, source_nat: None, restore: None, begins: false }
    }
}

/// An answer without a question, and a TCP segment in the middle of nothing, begin no connection.
fn begins_nothing(transport: Transport) -> bool {
    matches!(transport, Transport::EchoReply { .. } | Transport::Tcp { syn: false, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wireguard::packet::Problem;

    fn echo(source: [u8; 4], id: u16) -> IpPacket {
        IpPacket::echo_request(source.into(), [10, 0, 0, 9].into(), 64, (id, 0), 84).unwrap()
    }

    #[test]
    fn a_connection_is_new_until_it_was_answered() {
        let (mut connections, now) = (Connections::default(), Instant::now());
        let request = echo([10, 0, 0, 1], 1);
        assert!(connections.track(&request, now).begins);
        connections.begin(&request, None, now);
        let again = connections.track(&request, now);
        assert_eq!((again.state, again.begins), (ConnectionState::New, false));
        let reply = request.echo_reply().unwrap();
        assert_eq!(connections.track(&reply, now).state, ConnectionState::Established);
        assert_eq!(connections.track(&request, now).state, ConnectionState::Established);
        assert_eq!(connections.track(&request, now + TIMEOUT).state, ConnectionState::New);
    }

    #[test]
    fn an_answer_to_nothing_is_invalid_and_an_error_is_related_to_what_it_quotes() {
        let (mut connections, now) = (Connections::default(), Instant::now());
        let request = echo([10, 0, 0, 1], 1);
        let error = request.error([10, 0, 0, 5].into(), Problem::TtlExceeded).unwrap();
        assert_eq!(connections.track(&request.echo_reply().unwrap(), now).state, ConnectionState::Invalid);
        assert_eq!(connections.track(&error, now).state, ConnectionState::Invalid);
        connections.begin(&request, None, now);
        assert_eq!(connections.track(&error, now).state, ConnectionState::Related);
    }

    #[test]
    fn the_table_never_grows_beyond_its_limit() {
        let (mut connections, now) = (Connections::default(), Instant::now());
        for id in 0..u16::try_from(MAX_CONNECTIONS).unwrap() + 10 {
            connections.begin(&echo([10, 0, 0, 1], id), None, now + Duration::from_micros(id.into()));
        }
        assert_eq!(connections.by_original.len(), MAX_CONNECTIONS);
        assert_eq!(connections.original_by_answer.len(), MAX_CONNECTIONS);
        assert!(connections.track(&echo([10, 0, 0, 1], 0), now).begins, "the oldest went");
    }
}
