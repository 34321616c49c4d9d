//! How many connections each client address has: one host does not take all that there are.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use crate::hub::auth::network;

/// The addresses that are connected.
#[derive(Debug, Clone)]
pub(super) struct Crowd {
    most: usize,
    /// Whole crowds stand behind these: each of them is told apart by its requests.
    trusted: Vec<IpNet>,
    /// No longer than there are connections.
    here: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One that was let in. Dropped, it has left.
#[derive(Debug)]
pub(super) struct Guest(Option<(Crowd, IpAddr)>);

impl Crowd {
    /// Lets `most` connections of each address in; loopback and trusted proxies are not counted.
    pub(super) fn new(most: usize, trusted: Vec<IpNet>) -> Self {
        Self { most, trusted, here: Arc::default() }
    }

    /// Lets one more in, or `None` if its address has its most.
    pub(super) fn admit(&self, socket: SocketAddr) -> Option<Guest> {
        let address = socket.ip().to_canonical();
        if address.is_loopback() || self.trusted.iter().any(|net| net.contains(&address)) {
            return Some(Guest(None));
        }
        let address = network(address);
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Guest(Some((self.clone(), address))))
    }

    fn leave(&self, address: IpAddr) {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        match here.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                here.remove(&address);
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some((crowd, address)) = self.0.take() {
            crowd.leave(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 4000)
    }

    #[test]
    fn one_address_has_its_most_and_another_one_gets_in() {
        let crowd = Crowd::new(2, Vec::new());
        let first = crowd.admit(from("192.0.2.1"));
        let second = crowd.admit(from("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && crowd.admit(from("192.0.2.1")).is_none());
        assert!(crowd.admit(from("192.0.2.2")).is_some());
        drop(first);
        assert!(crowd.admit(from("192.0.2.1")).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Crowd::new(1, Vec::new());
        let _guest = crowd.admit(from("2001:db8::1")).unwrap();
        assert!(crowd.admit(from("2001:db8::ffff")).is_none() && crowd.admit(from("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn loopback_and_trusted_proxies_are_not_counted() {
        let crowd = Crowd::new(1, vec!["10.0.0.0/8".parse().unwrap()]);
        for address in ["127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "::ffff:10.1.2.3"] {
            let guests: Vec<_> = (0..3).map(|_| crowd.admit(from(address))).collect();
            assert!(guests.iter().all(Option::is_some), "{address}");
        }
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let crowd = Crowd::new(8, Vec::new());
        let guests: Vec<_> = (0..200).map(|n| crowd.admit(from(&format!("192.0.2.{n}")))).collect();
        assert_eq!(crowd.here.lock().unwrap().len(), 200);
        drop(guests);
        assert!(crowd.here.lock().unwrap().is_empty());
    }
}
