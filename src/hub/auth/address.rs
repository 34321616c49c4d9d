//! Who the client is, for the rate limits: the socket's other end, or what a trusted proxy says of it.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Most proxies in a row: longer chains are somebody's invention.
const MAX_HOPS: usize = 16;

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A socket.
    Socket(SocketAddr),
    /// The gateway in this process: no stranger, and not limited.
    Embedded,
}

/// Finds the client's address; `None` for the process itself.
///
/// The last address in `X-Forwarded-For` that is not a trusted proxy's is the client's: whatever stands before it, the client may
/// have written itself.
pub(crate) fn client(remote: Remote, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let Remote::Socket(socket) = remote else { return None };
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = socket.ip().to_canonical();
    if !is_trusted(&client) {
        return Some(client);
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().map(|line| line.to_str().unwrap_or("")).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(MAX_HOPS) {
        let Some(address) = forwarded(hop) else { break };
        client = address;
        if !is_trusted(&client) {
            break;
        }
    }
    Some(client)
}

/// One entry: an address, perhaps with a port, an IPv6 one perhaps in brackets.
fn forwarded(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(socket: &str, forwarded: &[&str]) -> Option<IpAddr> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        client(Remote::Socket(socket.parse().unwrap()), &headers, &trusted)
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the function under test answers")]
    fn is(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_stranger_s_word_for_its_address_is_not_believed() {
        assert_eq!(from("192.0.2.1:5", &["198.51.100.1"]), is("192.0.2.1"));
    }

    #[test]
    fn a_trusted_proxy_s_word_is_and_only_its_own() {
        assert_eq!(from("10.0.0.1:5", &["198.51.100.1"]), is("198.51.100.1"));
        assert_eq!(from("10.0.0.1:5", &["203.0.113.9, 198.51.100.1"]), is("198.51.100.1"));
        assert_eq!(from("10.0.0.1:5", &["203.0.113.9, 198.51.100.1", "10.0.0.2"]), is("198.51.100.1"));
        assert_eq!(from("[::1]:5", &["[2001:db8::1]:80"]), is("2001:db8::1"));
        assert_eq!(from("[::ffff:10.0.0.1]:5", &["198.51.100.1:99"]), is("198.51.100.1"));
    }

    #[test]
    fn rubbish_counts_as_the_proxy_itself() {
        for rubbish in ["", "unknown", "198.51.100.1, _x", "1.2.3.4.5"] {
            assert_eq!(from("10.0.0.1:5", &[rubbish]), is("10.0.0.1"), "{rubbish:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_a_client_writes_in_front_changes_nothing(lie in "[ -~]{0,60}") {
            let line = format!("{lie},198.51.100.1");
            assert_eq!(from("10.0.0.1:5", &[&line]), is("198.51.100.1"));
        }
    }
}
