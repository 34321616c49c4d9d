//! The wire behind the router as a TUN device: whatever runs in its network namespace is a host of the LAN.
//!
//! Needs root. The device is made (or, if it exists, attached to) and set up here; its addresses and routes are the business of
//! whoever runs programs there. One task carries packets both ways; the descriptor works from any namespace, so only the thread
//! that opens it goes into the LAN's, and ends there.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

use gotatun::tun::tun::{AsyncDevice, Configuration, Device, Error as TunError, create};
use nix::sched::{CloneFlags, setns};
use tokio::sync::{mpsc, oneshot};

use super::PlaneError;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

/// Longest name of an interface in bytes (`IFNAMSIZ` less its zero).
const MAX_NAME: usize = 15;

/// Packets that may wait for the TUN device; more are dropped, as by a router's transmit queue.
pub(super) const WIRE_QUEUE: usize = 1024;

/// Longest packet read from the device in bytes: any that IP can carry, for its MTU is not ours to choose.
const MAX_PACKET: usize = 65_535;

/// Which TUN device is the LAN: `NAME`, or `NAME@NETNS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanTun {
    name: String,
    namespace: Option<String>,
}

/// A text that names no TUN device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not NAME or NAME@NETNS, with a name of at most {MAX_NAME} characters without `/`")]
pub struct InvalidLanTun;

impl FromStr for LanTun {
    type Err = InvalidLanTun;

    fn from_str(text: &str) -> Result<Self, InvalidLanTun> {
        let (name, namespace) = match text.split_once('@') {
            Some((name, namespace)) => (name, Some(namespace)),
            None => (text, None),
        };
        let plain = |part: &str| {
            !part.is_empty() && !part.contains(|c: char| c == '/' || c.is_whitespace()) && part != "." && part != ".."
        };
        if !plain(name) || name.len() > MAX_NAME || !namespace.is_none_or(plain) {
            return Err(InvalidLanTun);
        }
        Ok(Self { name: name.to_owned(), namespace: namespace.map(str::to_owned) })
    }
}

impl fmt::Display for LanTun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}@{namespace}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Opens the device and sets it up.
pub(super) async fn open(tun: &LanTun) -> Result<AsyncDevice, PlaneError> {
    let (answer, opened) = oneshot::channel();
    let wanted = tun.clone();
    // A thread of its own, for it must not come back to a pool from another namespace.
    let started = thread::Builder::new().name("lan-tun".to_owned()).spawn(move || {
        if answer.send(enter_and_open(&wanted)).is_err() {
            tracing::debug!("nobody waits for the TUN device any more");
        }
    });
    let device = match started {
        Ok(_) => opened.await.unwrap_or_else(|_| Err(io::Error::other("the thread that opens it ended"))),
        Err(error) => Err(error),
    };
    device.and_then(AsyncDevice::new).map_err(|source| PlaneError::Tun { tun: tun.clone(), source })
}

fn enter_and_open(tun: &LanTun) -> io::Result<Device> {
    if let Some(namespace) = &tun.namespace {
        let file = File::open(PathBuf::from(NAMESPACES).join(namespace))?;
        setns(file, CloneFlags::CLONE_NEWNET)?;
    }
    let mut config = Configuration::default();
    config.tun_name(&tun.name).up();
    create(&config).map_err(|error| match error {
        TunError::Io(error) => error,
        other => io::Error::other(other),
    })
}

/// Carries packets between the device and the router, until the router or the device is gone.
pub(super) async fn carry(device: AsyncDevice, mut queue: mpsc::Receiver<Vec<u8>>, deliver: impl Fn(&[u8])) {
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        tokio::select! {
            packet = queue.recv() => match packet {
                Some(packet) => if let Err(error) = device.send(&packet).await {
                    // The device is down or full: what a wire without a host does with packets.
                    tracing::debug!(%error, "the TUN device of the LAN takes no packet");
                },
                None => return,
            },
            read = device.recv(&mut buffer) => match read {
                Ok(length) => deliver(&buffer[..length]),
                Err(error) => return tracing::warn!(%error, "the TUN device of the LAN is gone"),
            },
        }
    }
}

/// Whether a packet is for all hosts of the wire, which no router forwards or answers.
pub(super) fn is_for_all(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tun_is_a_name_perhaps_in_a_namespace() {
        for text in ["lan0", "lan0@site-a"] {
            assert_eq!(text.parse::<LanTun>().unwrap().to_string(), text);
        }
        for text in ["", "@a", "lan0@", "lan/0", "lan0@../x", "a name", "sixteen-letters0", "lan0@.."] {
            assert_eq!(text.parse::<LanTun>(), Err(InvalidLanTun), "{text:?}");
        }
    }
}
