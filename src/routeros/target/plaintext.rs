//! Where a password may travel in the clear: nowhere that others can listen without having broken in first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says whether the API in the clear may be spoken to this address without being told so.
///
/// Loopback, link-local and private addresses may. 100.64.0.0/10 may not: it is the provider's network between its
/// customers, shared with strangers. An IPv4 address in IPv6 clothes is judged as the IPv4 address.
///
/// *Source*: RFC 1918, 3927, 4193, 4291; RFC 6598 for 100.64.0.0/10.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_link_local() || address.is_private()
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unicast_link_local() || address.is_unique_local()
}
