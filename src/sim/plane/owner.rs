//! The task that owns a plane's tunnels: the only one that changes them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::config::{Applied, AppliedInterface, PeerState, PlaneConfig, PlaneOptions, WgInterface};
use super::firewall::{Rule, Table};
use super::router::{Firewall, SharedRouter};
use super::routing::Routing;
use super::tunnel::Tunnel;
use crate::wireguard::packet::IpPacket;
use crate::wireguard::wire::Network;

/// How often tunnels are looked after; well under the 180 s after which gotatun forgets a handshake.
const TICK: Duration = Duration::from_secs(5);

/// What the owner may be asked.
#[derive(Debug)]
pub(super) enum Request {
    Apply(Box<PlaneConfig>, oneshot::Sender<Applied>),
    Peers(oneshot::Sender<Vec<PeerState>>),
    ResolveAgain(u64, oneshot::Sender<bool>),
    SetName(String, Option<IpAddr>, oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// A plane's tunnels, by interface id.
pub(super) struct Owner {
    options: PlaneOptions,
    router: SharedRouter,
    network: Arc<Network>,
    tunnels: BTreeMap<u64, Tunnel>,
    /// Unknown matchers that were logged: once is enough.
    logged: HashSet<String>,
}

impl Owner {
    pub fn new(options: PlaneOptions, router: SharedRouter, network: Arc<Network>) -> Self {
        Self { options, router, network, tunnels: BTreeMap::new(), logged: HashSet::new() }
    }

    /// Answers requests until told to stop, or nobody is left to ask.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let request = tokio::select! {
                request = inbox.recv() => request,
                _ = ticks.tick() => {
                    for tunnel in self.tunnels.values_mut() {
                        tunnel.tick().await;
                    }
                    continue;
                }
            };
            match request {
                Some(Request::Stop(answer)) => {
                    self.stop().await;
                    return reply(answer, ());
                }
                Some(request) => self.handle(request).await,
                None => return,
            }
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Apply(config, answer) => {
                let applied = self.apply(*config).await;
                reply(answer, applied);
            }
            Request::Peers(answer) => {
                let mut states = Vec::new();
                for tunnel in self.tunnels.values_mut() {
                    states.append(&mut tunnel.states().await);
                }
                reply(answer, states);
            }
            Request::ResolveAgain(peer, answer) => {
                let resolved = self.resolve_again(peer).await;
                reply(answer, resolved);
            }
            Request::SetName(name, address, answer) => {
                match address {
                    Some(address) => self.options.names.insert(name, address),
                    None => self.options.names.remove(&name),
                };
                reply(answer, ());
            }
            Request::Stop(answer) => reply(answer, ()),
        }
    }

    async fn apply(&mut self, config: PlaneConfig) -> Applied {
        let mut applied = Applied::default();
        let wanted: HashSet<u64> = config.wireguard.iter().map(|row| row.id).collect();
        let gone: Vec<u64> = self.tunnels.keys().filter(|id| !wanted.contains(id)).copied().collect();
        for id in gone {
            if let Some(tunnel) = self.tunnels.remove(&id) {
                tunnel.stop().await;
            }
        }
        for row in config.wireguard {
            let interface = self.follow(row, &mut applied).await;
            applied.interfaces.push(interface);
        }
        let rules = config.filter.iter().chain(&config.filter6).chain(&config.nat);
        applied.unknown_matchers = self.unknown_matchers(rules);
        let running = || self.tunnels.values().filter(|tunnel| tunnel.is_running());
        let inputs: Vec<_> = running().map(|tunnel| (tunnel.id(), tunnel.name().to_owned(), tunnel.input())).collect();
        let mut router = self.router.lock();
        let mut up = router.lan_interfaces();
        up.extend(inputs.iter().map(|(_, name, _)| name.clone()));
        let firewall = Firewall {
            filter: Table::new(config.filter),
            filter6: Table::new(config.filter6),
            nat: Table::new(config.nat),
        };
        let mut routing = Routing::new(config.addresses, config.routes, &up);
        routing.strict = config.strict_sources;
        router.configure(routing, firewall, inputs);
        applied
    }

    async fn follow(&mut self, row: WgInterface, applied: &mut Applied) -> AppliedInterface {
        let id = row.id;
        if !self.tunnels.contains_key(&id) {
            match self.make(&row).await {
                Ok(tunnel) => drop(self.tunnels.insert(id, tunnel)),
                Err(error) => return not_made(&row, &error),
            }
        }
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return not_made(&row, &crate::wireguard::device::Error::NotConnected);
        };
        let (names, bind) = (&self.options.names, self.options.bind);
        let resolve = |host: &str| resolve(host, names, bind);
        let mut problems = tunnel.follow(row, self.options.drop_session_on_set, &resolve).await;
        applied.unresolved.append(&mut problems.unresolved);
        applied.duplicates.append(&mut problems.duplicates);
        tunnel.applied()
    }

    async fn make(&self, row: &WgInterface) -> Result<Tunnel, crate::wireguard::device::Error> {
        let (router, id, name) = (self.router.clone(), row.id, row.name.clone());
        let deliver = Box::new(move |bytes: &[u8]| {
            if let Some(packet) = IpPacket::parse(bytes) {
                router.lock().arrived(id, packet);
            } else {
                tracing::debug!(interface = %name, "a tunnel brought no IP packet");
            }
        });
        Tunnel::new(row, self.options.bind, Arc::clone(&self.network), deliver).await
    }

    async fn resolve_again(&mut self, peer: u64) -> bool {
        let (names, bind) = (&self.options.names, self.options.bind);
        let resolve = |host: &str| resolve(host, names, bind);
        for tunnel in self.tunnels.values_mut() {
            if let Some(resolved) = tunnel.resolve_again(peer, &resolve).await {
                return resolved;
            }
        }
        false
    }

    fn unknown_matchers<'a>(&mut self, rules: impl Iterator<Item = &'a Rule>) -> Vec<String> {
        let mut unknown: Vec<String> = rules.flat_map(|rule| rule.unknown().iter().cloned()).collect();
        unknown.sort();
        unknown.dedup();
        for matcher in &unknown {
            if self.logged.insert(matcher.clone()) {
                tracing::warn!(%matcher, "the simulated firewall does not know a matcher, its rule never matches");
            }
        }
        unknown
    }

    async fn stop(&mut self) {
        while let Some((_, tunnel)) = self.tunnels.pop_first() {
            tunnel.stop().await;
        }
    }
}

/// The address that an endpoint's host stands for: names by the table; addresses as they are, if they cannot lead out of a
/// simulation on loopback.
fn resolve(host: &str, names: &HashMap<String, IpAddr>, bind: IpAddr) -> Option<IpAddr> {
    if let Some(address) = names.get(host) {
        return Some(*address);
    }
    let address: IpAddr = host.parse().ok()?;
    (address.is_loopback() || !bind.is_loopback()).then_some(address)
}

fn not_made(row: &WgInterface, error: &crate::wireguard::device::Error) -> AppliedInterface {
    AppliedInterface {
        id: row.id,
        listen_port: row.listen_port,
        socket: None,
        running: false,
        problem: Some(error.to_string()),
    }
}

/// Answers a request; the asker may have gone meanwhile, which changes nothing.
fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    if answer.send(value).is_err() {
        tracing::debug!("nobody waits for the data plane's answer");
    }
}
