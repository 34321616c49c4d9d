//! Where a packet goes that a member sent: to another member, back as an answer, or nowhere. Pure; bytes come and go elsewhere.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::wireguard::packet::{IpPacket, Problem, Transport};
use crate::wireguard::prefix::PrefixTable;

/// Which of two kinds a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A person's device.
    Client,
    /// A network.
    Site,
}

/// Who may reach whom. A client and a site always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub client_to_client: bool,
    pub site_to_site: bool,
}

/// A member on one of the devices, by its key there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Leg {
    pub device: u32,
    pub key: [u8; 32],
}

/// An owner of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    leg: Leg,
    side: Side,
}

/// Who is where, and who may reach whom.
#[derive(Debug)]
pub(super) struct Table {
    /// The exchange's own addresses, with the tunnel's networks.
    pub addresses: Vec<IpNet>,
    pub rules: Rules,
    /// Longest packet, in bytes.
    pub mtu: u16,
    owners: PrefixTable<Owner>,
}

impl Table {
    pub fn new(addresses: Vec<IpNet>, rules: Rules, mtu: u16) -> Self {
        Self { addresses, rules, mtu, owners: PrefixTable::default() }
    }

    /// Gives addresses to a member, as WireGuard does: whoever is set last has them, and is sent to.
    pub fn give(&mut self, leg: Leg, side: Side, allowed: &[IpNet]) {
        for net in allowed {
            self.owners.insert(*net, Owner { leg, side });
        }
    }

    /// Takes addresses from a member that are still its own.
    pub fn take(&mut self, leg: Leg, allowed: &[IpNet]) {
        for net in allowed {
            if self.owners.get(*net).is_some_and(|owner| owner.leg == leg) {
                self.owners.remove(*net);
            }
        }
    }

    /// The device by which an address is reached.
    pub fn device_to(&self, destination: IpAddr) -> Option<u32> {
        self.owners.find(destination).map(|owner| owner.leg.device)
    }

    /// Whether a member may reach an address by way of the exchange; its own packets never come back to it.
    ///
    /// That the source is the sender's own, WireGuard has checked.
    pub fn forward(&self, mut packet: IpPacket) -> Option<IpPacket> {
        let destination = packet.destination();
        if self.is_own(destination) {
            return self.answer(&packet);
        }
        if destination.is_multicast() || is_broadcast(destination) {
            return None;
        }
        let sender = self.owners.find(packet.source())?;
        if packet.ttl() <= 1 {
            return self.complain(&packet, Problem::TtlExceeded);
        }
        let Some(owner) = self.owners.find(destination) else {
            let here = self.addresses.iter().any(|net| net.contains(&destination));
            return self.complain(&packet, if here { Problem::HostUnreachable } else { Problem::NetUnreachable });
        };
        if owner.leg == sender.leg {
            return None;
        }
        if !self.rules.allow(sender.side, owner.side) {
            return self.complain(&packet, Problem::Prohibited);
        }
        if packet.len() > usize::from(self.mtu) {
            return self.complain(&packet, Problem::TooBig { mtu: self.mtu });
        }
        packet.set_ttl(packet.ttl() - 1);
        Some(packet)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == address)
    }

    /// Echo requests are answered; what else is for the exchange itself, it does not take.
    fn answer(&self, packet: &IpPacket) -> Option<IpPacket> {
        match packet.transport() {
            Transport::EchoRequest { .. } => packet.echo_reply(),
            Transport::EchoReply { .. } => None,
            _ => self.complain(packet, Problem::Prohibited),
        }
    }

    /// Tells the sender by ICMP what is wrong, from the address of ours that is nearest to him.
    fn complain(&self, packet: &IpPacket, problem: Problem) -> Option<IpPacket> {
        let sender = packet.source();
        let same_family = || self.addresses.iter().filter(|net| net.addr().is_ipv4() == sender.is_ipv4());
        let from = same_family().find(|net| net.contains(&sender)).or_else(|| same_family().next())?;
        packet.error(from.addr(), problem)
    }
}

impl Rules {
    fn allow(self, from: Side, to: Side) -> bool {
        match (from, to) {
            (Side::Client, Side::Client) => self.client_to_client,
            (Side::Site, Side::Site) => self.site_to_site,
            (Side::Client, Side::Site) | (Side::Site, Side::Client) => true,
        }
    }
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [Leg; 4] = [leg(1), leg(2), leg(3), leg(4)];

    const fn leg(number: u8) -> Leg {
        Leg { device: 0, key: [number; 32] }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Sites 10.1/16 and 10.2/16, clients .20 and .21.
    fn table(rules: Rules) -> Table {
        let mut table = Table::new(nets(&["10.99.0.1/24", "fd99::1/64"]), rules, 1420);
        table.give(KEYS[0], Side::Site, &nets(&["10.99.0.2/32", "10.1.0.0/16", "fd99::2/128"]));
        table.give(KEYS[1], Side::Site, &nets(&["10.99.0.3/32", "10.2.0.0/16", "fd99::3/128"]));
        table.give(KEYS[2], Side::Client, &nets(&["10.99.0.20/32"]));
        table.give(KEYS[3], Side::Client, &nets(&["10.99.0.21/32"]));
        table
    }

    fn ping(from: &str, to: &str, ttl: u8, size: usize) -> IpPacket {
        IpPacket::echo_request(from.parse().unwrap(), to.parse().unwrap(), ttl, (7, 1), size).unwrap()
    }

    /// `to ADDRESS` for a packet on its way, `back PROBLEM` for an ICMP error, `answered`, `dropped`.
    fn fate(table: &Table, packet: IpPacket) -> String {
        let (source, ttl) = (packet.source(), packet.ttl());
        match table.forward(packet) {
            None => "dropped".to_owned(),
            Some(packet) => match packet.transport() {
                Transport::Error { problem, .. } => {
                    assert_eq!(packet.destination(), source);
                    format!("back {:?}", problem.unwrap())
                }
                Transport::EchoReply { .. } => "answered".to_owned(),
                _ => {
                    assert_eq!(packet.ttl(), ttl - 1);
                    format!("to {}", packet.destination())
                }
            },
        }
    }

    #[test]
    fn members_reach_each_other_as_the_rules_say_and_nobody_else() {
        let open = Rules { client_to_client: true, site_to_site: true };
        let shut = Rules { client_to_client: false, site_to_site: false };
        for (from, to, when_open, when_shut) in [
            ("10.1.0.9", "10.2.0.9", "to 10.2.0.9", "back Prohibited"),
            ("10.99.0.20", "10.99.0.21", "to 10.99.0.21", "back Prohibited"),
            ("10.99.0.20", "10.1.0.9", "to 10.1.0.9", "to 10.1.0.9"),
            ("10.1.0.9", "10.99.0.20", "to 10.99.0.20", "to 10.99.0.20"),
            ("10.1.0.9", "10.99.0.1", "answered", "answered"),
            ("fd99::2", "fd99::1", "answered", "answered"),
            ("fd99::2", "fd99::3", "to fd99::3", "back Prohibited"),
            ("10.1.0.9", "10.1.0.10", "dropped", "dropped"),
            ("10.1.0.9", "10.99.0.99", "back HostUnreachable", "back HostUnreachable"),
            ("10.1.0.9", "192.0.2.1", "back NetUnreachable", "back NetUnreachable"),
            ("fd99::2", "2001:db8::1", "back NetUnreachable", "back NetUnreachable"),
            ("10.1.0.9", "224.0.0.1", "dropped", "dropped"),
            ("10.9.0.9", "10.1.0.9", "dropped", "dropped"),
        ] {
            assert_eq!(fate(&table(open), ping(from, to, 64, 84)), when_open, "{from} to {to}, open");
            assert_eq!(fate(&table(shut), ping(from, to, 64, 84)), when_shut, "{from} to {to}, shut");
        }
    }

    #[test]
    fn a_packet_too_old_or_too_long_is_told_back() {
        let table = table(Rules { client_to_client: true, site_to_site: true });
        assert_eq!(fate(&table, ping("10.1.0.9", "10.2.0.9", 1, 84)), "back TtlExceeded");
        assert_eq!(fate(&table, ping("10.1.0.9", "10.2.0.9", 64, 1420)), "to 10.2.0.9");
        assert_eq!(fate(&table, ping("10.1.0.9", "10.2.0.9", 64, 1421)), "back TooBig { mtu: 1420 }");
    }

    #[test]
    fn addresses_that_moved_to_another_member_are_not_taken_with_the_first() {
        let mut table = table(Rules { client_to_client: true, site_to_site: true });
        table.give(KEYS[1], Side::Site, &nets(&["10.1.0.0/16"]));
        table.take(KEYS[0], &nets(&["10.1.0.0/16", "10.99.0.2/32"]));
        assert_eq!(fate(&table, ping("10.99.0.20", "10.1.0.9", 64, 84)), "to 10.1.0.9");
        assert_eq!(fate(&table, ping("10.99.0.20", "10.99.0.2", 64, 84)), "back HostUnreachable");
    }

    #[test]
    fn a_member_on_two_devices_is_sent_to_by_the_one_that_was_given_its_addresses_last() {
        let mut table = table(Rules { client_to_client: false, site_to_site: true });
        let mine = nets(&["10.99.0.2/32", "10.1.0.0/16", "fd99::2/128"]);
        let beside = Leg { device: 1, ..leg(9) };
        assert_eq!(table.device_to("10.1.0.9".parse().unwrap()), Some(0));
        table.give(beside, Side::Site, &mine);
        assert_eq!(table.device_to("10.1.0.9".parse().unwrap()), Some(1));
        assert_eq!(fate(&table, ping("10.1.0.9", "10.1.0.10", 64, 84)), "dropped", "its own packets never come back");
        table.take(KEYS[0], &mine);
        assert_eq!(
            fate(&table, ping("10.2.0.9", "10.1.0.9", 64, 84)),
            "to 10.1.0.9",
            "what it left stays with the other"
        );
    }
}
