//! What comes out of a tunnel: any bytes are a packet or none, and what is answered to one is a packet.

#![no_main]
#![allow(dead_code)]

#[path = "../../../src/wireguard/packet.rs"]
mod packet;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use packet::{IpPacket, Problem};

fuzz_target!(|bytes: &[u8]| {
    let Some(mut read) = IpPacket::parse(bytes) else { return };
    assert!(read.len() <= bytes.len());
    if let Some(written) = read.to_bytes() {
        assert!(IpPacket::parse(&written).is_some());
    }
    let flow = read.flow();
    if let Some(flow) = flow {
        assert_eq!(flow.reversed().reversed(), flow);
    }
    for answer in [
        read.echo_reply(),
        read.error(IpAddr::V4(Ipv4Addr::LOCALHOST), Problem::HostUnreachable),
        read.error(IpAddr::V6(Ipv6Addr::LOCALHOST), Problem::HostUnreachable),
    ] {
        if let Some(written) = answer.and_then(|answer| answer.to_bytes()) {
            assert!(IpPacket::parse(&written).is_some(), "an answer that is none");
        }
    }
    read.set_source(Ipv4Addr::new(192, 0, 2, 1));
    read.set_destination(Ipv4Addr::new(192, 0, 2, 2));
    read.set_ttl(read.ttl().saturating_sub(1));
    if let Some(written) = read.to_bytes() {
        assert!(IpPacket::parse(&written).is_some());
    }
});
