//! The device's way to its data plane: rows become its configuration, its facts come back into the rows.
//!
//! Without a plane, tunnels never come up and only the device's own addresses answer pings.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Shared;
use super::running::PingRefused;
use crate::sim::device::{Device, PingSpec, Refusal};
use crate::sim::options::SimOptions;

/// Pings whose row is not yet sent.
const PONGS_WAITING: usize = 8;
/// What the device's own address answers after: about what a recorded ping of 127.0.0.1 took.
const OWN_ADDRESS_TIME: Duration = Duration::from_micros(114);

/// One reply or timeout.
#[derive(Clone, Debug)]
pub(super) struct Pong {
    pub(super) host: String,
    pub(super) reply: Option<Echo>,
    /// Why there is no reply.
    pub(super) status: &'static str,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    pub(super) size: u16,
    pub(super) ttl: u8,
    pub(super) time: Duration,
}

/// The data plane, if there is one.
pub(super) struct Uplink {}

impl Uplink {
    pub(super) async fn start(_options: &SimOptions) -> Self {
        Self {}
    }

    /// Hands the newest rows to the plane.
    pub(super) async fn apply(&self, _shared: &Shared) {}

    /// Fetches the newest facts for a print.
    pub(super) async fn refresh(&self, _shared: &Shared) {}

    /// Tunnels begin anew.
    pub(super) async fn restart(&self, shared: &Shared) {
        self.apply(shared).await;
    }

    /// Begins a ping.
    pub(super) async fn ping(&self, shared: &Shared, spec: &PingSpec) -> Result<mpsc::Receiver<Pong>, PingRefused> {
        let (target, own) = {
            let device = shared.device();
            let target = resolve(&device, &spec.address).ok_or(Refusal::ResolveFailed)?;
            (target, is_own(&device, target))
        };
        let (sender, pongs) = mpsc::channel(PONGS_WAITING);
        let spec = spec.clone();
        tokio::spawn(async move {
            let mut sent = 0;
            while spec.count.is_none_or(|count| sent < count) {
                sent += 1;
                let echo = Echo { size: spec.size, ttl: spec.ttl, time: OWN_ADDRESS_TIME };
                let pong = Pong { host: target.to_string(), reply: own.then_some(echo), status: "timeout" };
                if !own {
                    tokio::time::sleep(spec.interval).await;
                }
                if sender.send(pong).await.is_err() {
                    return;
                }
                if own && spec.count.is_none_or(|count| sent < count) {
                    tokio::time::sleep(spec.interval).await;
                }
            }
        });
        Ok(pongs)
    }
}

fn resolve(device: &Device, name: &str) -> Option<IpAddr> {
    let known = device.options.names.iter().find(|(known, _)| known == name).map(|(_, address)| *address);
    name.parse().ok().or(known)
}

fn is_own(device: &Device, address: IpAddr) -> bool {
    let has = |table: &str| {
        device.table(table).iter().filter(|item| item.is_enabled()).any(|item| {
            let own = item.fields.text("address").and_then(|a| a.split('/').next());
            own.and_then(|a| a.parse::<IpAddr>().ok()) == Some(address)
        })
    };
    address.is_loopback() || has("/ip/address") || has("/ipv6/address")
}
