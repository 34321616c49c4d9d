//! Links, addresses and routes of one network namespace, by netlink.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, LinkWireguard, RouteMessageBuilder};
use tokio::time::timeout;

use super::PlaneError;
use super::namespace::Namespace;
use super::trouble::Doing;

/// How long the kernel may take for one answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long for a link's end: a WireGuard device takes its peers out first, one after another, and may have thousands.
const END_DEADLINE: Duration = Duration::from_secs(45);
/// "No such device", "no such process" (a route that is not there), "cannot assign" (an address that is not there): gone already.
const GONE: [i32; 4] = [-2, -3, -19, -99];

/// A netlink connection into a namespace. Works from any thread, stays in the namespace in which it was opened.
#[derive(Clone)]
pub(super) struct Links(Handle);

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Links")
    }
}

/// A link by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(pub u32);

async fn asked<T>(
    what: impl Fn() -> String,
    work: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, PlaneError> {
    timeout(DEADLINE, work).await.doing(&what)?.doing(&what)
}

/// Like [`asked`], but what is gone already is fine.
async fn gone(
    what: impl Fn() -> String,
    deadline: Duration,
    work: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), PlaneError> {
    match timeout(deadline, work).await.doing(&what)? {
        Err(rtnetlink::Error::NetlinkError(error)) if GONE.contains(&error.raw_code()) => Ok(()),
        result => result.doing(&what),
    }
}

impl Links {
    /// Opens a connection in the namespace of the calling thread, which must have entered a runtime.
    pub fn here() -> Result<Self, PlaneError> {
        let (connection, handle, _) = rtnetlink::new_connection().doing(|| "open a netlink connection".to_owned())?;
        // Ends when the last handle is dropped.
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Finds a link by its name.
    pub async fn find(&self, name: &str) -> Result<Option<Link>, PlaneError> {
        Ok(self.message(name).await?.map(|message| Link(message.header.index)))
    }

    /// Finds a link that must be there.
    pub async fn need(&self, name: &str) -> Result<Link, PlaneError> {
        self.find(name).await?.ok_or_else(|| PlaneError::new(format!("there is no link {name}")))
    }

    async fn message(&self, name: &str) -> Result<Option<LinkMessage>, PlaneError> {
        let what = || format!("look for link {name}");
        let mut replies = Box::pin(self.0.link().get().match_name(name).execute());
        match timeout(DEADLINE, replies.try_next()).await.doing(what)? {
            Err(rtnetlink::Error::NetlinkError(error)) if GONE.contains(&error.raw_code()) => Ok(None),
            reply => reply.doing(what),
        }
    }

    /// The names of all links that begin with `prefix`.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>, PlaneError> {
        let all = asked(|| "list links".to_owned(), self.0.link().get().execute().try_collect::<Vec<_>>()).await?;
        let name = |message: &LinkMessage| {
            message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })
        };
        Ok(all.iter().filter_map(name).filter(|name| name.starts_with(prefix)).collect())
    }

    /// What a link's alias says, if it has one.
    pub async fn alias(&self, link: Link) -> Result<Option<String>, PlaneError> {
        let what = || format!("read link {}", link.0);
        let mut replies = Box::pin(self.0.link().get().match_index(link.0).execute());
        let message = timeout(DEADLINE, replies.try_next()).await.doing(what)?.doing(what)?;
        let attributes = message.map(|message| message.attributes).unwrap_or_default();
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::IfAlias(alias) => Some(alias),
            _ => None,
        }))
    }

    pub async fn set_alias(&self, link: Link, alias: &str) -> Result<(), PlaneError> {
        let message = LinkUnspec::new_with_index(link.0).alias(alias).build();
        asked(|| format!("mark link {}", link.0), self.0.link().set(message).execute()).await
    }

    pub async fn set_mtu(&self, link: Link, mtu: u32) -> Result<(), PlaneError> {
        let message = LinkUnspec::new_with_index(link.0).mtu(mtu).build();
        asked(|| format!("set the MTU of link {}", link.0), self.0.link().set(message).execute()).await
    }

    /// Switches a link on.
    pub async fn up(&self, link: Link) -> Result<(), PlaneError> {
        let message = LinkUnspec::new_with_index(link.0).up().build();
        asked(|| format!("switch link {} on", link.0), self.0.link().set(message).execute()).await
    }

    /// Switches a link off. Its routes go.
    pub async fn down(&self, link: Link) -> Result<(), PlaneError> {
        let message = LinkUnspec::new_with_index(link.0).down().build();
        asked(|| format!("switch link {} off", link.0), self.0.link().set(message).execute()).await
    }

    /// Makes a veth pair: `name` here, `inner` in `namespace`.
    pub async fn add_veth(&self, name: &str, inner: &str, namespace: &Namespace) -> Result<Link, PlaneError> {
        let peer = LinkUnspec::new_with_name(inner).setns_by_fd(namespace.file().as_raw_fd()).build();
        let message = LinkVeth::new(name, inner).set_info_data(InfoData::Veth(InfoVeth::Peer(peer))).build();
        asked(|| format!("make the link {name}"), self.0.link().add(message).execute()).await?;
        self.need(name).await
    }

    /// Makes a veth pair, both ends here: to see whether it can be done.
    pub async fn try_veth(&self) -> Result<(), PlaneError> {
        let message = LinkVeth::new("probe0", "probe1").build();
        asked(|| "make a pair of links".to_owned(), self.0.link().add(message).execute()).await
    }

    /// Makes a WireGuard link. Its UDP socket stays in this namespace, wherever the link is moved.
    pub async fn add_wireguard(&self, name: &str) -> Result<Link, PlaneError> {
        let message = LinkWireguard::new(name).build();
        asked(|| format!("make the WireGuard link {name}"), self.0.link().add(message).execute()).await?;
        self.need(name).await
    }

    /// Moves a link into another namespace and gives it a new name there.
    pub async fn move_to(&self, link: Link, namespace: &Namespace, name: &str) -> Result<(), PlaneError> {
        let descriptor = namespace.file().as_raw_fd();
        let message = LinkUnspec::new_with_index(link.0).setns_by_fd(descriptor).name(name).build();
        asked(|| format!("move link {} to be {name}", link.0), self.0.link().set(message).execute()).await
    }

    /// Removes a link; it may be gone already.
    pub async fn remove(&self, link: Link) -> Result<(), PlaneError> {
        gone(|| format!("remove link {}", link.0), END_DEADLINE, self.0.link().del(link.0).execute()).await
    }

    /// The addresses of a link, or of all; those that the kernel made up itself (`fe80::/10`) are left out.
    pub async fn addresses(&self, link: Option<Link>) -> Result<BTreeSet<IpNet>, PlaneError> {
        let all = asked(|| "list addresses".to_owned(), self.0.address().get().execute().try_collect::<Vec<_>>());
        let mut found = BTreeSet::new();
        for message in all.await? {
            if link.is_some_and(|link| link.0 != message.header.index) {
                continue;
            }
            // On a point-to-point link `Address` is the other end's.
            let of = |local: bool| {
                message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(address) if local => Some(*address),
                    AddressAttribute::Address(address) if !local => Some(*address),
                    _ => None,
                })
            };
            let address = of(true).or_else(|| of(false));
            let net = address.and_then(|address| IpNet::new(address, message.header.prefix_len).ok());
            found.extend(net.filter(|net| !is_link_local(net.addr())));
        }
        Ok(found)
    }

    /// Gives a link exactly these addresses; those that it has already are not touched.
    pub async fn set_addresses(&self, link: Link, wanted: &BTreeSet<IpNet>) -> Result<(), PlaneError> {
        let have = self.addresses(Some(link)).await?;
        for net in wanted.difference(&have) {
            let mut request = self.0.address().add(link.0, net.addr(), net.prefix_len());
            // Nobody else is on these links: an IPv6 address needs not to be asked for first.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            asked(|| format!("give link {} the address {net}", link.0), request.execute()).await?;
        }
        for net in have.difference(wanted) {
            let mut message = self.0.address().add(link.0, net.addr(), net.prefix_len());
            let request = self.0.address().del(message.message_mut().clone());
            gone(|| format!("take the address {net} from link {}", link.0), DEADLINE, request.execute()).await?;
        }
        Ok(())
    }

    /// Makes a route, or changes the one to the same prefix with the same metric.
    pub async fn set_route(&self, route: Route) -> Result<(), PlaneError> {
        let message = route.message()?;
        asked(|| format!("make {route}"), self.0.route().add(message).replace().execute()).await
    }

    /// Removes a route; it may be gone already.
    pub async fn remove_route(&self, route: Route) -> Result<(), PlaneError> {
        let message = route.message()?;
        gone(|| format!("remove {route}"), DEADLINE, self.0.route().del(message).execute()).await
    }

    /// The prefixes that are routed to a link with our metric.
    pub async fn routes(&self, link: Link, metric: u32) -> Result<BTreeSet<IpNet>, PlaneError> {
        let mut found = BTreeSet::new();
        let (v4, v6) =
            (RouteMessageBuilder::<std::net::Ipv4Addr>::new(), RouteMessageBuilder::<std::net::Ipv6Addr>::new());
        for family in [v4.build(), v6.build()] {
            let request = self.0.route().get(family).execute().try_collect::<Vec<_>>();
            let all = asked(|| "list routes".to_owned(), request).await?;
            found.extend(all.iter().filter_map(|message| prefix(message, link, metric)));
        }
        Ok(found)
    }
}

/// A route to a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub net: IpNet,
    pub link: Link,
    /// The next hop; none on a tunnel.
    pub via: Option<IpAddr>,
    pub metric: u32,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the route to {} by link {}", self.net, self.link.0)
    }
}

impl Route {
    fn message(&self) -> Result<RouteMessage, PlaneError> {
        let builder = RouteMessageBuilder::<IpAddr>::new().output_interface(self.link.0).priority(self.metric);
        let builder = builder.destination_prefix(self.net.network(), self.net.prefix_len());
        let mut builder = builder.doing(|| format!("make {self}"))?;
        if let Some(via) = self.via {
            builder = builder.gateway(via).doing(|| format!("make {self}"))?;
        }
        Ok(builder.build())
    }
}

fn prefix(message: &RouteMessage, link: Link, metric: u32) -> Option<IpNet> {
    let mut destination = None;
    let (mut by, mut priority) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = Some(IpAddr::V6(*address)),
            RouteAttribute::Oif(index) => by = Some(*index),
            RouteAttribute::Priority(value) => priority = Some(*value),
            _ => {}
        }
    }
    if by != Some(link.0) || priority != Some(metric) {
        return None;
    }
    let unspecified = match message.header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => IpAddr::from([0; 4]),
        _ => IpAddr::from([0; 16]),
    };
    // A default route has no destination.
    IpNet::new(destination.unwrap_or(unspecified), message.header.destination_prefix_length).ok()
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}
