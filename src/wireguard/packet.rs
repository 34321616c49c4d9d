//! One IP packet, taken apart as far as a router looks at it, and the few packets a router writes itself.
//!
//! Bytes come in and go out by [`etherparse`]; nothing here knows of interfaces, routes or rules.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpHeaders, IpNumber, Ipv4Header, Ipv6Header,
    TcpHeaderSlice, UdpHeaderSlice, icmpv4, icmpv6,
};

/// The TTL (hop limit) of packets that routers and hosts here send, as RouterOS and Linux do.
pub(crate) const DEFAULT_TTL: u8 = 64;

/// How much of the offending packet an ICMP error carries: enough for its headers and the echo's number.
const ERROR_QUOTE: usize = 128;

/// The port that stands for "echo request" in a [`Flow`].
///
/// A request is `(id, 8)` and its reply `(8, id)`: so the reply is the request with its ends swapped, as with TCP and UDP.
const ECHO_PORT: u16 = 8;

/// What tells one connection from another: protocol, addresses and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    pub protocol: u8,
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
}

impl Flow {
    /// Returns the flow of the answers to this one.
    pub fn reversed(self) -> Self {
        Self { protocol: self.protocol, source: self.destination, destination: self.source }
    }
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No route to the destination's network.
    NetUnreachable,
    /// The destination's host does not answer.
    HostUnreachable,
    /// A firewall refused the packet.
    Prohibited,
    /// The TTL ran out on the way.
    TtlExceeded,
    /// The packet is longer than the next link takes (bytes).
    TooBig { mtu: u16 },
}

/// What the packet carries, as far as a router cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    EchoRequest {
        id: u16,
        seq: u16,
    },
    EchoReply {
        id: u16,
        seq: u16,
    },
    /// An ICMP error about the flow (and, for an echo, its id and number).
    Error {
        about: Option<Flow>,
        echo: Option<(u16, u16)>,
        problem: Option<Problem>,
    },
    Tcp {
        source: u16,
        destination: u16,
        syn: bool,
    },
    Udp {
        source: u16,
        destination: u16,
    },
    Other,
}

/// An IP packet with its headers parsed.
#[derive(Debug, Clone)]
pub(crate) struct IpPacket {
    headers: IpHeaders,
    payload: Vec<u8>,
    protocol: IpNumber,
    transport: Transport,
}

impl IpPacket {
    /// Parses a packet; `None` if it is not one whole IPv4 or IPv6 packet.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (headers, payload) = IpHeaders::from_slice(bytes).ok()?;
        let transport =
            if payload.fragmented { Transport::Other } else { Transport::parse(payload.ip_number, payload.payload) };
        Some(Self { headers, protocol: payload.ip_number, payload: payload.payload.to_vec(), transport })
    }

    /// Writes the packet with its checksums; `None` if its extension headers contradict each other.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len());
        self.headers.write(&mut bytes).ok()?;
        bytes.extend_from_slice(&self.payload);
        Some(bytes)
    }

    /// Length of the whole packet in bytes.
    pub fn len(&self) -> usize {
        self.headers.header_len() + self.payload.len()
    }

    pub fn source(&self) -> IpAddr {
        match &self.headers {
            IpHeaders::Ipv4(header, _) => Ipv4Addr::from(header.source).into(),
            IpHeaders::Ipv6(header, _) => header.source_addr().into(),
        }
    }

    pub fn destination(&self) -> IpAddr {
        match &self.headers {
            IpHeaders::Ipv4(header, _) => Ipv4Addr::from(header.destination).into(),
            IpHeaders::Ipv6(header, _) => header.destination_addr().into(),
        }
    }

    /// Sets the source, for NAT; only of IPv4. The checksums of TCP and UDP, which cover addresses, follow.
    pub fn set_source(&mut self, address: Ipv4Addr) {
        if let IpHeaders::Ipv4(header, _) = &mut self.headers {
            let before = std::mem::replace(&mut header.source, address.octets());
            self.correct_checksum(before, address.octets());
        }
    }

    /// Sets the destination, for NAT; the same limits as [`set_source`](Self::set_source).
    pub fn set_destination(&mut self, address: Ipv4Addr) {
        if let IpHeaders::Ipv4(header, _) = &mut self.headers {
            let before = std::mem::replace(&mut header.destination, address.octets());
            self.correct_checksum(before, address.octets());
        }
    }

    /// Corrects the transport's checksum for an address that changed.
    ///
    /// *Source*: RFC 1624, equation 3; a UDP checksum of 0 means none.
    fn correct_checksum(&mut self, before: [u8; 4], after: [u8; 4]) {
        let place = match self.transport {
            Transport::Tcp { .. } => 16,
            Transport::Udp { .. } => 6,
            _ => return,
        };
        let Some(field) = self.payload.get_mut(place..place + 2) else {
            return;
        };
        let checksum = u16::from_be_bytes([field[0], field[1]]);
        if checksum == 0 && place == 6 {
            return;
        }
        let words = |bytes: [u8; 4]| [[bytes[0], bytes[1]], [bytes[2], bytes[3]]].map(u16::from_be_bytes);
        let old = words(before).map(|word| u32::from(!word));
        let new = words(after).map(u32::from);
        let mut sum = u32::from(!checksum) + old[0] + old[1] + new[0] + new[1];
        while sum > u32::from(u16::MAX) {
            sum = (sum & u32::from(u16::MAX)) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).unwrap_or_default();
        field.copy_from_slice(&sum.to_be_bytes());
    }

    pub fn ttl(&self) -> u8 {
        match &self.headers {
            IpHeaders::Ipv4(header, _) => header.time_to_live,
            IpHeaders::Ipv6(header, _) => header.hop_limit,
        }
    }

    pub fn set_ttl(&mut self, ttl: u8) {
        match &mut self.headers {
            IpHeaders::Ipv4(header, _) => header.time_to_live = ttl,
            IpHeaders::Ipv6(header, _) => header.hop_limit = ttl,
        }
    }

    /// The protocol's number as IANA gives it, `ICMPv6` being 58.
    pub fn protocol(&self) -> u8 {
        self.protocol.0
    }

    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The flow for connection tracking; `None` for ICMP errors, which belong to the flow they speak of.
    pub fn flow(&self) -> Option<Flow> {
        let (source, destination) = self.transport.ports()?;
        Some(Flow {
            protocol: self.protocol.0,
            source: (self.source(), source),
            destination: (self.destination(), destination),
        })
    }

    /// Builds an echo request of `size` bytes in all (grown to the headers if shorter); `None` if too long or of mixed families.
    pub fn echo_request(source: IpAddr, destination: IpAddr, ttl: u8, echo: (u16, u16), size: usize) -> Option<Self> {
        let headers = if source.is_ipv4() { 28 } else { 48 };
        let data = vec![0; size.saturating_sub(headers)];
        let echo = IcmpEchoHeader { id: echo.0, seq: echo.1 };
        icmp(source, destination, ttl, &Icmpv4Type::EchoRequest(echo), &Icmpv6Type::EchoRequest(echo), &data)
    }

    /// Builds the answer to an echo request; `None` if this is none.
    pub fn echo_reply(&self) -> Option<Self> {
        let Transport::EchoRequest { id, seq } = self.transport else {
            return None;
        };
        let echo = IcmpEchoHeader { id, seq };
        // The ICMP header is 8 bytes long; what follows is sent back as it came.
        let data = self.payload.get(8..)?;
        icmp(
            self.destination(),
            self.source(),
            DEFAULT_TTL,
            &Icmpv4Type::EchoReply(echo),
            &Icmpv6Type::EchoReply(echo),
            data,
        )
    }

    /// Builds the ICMP error that tells this packet's sender of a problem; `None` for ICMP errors, which get none.
    pub fn error(&self, from: IpAddr, problem: Problem) -> Option<Self> {
        if matches!(self.transport, Transport::Error { .. }) {
            return None;
        }
        let mut quote = self.to_bytes()?;
        quote.truncate(ERROR_QUOTE);
        icmp(from, self.source(), DEFAULT_TTL, &problem.icmpv4(), &problem.icmpv6(), &quote)
    }
}

fn icmp(
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    v4: &Icmpv4Type,
    v6: &Icmpv6Type,
    data: &[u8],
) -> Option<IpPacket> {
    let (headers, protocol, mut payload) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let icmp = Icmpv4Header::with_checksum(v4.clone(), data).to_bytes();
            let length = u16::try_from(icmp.len() + data.len()).ok()?;
            let header = Ipv4Header::new(length, ttl, IpNumber::ICMP, source.octets(), destination.octets());
            (IpHeaders::Ipv4(header.ok()?, etherparse::Ipv4Extensions::default()), IpNumber::ICMP, icmp.to_vec())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            let icmp = Icmpv6Header::with_checksum(*v6, source, destination, data).ok()?;
            let icmp = icmp.to_bytes();
            let header = Ipv6Header {
                payload_length: u16::try_from(icmp.len() + data.len()).ok()?,
                next_header: IpNumber::IPV6_ICMP,
                hop_limit: ttl,
                source,
                destination,
                ..Ipv6Header::default()
            };
            (IpHeaders::Ipv6(header, etherparse::Ipv6Extensions::default()), IpNumber::IPV6_ICMP, icmp.to_vec())
        }
        _ => return None,
    };
    payload.extend_from_slice(data);
    let transport = Transport::parse(protocol, &payload);
    Some(IpPacket { headers, payload, protocol, transport })
}

impl Transport {
    fn parse(protocol: IpNumber, payload: &[u8]) -> Self {
        let parsed = match protocol {
            IpNumber::ICMP => Self::parse_icmpv4(payload),
            IpNumber::IPV6_ICMP => Self::parse_icmpv6(payload),
            IpNumber::TCP => TcpHeaderSlice::from_slice(payload).ok().map(|tcp| Self::Tcp {
                source: tcp.source_port(),
                destination: tcp.destination_port(),
                syn: tcp.syn() && !tcp.ack(),
            }),
            IpNumber::UDP => UdpHeaderSlice::from_slice(payload)
                .ok()
                .map(|udp| Self::Udp { source: udp.source_port(), destination: udp.destination_port() }),
            _ => None,
        };
        parsed.unwrap_or(Self::Other)
    }

    fn parse_icmpv4(payload: &[u8]) -> Option<Self> {
        let (header, data) = Icmpv4Header::from_slice(payload).ok()?;
        Some(match header.icmp_type {
            Icmpv4Type::EchoRequest(IcmpEchoHeader { id, seq }) => Self::EchoRequest { id, seq },
            Icmpv4Type::EchoReply(IcmpEchoHeader { id, seq }) => Self::EchoReply { id, seq },
            Icmpv4Type::DestinationUnreachable(code) => Self::parse_error(data, Problem::from_icmpv4(&code)),
            Icmpv4Type::TimeExceeded(_) => Self::parse_error(data, Some(Problem::TtlExceeded)),
            _ => Self::Other,
        })
    }

    fn parse_icmpv6(payload: &[u8]) -> Option<Self> {
        let (header, data) = Icmpv6Header::from_slice(payload).ok()?;
        Some(match header.icmp_type {
            Icmpv6Type::EchoRequest(IcmpEchoHeader { id, seq }) => Self::EchoRequest { id, seq },
            Icmpv6Type::EchoReply(IcmpEchoHeader { id, seq }) => Self::EchoReply { id, seq },
            Icmpv6Type::DestinationUnreachable(code) => Self::parse_error(data, Problem::from_icmpv6(code)),
            Icmpv6Type::PacketTooBig { mtu } => {
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                Self::parse_error(data, Some(Problem::TooBig { mtu }))
            }
            Icmpv6Type::TimeExceeded(_) => Self::parse_error(data, Some(Problem::TtlExceeded)),
            _ => Self::Other,
        })
    }

    /// Reads what an ICMP error quotes: the flow, and an echo request's number.
    fn parse_error(quote: &[u8], problem: Option<Problem>) -> Self {
        let quoted = IpHeaders::from_slice_lax(quote).ok().map(|(headers, payload, _)| {
            let transport = Self::parse(payload.ip_number, payload.payload);
            IpPacket { headers, payload: Vec::new(), protocol: payload.ip_number, transport }
        });
        Self::Error {
            about: quoted.as_ref().and_then(IpPacket::flow),
            echo: match quoted.map(|packet| packet.transport) {
                Some(Self::EchoRequest { id, seq }) => Some((id, seq)),
                _ => None,
            },
            problem,
        }
    }

    fn ports(self) -> Option<(u16, u16)> {
        match self {
            Self::EchoRequest { id, .. } => Some((id, ECHO_PORT)),
            Self::EchoReply { id, .. } => Some((ECHO_PORT, id)),
            Self::Tcp { source, destination, .. } | Self::Udp { source, destination } => Some((source, destination)),
            Self::Other => Some((0, 0)),
            Self::Error { .. } => None,
        }
    }
}

impl Problem {
    fn icmpv4(self) -> Icmpv4Type {
        use icmpv4::DestUnreachableHeader as Unreachable;
        Icmpv4Type::DestinationUnreachable(match self {
            Self::NetUnreachable => Unreachable::Network,
            Self::HostUnreachable => Unreachable::Host,
            Self::Prohibited => Unreachable::FilterProhibited,
            Self::TooBig { mtu } => Unreachable::FragmentationNeeded { next_hop_mtu: mtu },
            Self::TtlExceeded => {
                return Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
            }
        })
    }

    fn icmpv6(self) -> Icmpv6Type {
        use icmpv6::DestUnreachableCode as Unreachable;
        Icmpv6Type::DestinationUnreachable(match self {
            Self::NetUnreachable => Unreachable::NoRoute,
            Self::HostUnreachable => Unreachable::Address,
            Self::Prohibited => Unreachable::Prohibited,
            Self::TooBig { mtu } => return Icmpv6Type::PacketTooBig { mtu: mtu.into() },
            Self::TtlExceeded => {
                return Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded);
            }
        })
    }

    fn from_icmpv4(code: &icmpv4::DestUnreachableHeader) -> Option<Self> {
        use icmpv4::DestUnreachableHeader as Unreachable;
        match *code {
            Unreachable::Network => Some(Self::NetUnreachable),
            Unreachable::Host => Some(Self::HostUnreachable),
            Unreachable::FilterProhibited => Some(Self::Prohibited),
            Unreachable::FragmentationNeeded { next_hop_mtu } => Some(Self::TooBig { mtu: next_hop_mtu }),
            _ => None,
        }
    }

    fn from_icmpv6(code: icmpv6::DestUnreachableCode) -> Option<Self> {
        use icmpv6::DestUnreachableCode as Unreachable;
        match code {
            Unreachable::NoRoute => Some(Self::NetUnreachable),
            Unreachable::Address => Some(Self::HostUnreachable),
            Unreachable::Prohibited => Some(Self::Prohibited),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(source: &str, destination: &str, size: usize) -> IpPacket {
        IpPacket::echo_request(source.parse().unwrap(), destination.parse().unwrap(), 9, (7, 3), size).unwrap()
    }

    #[test]
    fn an_echo_reply_is_the_request_with_its_ends_swapped() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let request = request(source, destination, 100);
            let request = IpPacket::parse(&request.to_bytes().unwrap()).unwrap();
            assert_eq!((request.len(), request.ttl()), (100, 9));
            let reply = IpPacket::parse(&request.echo_reply().unwrap().to_bytes().unwrap()).unwrap();
            assert_eq!(reply.transport(), Transport::EchoReply { id: 7, seq: 3 });
            assert_eq!(reply.flow(), request.flow().map(Flow::reversed));
            assert_eq!(reply.len(), 100);
        }
    }

    #[test]
    fn an_error_names_the_flow_it_is_about_and_gets_no_error_itself() {
        for (source, destination, router) in [("10.0.0.1", "10.0.0.2", "10.0.0.9"), ("fd00::1", "fd00::2", "fd00::9")] {
            let request = request(source, destination, 1400);
            for problem in [Problem::NetUnreachable, Problem::TtlExceeded, Problem::TooBig { mtu: 1280 }] {
                let error = request.error(router.parse().unwrap(), problem).unwrap();
                let error = IpPacket::parse(&error.to_bytes().unwrap()).unwrap();
                let (about, echo, problem) = (request.flow(), Some((7, 3)), Some(problem));
                assert_eq!(error.transport(), Transport::Error { about, echo, problem });
                assert!(error.error(router.parse().unwrap(), Problem::Prohibited).is_none());
            }
        }
    }

    #[test]
    fn a_rewritten_source_leaves_a_packet_that_parses() {
        let mut packet = request("10.0.0.1", "10.0.0.2", 84);
        packet.set_source(Ipv4Addr::new(10, 9, 9, 9));
        let packet = IpPacket::parse(&packet.to_bytes().unwrap()).unwrap();
        assert_eq!(packet.source(), IpAddr::from([10, 9, 9, 9]));
    }

    #[test]
    fn a_rewritten_address_leaves_the_checksums_of_tcp_and_udp_true() {
        use etherparse::PacketBuilder;
        let (host, router, far) = ([192, 168, 88, 10], [203, 0, 113, 10], [198, 51, 100, 200]);
        let build = |source: [u8; 4], tcp: bool| {
            let ip = PacketBuilder::ipv4(source, far, 64);
            let mut bytes = Vec::new();
            if tcp {
                ip.tcp(40_000, 80, 7, 100).write(&mut bytes, b"hello").unwrap();
            } else {
                ip.udp(40_000, 53).write(&mut bytes, b"hello").unwrap();
            }
            bytes
        };
        for tcp in [true, false] {
            let mut packet = IpPacket::parse(&build(host, tcp)).unwrap();
            packet.set_source(router.into());
            assert_eq!(packet.to_bytes().unwrap(), build(router, tcp));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in prop::sample::select(vec![4u8, 6])) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = (version << 4) | (*first & 15);
            }
            if let Some(packet) = IpPacket::parse(&bytes) {
                let _ = (packet.flow(), packet.echo_reply(), packet.to_bytes());
            }
        }
    }
}
