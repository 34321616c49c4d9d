//! Tunnels that take over from others: another key at one end or both, make before break.

use serde::{Deserialize, Serialize};

use crate::domain::PublicKey;

/// Longest time between two keys of a router, in days.
pub const MAX_ROTATE_DAYS: u32 = 3650;

/// A site peer's tunnel that is to take over from the one in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct PeerMove {
    /// Its generation.
    pub generation: u32,
    /// The gateway's device that it goes to.
    pub device: u32,
    /// How far it is.
    pub step: MoveStep,
    /// Since when it is at that step.
    pub step_at: i64,
    /// When it began.
    pub since: i64,
    /// Who wanted it.
    pub cause: MoveCause,
    /// The router's key for it, once the router has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
}

/// The steps of a change, in order. Until the last one it can be cancelled, and up to then nothing is lost by waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum MoveStep {
    /// The gateway has yet to make the device.
    Device,
    /// The router has yet to make its end.
    Router,
    /// Both ends are there: the router has yet to see a handshake and to use it.
    Proof,
    /// It is used both ways. The old one stays for a while, for what is under way.
    Grace,
}

/// Who wanted a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum MoveCause {
    /// An operator, for this peer.
    Person,
    /// The peer's own agent.
    Agent,
    /// The instance got another key.
    Instance,
    /// The key was older than the instance's `rotate_keys_days`.
    Policy,
}

/// A further device of an instance at its gateway: another key and port, the same peers' addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub struct InstanceDevice {
    /// Its number.
    pub device: u32,
    /// What it is for.
    pub state: DeviceState,
    /// Its UDP port.
    pub listen_port: u16,
    /// Its key, once the gateway has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "hub", schema(value_type = Option<String>))]
    pub public_key: Option<PublicKey>,
    /// Why the gateway could not make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Peers that are on it.
    pub peers: u64,
    /// Since when it is wanted.
    pub made_at: i64,
}

/// What a further device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "hub", derive(utoipa::ToSchema))]
pub enum DeviceState {
    /// It is to be the one that new peers get.
    Coming,
    /// Routers that get another key go to it.
    Beside,
    /// It was replaced; who is still on it is served. It goes with the last of them.
    Retired,
    /// Nobody is on it: the gateway is taking it down.
    Leaving,
}
