//! What a hub says of a site, held against the rules that a file is held against: the hub may be hostile, or wrong.

use std::time::Duration;

use crate::api::{AgentDesired, HubEnd, NextTunnel, PeerId, SiteConfig};
use crate::domain::{Beside, Hub, Routing, Site, SiteConflict, SiteFault, Tunnel};

/// Why a hub's site config is not put on a router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitSite {
    /// It is about another peer than the one that was enrolled: its rows on the router are somebody else's.
    #[error("the hub's site config is for the peer {theirs}, and this one is {ours}")]
    OtherPeer {
        /// Who was enrolled.
        ours: PeerId,
        /// Whom it names.
        theirs: String,
    },
    /// A value that no site may have.
    #[error("the hub's site config cannot be used: {0}")]
    Fault(SiteFault),
    /// Tunnels follow each other by number.
    #[error("the hub's site config has tunnel {next} take over from {present}")]
    Order {
        /// The one that is there.
        present: u32,
        /// The one that is to follow.
        next: u32,
    },
    /// A safety rule.
    #[error("the hub's site config is not safe: {0}")]
    Conflict(SiteConflict),
}

/// Makes the site that `desired` describes for the peer that was enrolled; `None` if there is no config yet. Of two tunnels the
/// present one is in use.
///
/// # Errors
/// [`UnfitSite`]. Whatever passes would pass as a file too.
pub fn site(desired: AgentDesired, ours: &PeerId) -> Result<Option<Site>, UnfitSite> {
    let other = |theirs: &str| UnfitSite::OtherPeer { ours: ours.clone(), theirs: theirs.to_owned() };
    if desired.peer != *ours {
        return Err(other(desired.peer.as_str()));
    }
    let Some(config) = desired.config else { return Ok(None) };
    if config.id.as_str() != ours.as_str() {
        return Err(other(config.id.as_str()));
    }
    let site = unchecked(config);
    if let Some(next) = site.beside.as_ref().filter(|next| next.generation <= site.generation) {
        return Err(UnfitSite::Order { present: site.generation, next: next.generation });
    }
    site.check_values().map_err(UnfitSite::Fault)?;
    site.check().map_err(UnfitSite::Conflict)?;
    Ok(Some(site))
}

fn unchecked(config: SiteConfig) -> Site {
    let SiteConfig { id, instance, tunnel, hub, advertise, reach, generation, next } = config;
    let beside = |NextTunnel { generation, hub, listen_port }| Beside { generation, hub: end(hub), listen_port };
    Site {
        id,
        instance,
        tunnel: Tunnel {
            addresses: tunnel.addresses,
            mtu: tunnel.mtu,
            listen_port: tunnel.listen_port,
            probe: tunnel.probe,
        },
        hub: end(hub),
        advertise,
        reach,
        routing: Routing::default(),
        generation,
        beside: next.map(beside),
    }
}

fn end(hub: HubEnd) -> Hub {
    Hub {
        public_key: hub.public_key,
        endpoints: hub.endpoints,
        preshared_key: None,
        keepalive: (hub.keepalive_secs > 0).then(|| Duration::from_secs(hub.keepalive_secs.into())),
    }
}
