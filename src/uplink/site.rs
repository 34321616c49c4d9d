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
        fence: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn end(key: &str, port: u16) -> Value {
        json!({"public_key": key, "endpoints": [format!("198.51.100.9:{port}")], "keepalive_secs": 25})
    }

    fn desired(generation: u32, next: &Value) -> AgentDesired {
        let mut config = json!({
            "id": "k3f9q2x7",
            "instance": "acme",
            "tunnel": {"addresses": ["10.99.0.2/24"], "probe": ["10.99.0.1"]},
            "hub": end("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", 51_820),
            "advertise": [],
            "reach": ["10.99.0.0/24"],
            "generation": generation,
        });
        if !next.is_null() {
            config["next"] = next.clone();
        }
        serde_json::from_value(json!({"revision": 7, "peer": "k3f9q2x7", "enabled": true, "config": config})).unwrap()
    }

    fn made(generation: u32, next: &Value) -> Result<Option<Site>, UnfitSite> {
        site(desired(generation, next), &"k3f9q2x7".parse().unwrap())
    }

    const NEXT_KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

    #[test]
    fn the_next_tunnel_is_beside_the_one_in_use() {
        let next = json!({"generation": 4, "hub": end(NEXT_KEY, 51_821), "listen_port": 13_232});
        let site = made(3, &next).unwrap().unwrap();
        let beside = site.beside.unwrap();
        assert_eq!((site.generation, beside.generation, beside.listen_port), (3, 4, Some(13_232)));
        assert_eq!(beside.hub.public_key.to_string(), NEXT_KEY);
        assert_eq!(made(3, &Value::Null).unwrap().unwrap().beside, None);
    }

    #[test]
    fn a_next_tunnel_that_is_none_is_refused_with_its_reason() {
        let next = |generation: u32, end: Value| json!({"generation": generation, "hub": end});
        let order = UnfitSite::Order { present: 3, next: 3 };
        assert_eq!(made(3, &next(3, end(NEXT_KEY, 51_821))), Err(order));
        let same = made(3, &next(4, end("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", 51_821)));
        assert!(same.unwrap_err().to_string().contains("the same public key of the hub"));
        let inside = json!({"public_key": NEXT_KEY, "endpoints": ["10.99.0.1:1"], "keepalive_secs": 25});
        assert!(matches!(made(3, &next(4, inside)), Err(UnfitSite::Conflict(SiteConflict::EndpointInTunnel { .. }))));
        let nowhere = json!({"public_key": NEXT_KEY, "endpoints": [], "keepalive_secs": 25});
        assert_eq!(made(3, &next(4, nowhere)), Err(UnfitSite::Fault(SiteFault::Empty { list: "endpoints" })));
    }
}
