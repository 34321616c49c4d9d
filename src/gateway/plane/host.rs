//! What an instance needs of the host's namespace: a link, an entry in our table of nftables, and forwarding.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{sleep, timeout};

use super::PlaneError;
use super::firewall::{self, Script, set_of};
use super::links::{Link, Links, Route};
use super::namespace::Namespace;
use super::trouble::Doing;
use crate::api::InstanceId;

/// What the host's ends of the links begin with; with an id of 12 characters a name has the 15 that Linux allows.
const PREFIX: &str = "sp-";
/// The instance's end.
pub(super) const UPLINK: &str = "uplink0";
/// The tunnel's own MTU, so that nothing has to be cut between the two.
pub(super) const MTU: u32 = 1420;
/// Links are numbered from here, two addresses each: the range of RFC 2544, which nobody routes.
const POOL4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The same for IPv6: a unique local prefix of ours.
const POOL6: Ipv6Addr = Ipv6Addr::new(0xfd73, 0x7065, 0x6572, 0, 0, 0, 0, 0);
/// How many links the IPv4 range has room for.
const LINKS: u32 = 1 << 16;
/// The default route inside gives way to whatever a site advertises.
const UPLINK_METRIC: u32 = 4096;
/// Pushed routes stand before it.
const PUSHED_METRIC: u32 = 100;
/// The switch of IPv4 forwarding.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Keeps gateways on one host from choosing the same numbers, or from removing the table that another one just filled.
const LOCK: &str = "/run/sitepeer.lock";
/// How long to wait for the lock: whoever has it needs some milliseconds.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The link between the host and an instance.
#[derive(Debug, Clone)]
pub(super) struct Uplink {
    /// Inside.
    link: Link,
    /// The host's ends.
    gateways: Vec<IpAddr>,
}

fn name(instance: &InstanceId) -> String {
    format!("{PREFIX}{instance}")
}

/// The two ends of link number `n`, the host's first.
fn ends(n: u32, v6: bool) -> (IpAddr, IpAddr) {
    if v6 {
        let first = u128::from(POOL6) + u128::from(n) * 2;
        (Ipv6Addr::from(first).into(), Ipv6Addr::from(first + 1).into())
    } else {
        let first = u32::from(POOL4) + n * 2;
        (Ipv4Addr::from(first).into(), Ipv4Addr::from(first + 1).into())
    }
}

fn pair(end: IpAddr) -> IpNet {
    let length = if end.is_ipv4() { 31 } else { 127 };
    IpNet::new_assert(end, length)
}

/// Links of this owner on the host, by instance: what remains if a namespace lost its name.
pub(super) async fn linked(owner: &str) -> Result<Vec<InstanceId>, PlaneError> {
    let links = Links::here()?;
    let mut found = Vec::new();
    for name in links.names(PREFIX).await? {
        let Ok(instance) = name.trim_start_matches(PREFIX).parse() else { continue };
        if let Some(link) = links.find(&name).await?
            && links.alias(link).await?.as_deref() == Some(owner)
        {
            found.push(instance);
        }
    }
    Ok(found)
}

/// Makes sure that the instance has its link to the host, with addresses, default routes and rules on both sides.
pub(super) async fn connect(
    instance: &InstanceId,
    namespace: &Namespace,
    inside: &Links,
    owner: &str,
    v6: bool,
) -> Result<Uplink, PlaneError> {
    let _lock = lock().await?;
    let outside = Links::here()?;
    let host = host_end(instance, namespace, inside, &outside, owner).await?;
    let link = inside.need(UPLINK).await?;
    let (here, there) = numbers(&outside, host, v6).await?;
    outside.set_mtu(host, MTU).await?;
    inside.set_mtu(link, MTU).await?;
    outside.set_addresses(host, &here.iter().map(|&end| pair(end)).collect()).await?;
    inside.set_addresses(link, &there.iter().map(|&end| pair(end)).collect()).await?;
    outside.up(host).await?;
    inside.up(link).await?;
    let uplink = Uplink { link, gateways: here };
    for &gateway in &uplink.gateways {
        let net = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let net = net.parse().doing(|| "read a prefix".to_owned())?;
        inside.set_route(Route { net, link, via: Some(gateway), metric: UPLINK_METRIC }).await?;
    }
    firewall::load(None, firewall::HOST.to_owned()).await?;
    let mut script = Script::default();
    script.add("links", format_args!("\"{}\"", name(instance)));
    for &end in &there {
        script.add(&set_of("ends", end), end);
    }
    script.outside().await?;
    Ok(uplink)
}

/// Finds the host's end of the link, or makes the link.
async fn host_end(
    instance: &InstanceId,
    namespace: &Namespace,
    inside: &Links,
    outside: &Links,
    owner: &str,
) -> Result<Link, PlaneError> {
    let name = name(instance);
    if let Some(host) = outside.find(&name).await? {
        if outside.alias(host).await?.as_deref() != Some(owner) {
            return Err(PlaneError::new(format!("the link {name} is there already and is not ours")));
        }
        if inside.find(UPLINK).await?.is_some() {
            return Ok(host);
        }
        // Its other end is in a namespace that lost its name.
        outside.remove(host).await?;
    }
    let host = outside.add_veth(&name, UPLINK, namespace).await?;
    outside.set_alias(host, owner).await?;
    Ok(host)
}

/// The addresses of the link's two ends: those it has, or the first pair from the link's own number on that nobody uses.
async fn numbers(outside: &Links, host: Link, v6: bool) -> Result<(Vec<IpAddr>, Vec<IpAddr>), PlaneError> {
    let mine = outside.addresses(Some(host)).await?;
    let taken = outside.addresses(None).await?;
    let n = match mine.iter().find_map(number) {
        Some(n) => n,
        // The kernel never gives a link's number twice while the link is there, so two rarely want the same.
        None => (0..LINKS)
            .map(|step| (host.0 + step) % LINKS)
            .find(|&n| is_free(n, &taken))
            .ok_or_else(|| PlaneError::new("no addresses are free for one more link"))?,
    };
    let families = if v6 { &[false, true][..] } else { &[false][..] };
    Ok(families.iter().map(|&v6| ends(n, v6)).unzip())
}

/// The number of the link that has this address.
fn number(net: &IpNet) -> Option<u32> {
    match net.addr() {
        IpAddr::V4(address) if net.prefix_len() == 31 => {
            let n = u32::from(address).checked_sub(u32::from(POOL4))? / 2;
            (n < LINKS).then_some(n)
        }
        _ => None,
    }
}

fn is_free(n: u32, taken: &BTreeSet<IpNet>) -> bool {
    [false, true]
        .into_iter()
        .map(|v6| pair(ends(n, v6).0))
        .all(|pair| !taken.iter().any(|net| net.contains(&pair.addr()) || pair.trunc().contains(&net.addr())))
}

impl Uplink {
    /// Routes exactly these prefixes to the host, beside the default route.
    pub async fn route(&self, inside: &Links, pushed: &[IpNet]) -> Result<(), PlaneError> {
        let wanted: BTreeSet<IpNet> = pushed.iter().copied().collect();
        let have = inside.routes(self.link, PUSHED_METRIC).await?;
        for &net in &wanted {
            if let Some(via) = self.gateways.iter().find(|via| via.is_ipv4() == net.addr().is_ipv4()) {
                inside.set_route(Route { net, link: self.link, via: Some(*via), metric: PUSHED_METRIC }).await?;
            }
        }
        for &net in have.difference(&wanted) {
            inside.remove_route(Route { net, link: self.link, via: None, metric: PUSHED_METRIC }).await?;
        }
        Ok(())
    }
}

/// Takes the instance's link and its entries in our table away, and the table with the last of them.
pub(super) async fn disconnect(instance: &InstanceId, owner: &str) -> Result<(), PlaneError> {
    let _lock = lock().await?;
    let outside = Links::here()?;
    let name = name(instance);
    let host = outside.find(&name).await?;
    let mut there = Vec::new();
    if let Some(host) = host {
        if outside.alias(host).await?.as_deref() != Some(owner) {
            return Ok(());
        }
        let n = outside.addresses(Some(host)).await?.iter().find_map(number);
        there.extend(n.into_iter().flat_map(|n| [ends(n, false).1, ends(n, true).1]));
        outside.remove(host).await?;
    }
    if firewall::ask(&["list", "table", "inet", "sitepeer"]).await?.is_none() {
        return Ok(());
    }
    let mut script = Script::default();
    let element = format!("\"{name}\"");
    script.remove("links", element.as_str());
    for &end in &there {
        script.remove(&set_of("ends", end), end);
    }
    script.outside().await?;
    let links = firewall::ask(&["list", "set", "inet", "sitepeer", "links"]).await?;
    if links.is_some_and(|links| !links.contains("elements")) {
        firewall::load(None, "delete table inet sitepeer\n".to_owned()).await?;
    }
    Ok(())
}

/// Whether the host forwards IPv4.
pub(super) fn is_forwarding() -> Result<bool, PlaneError> {
    is_on(FORWARD)
}

/// Makes sure that the host forwards between links and the outside.
pub(super) fn forward(v6: bool) -> Result<(), PlaneError> {
    switch_on(FORWARD)?;
    if !v6 {
        return Ok(());
    }
    let switch = "/proc/sys/net/ipv6/conf/all/forwarding";
    if !is_on(switch)? && learns_routes()? {
        tracing::warn!(
            "the host gets its IPv6 route by router advertisements and would lose it as a router: IPv6 beyond the gateway stays \
             off until net.ipv6.conf.all.forwarding is set by hand, with accept_ra = 2 where it is needed"
        );
        return Ok(());
    }
    switch_on(switch)
}

fn is_on(switch: &str) -> Result<bool, PlaneError> {
    let value = fs::read_to_string(switch).doing(|| format!("read {switch}"))?;
    Ok(value.trim() != "0")
}

fn switch_on(switch: &str) -> Result<(), PlaneError> {
    if is_on(switch)? {
        return Ok(());
    }
    fs::write(switch, "1").doing(|| format!("switch forwarding on in {switch}"))?;
    tracing::warn!(switch, "the host forwards from now on: pushed routes and full tunnels need it");
    Ok(())
}

/// Whether a default route of the host came by router advertisement.
fn learns_routes() -> Result<bool, PlaneError> {
    /// The flag of a route that an advertisement made (`RTF_ADDRCONF`).
    const ADVERTISED: u32 = 0x0004_0000;
    let file = "/proc/thread-self/net/ipv6_route";
    let table = fs::read_to_string(file).doing(|| format!("read {file}"))?;
    let advertised = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = fields.get(8).and_then(|flags| u32::from_str_radix(flags, 16).ok());
        fields.get(1) == Some(&"00") && flags.is_some_and(|flags| flags & ADVERTISED != 0)
    };
    Ok(table.lines().any(advertised))
}

async fn lock() -> Result<File, PlaneError> {
    let open = File::options().create(true).truncate(false).write(true).open(LOCK);
    let file = open.doing(|| format!("open {LOCK}"))?;
    let locked = async {
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    };
    timeout(LOCK_DEADLINE, locked).await.doing(|| format!("wait for {LOCK}"))?.doing(|| format!("lock {LOCK}"))?;
    Ok(file)
}
