//! Where sessions come from, and whether the rows as they are let them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::Device;
use crate::sim::options::{SessionPath, Through};
use crate::sim::plane::Incoming;

/// A port of the other end; no rule here looks at it.
const FROM_PORT: u16 = 50_000;

/// What gets through on the sessions' path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Packets of sessions that stand.
    pub(crate) established: bool,
    /// The first packet of another one.
    pub(crate) new: bool,
}

impl Device {
    /// What the rows let through now; everything if the sessions' path is not modelled.
    pub(crate) fn gate(&self) -> Gate {
        let Some(path) = &self.path else { return Gate { established: true, new: true } };
        let takes = |established| self.takes(path, established);
        Gate { established: takes(true), new: takes(false) }
    }

    fn takes(&self, path: &SessionPath, established: bool) -> bool {
        let ways = self.ways(path);
        let Some(interface) = ways.first() else { return false };
        let port = self.table("/ip/service").iter().find(|item| item.fields.is("name", "api"));
        let port = port.and_then(|item| item.fields.text("port")?.parse().ok()).unwrap_or_default();
        let running = self.table("/interface").iter().filter(|item| self.is_running(item));
        let mut up: HashSet<String> = running.filter_map(|item| item.fields.text("name").map(str::to_owned)).collect();
        // Without a data plane no tunnel says that it runs; one that is switched on is then good enough.
        up.extend(ways.iter().filter(|way| self.interface(way).is_some_and(super::Item::is_enabled)).cloned());
        let incoming = Incoming {
            from: SocketAddr::from((path.source, FROM_PORT)),
            to: SocketAddr::from((path.address, port)),
            interface,
            back: &ways,
            established,
        };
        self.plane_config().takes(incoming, &up)
    }

    /// The interfaces between here and there, the one that packets come in by first; none if there is no way.
    fn ways(&self, path: &SessionPath) -> Vec<String> {
        match &path.through {
            Through::Interface(name) => vec![name.clone()],
            Through::Peer { public_key, endpoint } => self.way(path, public_key, endpoint).into_iter().collect(),
            Through::Peers(peers) => peers.iter().filter_map(|(key, endpoint)| self.way(path, key, endpoint)).collect(),
        }
    }

    /// The interface of a peer, if that is the one it was.
    fn way(&self, path: &SessionPath, public_key: &str, endpoint: &str) -> Option<String> {
        let peers = self.table("/interface/wireguard/peers").iter().filter(|item| item.is_enabled());
        let peer = peers.into_iter().find(|item| item.fields.is("public-key", public_key))?;
        let text = |name: &str| peer.fields.text(name).unwrap_or_default();
        let allows = |net: &str| net.parse::<ipnet::IpNet>().is_ok_and(|net| net.contains(&path.source));
        let is_there = format!("{}:{}", text("endpoint-address"), text("endpoint-port")) == *endpoint;
        let is_allowed = text("allowed-address").split(',').any(allows);
        (is_there && is_allowed).then(|| text("interface").to_owned())
    }

    /// Where a session comes from as the device sees it.
    pub(crate) fn seen_from(&self, remote: SocketAddr) -> SocketAddr {
        let ip: IpAddr = self.path.as_ref().map_or(remote.ip(), |path| path.source);
        SocketAddr::from((ip, remote.port()))
    }
}
