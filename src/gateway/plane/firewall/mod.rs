//! Rules in nftables: a text skeleton for a namespace, then set elements only.
//!
//! `nft` reads a script from its standard input, which is one transaction: all of it or nothing. No shell is involved, and nothing
//! that came from outside stands in a script but addresses and prefixes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::process::{Output, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command as Process};
use tokio::time::timeout;

use super::PlaneError;
use super::namespace::Namespace;
use super::trouble::Doing;
use super::tunnel;
use crate::api::{GatewayInstance, GatewayPeer, PeerKind};
use crate::domain::SubnetSet;

/// The rules inside an instance's namespace.
pub(super) const INSTANCE: &str = include_str!("instance.nft");
/// The rules of the host, for all instances.
pub(super) const HOST: &str = include_str!("host.nft");
/// The name of our tables; no other is touched.
const TABLE: &str = "inet sitepeer";
/// How long `nft` may take: some milliseconds, more on a host that is busy.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Where `nft` is: a service's path often lacks the last two.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// Changes to sets of our table, done together or not at all.
#[derive(Debug, Default)]
pub(super) struct Script(String);

impl Script {
    /// Adds an element; it may be there already.
    pub fn add(&mut self, set: &str, element: impl std::fmt::Display) {
        self.line(format_args!("add element {TABLE} {set} {{ {element} }}"));
    }

    /// Removes an element; it may be gone already. (`destroy element` says that, from nftables 1.0.7 on.)
    pub fn remove(&mut self, set: &str, element: impl std::fmt::Display + Copy) {
        self.add(set, element);
        self.line(format_args!("delete element {TABLE} {set} {{ {element} }}"));
    }

    /// Empties a set; elements added afterwards are all it has, without a moment in between.
    pub fn flush(&mut self, set: &str) {
        self.line(format_args!("flush set {TABLE} {set}"));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _written = writeln!(self.0, "{line}");
    }

    /// Applies the changes inside a namespace.
    pub async fn inside(self, namespace: &Namespace) -> Result<(), PlaneError> {
        if self.is_empty() { Ok(()) } else { load(Some(namespace), self.0).await }
    }

    /// Applies the changes in the host's namespace.
    pub async fn outside(self) -> Result<(), PlaneError> {
        if self.is_empty() { Ok(()) } else { load(None, self.0).await }
    }
}

/// The set of addresses of a family: `own` is `own4` or `own6`.
pub(super) fn set_of(name: &str, address: IpAddr) -> String {
    format!("{name}{}", if address.is_ipv4() { '4' } else { '6' })
}

/// What depends on the instance: own addresses, pushed routes, policy.
pub(super) fn instance_script(instance: &GatewayInstance) -> Script {
    let mut script = Script::default();
    for set in ["own4", "own6", "pushed4", "pushed6", "client_to_client", "site_to_site"] {
        script.flush(set);
    }
    for net in &instance.addresses {
        script.add(&set_of("own", net.addr()), net.addr());
    }
    for net in instance.pushed_routes.iter() {
        script.add(&set_of("pushed", net.addr()), net);
    }
    for (set, allowed) in
        [("client_to_client", instance.policy.client_to_client), ("site_to_site", instance.policy.site_to_site)]
    {
        let others = instance.devices.iter().map(|device| device.device);
        for device in std::iter::once(instance.device).chain(others).filter(|_| allowed) {
            script.add(set, format_args!("\"{}\"", tunnel::name(device)));
        }
    }
    script
}

/// What may be reached beyond the host, beside the public internet.
pub(super) fn beyond_script(beyond: &SubnetSet) -> Script {
    let mut script = Script::default();
    script.flush("beyond4");
    script.flush("beyond6");
    for net in beyond.iter() {
        script.add(&set_of("beyond", net.addr()), net);
    }
    script
}

/// Makes a peer's elements what is wanted; `there` are those that may be there.
///
/// Sites need none: who comes out of the tunnel and is no client is one.
pub(super) fn peer_script(wanted: &Elements, there: &Elements) -> Script {
    let mut script = removal_script(&there.without(wanted));
    for address in &wanted.clients {
        script.add(&set_of("clients", *address), address);
    }
    for address in &wanted.full {
        script.add(&set_of("full", *address), address);
    }
    script
}

/// Takes a peer's elements out.
pub(super) fn removal_script(known: &Elements) -> Script {
    let mut script = Script::default();
    for address in &known.full {
        script.remove(&set_of("full", *address), address);
    }
    for address in &known.clients {
        script.remove(&set_of("clients", *address), address);
    }
    script
}

/// A peer's elements: the addresses that stand, or may stand, in the sets of peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Elements {
    clients: BTreeSet<IpAddr>,
    full: BTreeSet<IpAddr>,
}

impl Elements {
    /// What a peer needs.
    pub fn of(peer: &GatewayPeer) -> Self {
        let addresses: BTreeSet<IpAddr> = peer.addresses.iter().copied().collect();
        match (peer.kind, peer.route_all) {
            (PeerKind::Client, true) => Self { clients: addresses.clone(), full: addresses },
            (PeerKind::Client, false) => Self { clients: addresses, full: BTreeSet::new() },
            (PeerKind::Site | PeerKind::Remote, _) => Self::default(),
        }
    }

    /// What may be there of a peer with these addresses.
    pub fn any(addresses: &[IpAddr]) -> Self {
        let addresses: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        Self { clients: addresses.clone(), full: addresses }
    }

    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        let union = |a: &BTreeSet<IpAddr>, b: &BTreeSet<IpAddr>| a.union(b).copied().collect();
        Self { clients: union(&self.clients, &other.clients), full: union(&self.full, &other.full) }
    }

    /// Those that are not among the others.
    pub fn without(&self, others: &Self) -> Self {
        let rest = |a: &BTreeSet<IpAddr>, b: &BTreeSet<IpAddr>| a.difference(b).copied().collect();
        Self { clients: rest(&self.clients, &others.clients), full: rest(&self.full, &others.full) }
    }

    /// Drops those that others have.
    pub fn drop_those_of(&mut self, others: &Self) {
        self.clients.retain(|address| !others.clients.contains(address));
        self.full.retain(|address| !others.full.contains(address));
    }

    /// Whether something goes out here.
    pub fn any_full(&self) -> bool {
        !self.full.is_empty()
    }
}

/// Empties the sets of peers: for a device that begins without peers.
pub(super) fn no_peers_script() -> Script {
    let mut script = Script::default();
    for set in ["clients4", "clients6", "full4", "full6"] {
        script.flush(set);
    }
    script
}

/// The addresses among a peer's allowed prefixes.
pub(super) fn host_addresses(allowed: &[IpNet]) -> Vec<IpAddr> {
    allowed.iter().filter(|net| net.prefix_len() == net.max_prefix_len()).map(IpNet::addr).collect()
}

/// Has `nft` do a script inside a namespace, or in the host's.
pub(super) async fn load(namespace: Option<&Namespace>, script: String) -> Result<(), PlaneError> {
    let output = run(namespace, &["-f", "-"], script).await?;
    if output.status.success() {
        return Ok(());
    }
    // The first line of a message names the line of the script, with addresses only.
    let text = String::from_utf8_lossy(&output.stderr);
    Err(PlaneError::new(format!("nftables refused a change: {}", text.lines().next().unwrap_or("no reason given"))))
}

/// Asks `nft` in the host's namespace; `None` if it refuses, such as for a table that is not there.
pub(super) async fn ask(arguments: &[&str]) -> Result<Option<String>, PlaneError> {
    let output = run(None, arguments, String::new()).await?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

async fn run(namespace: Option<&Namespace>, arguments: &[&str], script: String) -> Result<Output, PlaneError> {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let child = match namespace {
        // A child has the namespace of the thread that started it.
        Some(namespace) => namespace.run(move || start(&arguments)).await?,
        None => start(&arguments)?,
    };
    timeout(DEADLINE, finish(child, script)).await.doing(|| "wait for nft".to_owned())?.doing(|| "run nft".to_owned())
}

/// Starts `nft` in the namespace of the calling thread. It is killed when it is not waited for any more.
pub(super) fn start(arguments: &[String]) -> Result<Child, PlaneError> {
    let mut last = None;
    for program in PROGRAMS {
        let mut command = Process::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => last = Some(error),
            started => return started.doing(|| format!("start {program}")),
        }
    }
    let missing = || "start nft (is the package nftables installed?)".to_owned();
    last.map_or_else(|| Err(PlaneError::new(missing())), |error| Err(error).doing(missing))
}

/// Gives `nft` its script and waits for its end.
pub(super) async fn finish(mut child: Child, script: String) -> std::io::Result<Output> {
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(script.as_bytes()).await {
            // It refused before it had read all; its message says why.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    child.wait_with_output().await
}

/// The tables of others, among the chains that `nft list chains` shows, that drop forwarded packets by policy.
pub(super) fn dropping(chains: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut table = "";
    for line in chains.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches('{').trim();
        } else if line.contains("hook forward") && line.contains("policy drop") && table != TABLE {
            found.push(table.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_works_whether_the_element_is_there_or_not() {
        let mut script = Script::default();
        script.remove("full4", "10.99.0.7");
        let text = "add element inet sitepeer full4 { 10.99.0.7 }\ndelete element inet sitepeer full4 { 10.99.0.7 }\n";
        assert_eq!(script.0, text);
    }

    #[test]
    fn policies_of_others_that_drop_are_found_and_ours_is_not() {
        let chains = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n\
                      table inet sitepeer {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n\
                      table inet other {\n\tchain x {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}";
        assert_eq!(dropping(chains), ["ip filter"]);
    }
}
