//! Profiles of client peers: what `wg-quick` and the WireGuard apps read, as text or as a QR code.

use crate::api::{Instance, PRIVATE_KEY_PLACEHOLDER, Peer, PeerKind};
use crate::render::wireguard::{ClientConf, client_conf};

use super::problem::Refusal;
use super::store::StoreError;

mod picture;

pub(super) use picture::{Picture, picture};

/// Where everything goes in a full tunnel.
const EVERYWHERE: &str = "0.0.0.0/0, ::/0";
/// Longest name of a network interface on Linux, which `wg-quick` takes from the file's.
const MAX_INTERFACE: usize = 15;

/// Writes the profile of a client peer.
///
/// `wg-quick` chooses the MTU itself, and better than the hub could: it knows the way to the endpoint. So there is none here.
pub(super) fn conf(peer: &Peer, instance: &Instance) -> Result<String, Refusal> {
    let not_yet = |detail: String| Refusal::from(StoreError::State { detail });
    if peer.kind != PeerKind::Client {
        return Err(not_yet(format!("peer {} is not a client peer: only those have profiles", peer.id)));
    }
    let Some((public_key, endpoint)) = instance.end_of(peer.device) else {
        return Err(not_yet(format!("instance {} is not served by a gateway yet", instance.name))
            .hint("GET /v1/instances/{id} shows under `readiness` what it waits for"));
    };
    // Before the merged reach is published for the first time, there is what it will hold at least.
    let reach = if instance.reach.is_empty() {
        let tunnels = [Some(instance.tunnel_subnet), instance.tunnel_subnet6].into_iter().flatten();
        join(tunnels.chain(instance.pushed_routes.iter()))
    } else {
        join(instance.reach.iter())
    };
    let dns = peer.dns.as_deref().unwrap_or(&instance.dns);
    // Search domains without a server of ours would be asked of somebody else's.
    let search: &[String] = if dns.is_empty() { &[] } else { &instance.search };
    let conf = ClientConf {
        title: &format!("{} ({}), {}", peer.name, peer.id, instance.name),
        private_key: PRIVATE_KEY_PLACEHOLDER,
        addresses: &join(&peer.addresses),
        dns: &join(dns.iter().map(ToString::to_string).chain(search.iter().cloned())),
        mtu: None,
        public_key: &public_key.to_string(),
        endpoint: &endpoint.to_string(),
        allowed_ips: if peer.route_all { EVERYWHERE } else { &reach },
        keepalive_secs: peer.keepalive_secs,
    };
    client_conf(&conf).map_err(|error| {
        tracing::error!(%error, "a profile cannot be written");
        Refusal::internal()
    })
}

/// A name for the profile's interface, and so for its file.
pub(super) fn interface(instance: &Instance) -> String {
    let name = instance.name.as_str();
    let short = &name[..name.len().min(MAX_INTERFACE)];
    short.trim_end_matches('-').to_owned()
}

fn join(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
