//! A part of a change as it came from the hub, read thing by thing: what is wrong is refused by name, the rest is served.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{GatewayInstance, GatewayPeer, InstanceId, MAX_DEVICES, PeerId, RemovedPeer};
use crate::domain::{MAX_ADDRESSES, MAX_SUBNETS, PresharedKey};

/// Most instances a gateway takes: each costs an interface and a namespace.
pub const MAX_INSTANCES: usize = 2000;
/// Most peers a gateway takes, of all instances together; 1 kB of memory each.
pub const MAX_PEERS: usize = 200_000;
/// How much of a thing's id is shown when it is no id.
const SHOWN: usize = 40;

/// A reply of the hub, its things not looked at yet.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Offer {
    /// What this brings the gateway to.
    pub revision: i64,
    /// Begin again at 0.
    #[serde(default)]
    pub restart: bool,
    /// There is more behind `revision`.
    #[serde(default)]
    pub more: bool,
    /// Instances.
    #[serde(default)]
    pub instances: Vec<Value>,
    /// Peers.
    #[serde(default)]
    pub peers: Vec<Value>,
    /// Ids of instances.
    #[serde(default)]
    pub removed_instances: Vec<Value>,
    /// [`RemovedPeer`]s.
    #[serde(default)]
    pub removed_peers: Vec<Value>,
}

/// Something the hub told that no gateway can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Such as `instance "k3f9q2x7"`.
    pub what: String,
    /// Why.
    pub why: String,
    /// The instance it is, if it is one and its id is one.
    pub instance: Option<(InstanceId, i64)>,
    /// The peer it is, if it is one and its id is one.
    pub peer: Option<(PeerId, i64)>,
}

/// Reads an instance.
pub(super) fn instance(value: &Value) -> Result<GatewayInstance, Box<Refused>> {
    let read = GatewayInstance::deserialize(value).map_err(|error| error.to_string());
    let checked = read.and_then(|instance| check_instance(&instance).map(|()| instance));
    checked.map_err(|why| {
        let id = id_of(value).and_then(|id| id.parse().ok());
        Box::new(Refused {
            what: format!("instance {}", shown(value)),
            why,
            instance: id.map(|id| (id, revision_of(value))),
            peer: None,
        })
    })
}

/// Reads a peer.
pub(super) fn peer(value: &Value) -> Result<GatewayPeer, Box<Refused>> {
    let read = GatewayPeer::deserialize(value).map_err(|error| error.to_string());
    let checked = read.and_then(|peer| check_peer(&peer).map(|()| peer));
    checked.map_err(|why| {
        let id = id_of(value).and_then(|id| id.parse().ok());
        Box::new(Refused {
            what: format!("peer {}", shown(value)),
            why,
            instance: None,
            peer: id.map(|id| (id, revision_of(value))),
        })
    })
}

/// Reads the id of an instance that is gone.
pub(super) fn removed_instance(value: &Value) -> Result<InstanceId, Box<Refused>> {
    InstanceId::deserialize(value).map_err(|error| Box::new(nameless("a removed instance", &error)))
}

/// Reads a peer that is gone.
pub(super) fn removed_peer(value: &Value) -> Result<(InstanceId, PeerId), Box<Refused>> {
    let read = RemovedPeer::deserialize(value).map_err(|error| Box::new(nameless("a removed peer", &error)));
    read.map(|removed| (removed.instance, removed.peer))
}

fn nameless(what: &str, error: &serde_json::Error) -> Refused {
    Refused { what: what.to_owned(), why: error.to_string(), instance: None, peer: None }
}

fn id_of(value: &Value) -> Option<&str> {
    value.get("id").and_then(Value::as_str)
}

fn revision_of(value: &Value) -> i64 {
    value.get("revision").and_then(Value::as_i64).unwrap_or(0)
}

/// The id as it may be shown: a hostile one has control characters, or is very long.
fn shown(value: &Value) -> String {
    match id_of(value) {
        Some(id) => format!("{:?}", id.chars().take(SHOWN).collect::<String>()),
        None => "without an id".to_owned(),
    }
}

fn check_instance(instance: &GatewayInstance) -> Result<(), String> {
    let count = instance.addresses.len();
    if !(1..=MAX_ADDRESSES).contains(&count) {
        return Err(format!("it has {count} tunnel addresses, 1 to {MAX_ADDRESSES} make sense"));
    }
    if let Some(address) = instance.addresses.iter().find(|net| !is_host(net.addr())) {
        return Err(format!("{address} is no address of a host"));
    }
    let routes = instance.pushed_routes.len();
    if routes > MAX_SUBNETS {
        return Err(format!("it has {routes} pushed routes, the most are {MAX_SUBNETS}"));
    }
    if instance.listen_port == 0 || instance.devices.iter().any(|device| device.listen_port == 0) {
        return Err("its listen port is 0".to_owned());
    }
    let devices = instance.devices.len() + 1;
    if devices > MAX_DEVICES {
        return Err(format!("it has {devices} devices, the most are {MAX_DEVICES}"));
    }
    let numbers: HashSet<u32> = instance.devices.iter().map(|device| device.device).chain([instance.device]).collect();
    if numbers.len() != devices {
        return Err("it has a device twice".to_owned());
    }
    Ok(())
}

fn check_peer(peer: &GatewayPeer) -> Result<(), String> {
    let (addresses, subnets) = (peer.addresses.len(), peer.subnets.len());
    if addresses > MAX_ADDRESSES {
        return Err(format!("it has {addresses} tunnel addresses, the most are {MAX_ADDRESSES}"));
    }
    if subnets > MAX_SUBNETS {
        return Err(format!("it has {subnets} subnets, the most are {MAX_SUBNETS}"));
    }
    if let Some(address) = peer.addresses.iter().find(|address| !is_host(**address)) {
        return Err(format!("{address} is no address of a host"));
    }
    let distinct: HashSet<&IpAddr> = peer.addresses.iter().collect();
    if distinct.len() != addresses {
        return Err("it has a tunnel address twice".to_owned());
    }
    if peer.moving.is_some_and(|to| to.device == peer.device || to.public_key == peer.public_key) {
        return Err("it changes to where it is".to_owned());
    }
    if let Some(net) = peer.subnets.iter().find(|net| is_nowhere(*net)) {
        return Err(format!("{net} is no network of a site"));
    }
    match &peer.preshared_key {
        Some(key) => key.expose().parse::<PresharedKey>().map(drop).map_err(|error| format!("preshared key: {error}")),
        None => Ok(()),
    }
}

/// Whether one machine may have the address.
fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
}

/// Loopback and multicast are never behind a peer; the default routes may be.
fn is_nowhere(net: IpNet) -> bool {
    let first = net.network();
    net.prefix_len() > 0 && (first.is_loopback() || first.is_multicast())
}
