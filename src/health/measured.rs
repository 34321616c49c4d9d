//! What is known of a router and its tunnel: the newest measurement of each thing, with the moment it was made.
//!
//! What was not measured, or too long ago, is `None` here and unknown everywhere above; nothing takes it for healthy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::near::Near;
use crate::api::{HealthSample, RoundTrip};
use crate::reconcile::entry::Entry;
use crate::routeros::menu::{parse_duration, parse_prefix};

/// What is older is not known any more: the slowest of what is asked in turn comes every four minutes.
pub const MAX_AGE: Duration = Duration::from_mins(10);

/// A moment by two clocks: one that only goes on, for durations, and the one that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since any fixed moment of this process, the same for all moments of a monitor.
    pub mono: Duration,
    /// Seconds since 1970.
    pub unix: i64,
}

impl Moment {
    /// Returns the present moment; `start` is the same for all moments of a monitor.
    #[must_use]
    pub fn since(start: Instant) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { mono: start.elapsed(), unix: i64::try_from(unix.as_secs()).unwrap_or(i64::MAX) }
    }

    /// Returns how long ago an earlier moment was.
    #[must_use]
    pub fn after(self, earlier: Self) -> Duration {
        self.mono.saturating_sub(earlier.mono)
    }

    /// Returns a later moment.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self { mono: self.mono + by, unix: self.unix.saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)) }
    }
}

/// A measurement and its moment.
#[derive(Clone, Debug)]
pub struct Dated<T> {
    /// When.
    pub at: Moment,
    /// What.
    pub value: T,
}

/// What came of a few pings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Echo {
    /// How many were sent.
    pub sent: u32,
    /// Round-trip times of those that came back.
    pub rtts: Vec<Duration>,
    /// The address that was asked, as the router resolved it.
    pub host: Option<IpAddr>,
    /// What the router said of one that did not come back, such as `timeout`.
    pub status: Option<String>,
    /// What the router said if it would not ping.
    pub refused: Option<String>,
}

impl Echo {
    /// Tells whether anything came back.
    #[must_use]
    pub fn answered(&self) -> bool {
        !self.rtts.is_empty()
    }

    /// Tells whether pings were sent and none came back.
    #[must_use]
    pub fn silent(&self) -> bool {
        self.refused.is_none() && self.sent > 0 && self.rtts.is_empty()
    }

    fn round_trip(&self) -> Option<RoundTrip> {
        let count = u32::try_from(self.rtts.len()).ok().filter(|count| *count > 0)?;
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        Some(RoundTrip {
            min: micros(*self.rtts.iter().min()?),
            avg: micros(self.rtts.iter().sum::<Duration>() / count),
            max: micros(*self.rtts.iter().max()?),
        })
    }
}

/// A row of which a router has one, or none.
pub type Row = Option<Entry>;

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Our peer's row.
    pub peer: Option<Dated<Row>>,
    /// Our interface's row.
    pub interface: Option<Dated<Row>>,
    /// Our routes and the default ones.
    pub routes: Option<Dated<Vec<Entry>>>,
    /// The same of IPv6.
    pub routes6: Option<Dated<Vec<Entry>>>,
    /// The router's addresses.
    pub addresses: Option<Dated<Vec<Entry>>>,
    /// `/system/resource`.
    pub resource: Option<Dated<Entry>>,
    /// The router's clock less ours, in seconds.
    pub clock_offset: Option<Dated<i64>>,
    /// Degrees Celsius.
    pub temperature: Option<Dated<i16>>,
    /// Small pings to the hub through the tunnel.
    pub small: Option<Dated<Echo>>,
    /// Pings as long as the tunnel's MTU.
    pub full: Option<Dated<Echo>>,
    /// Pings to other addresses through the tunnel.
    pub reach: BTreeMap<IpAddr, Dated<Echo>>,
    /// Lengths of packets that were tried, with whether one of each came back; none once the full length passes.
    pub sizes: Option<Dated<Vec<(u16, bool)>>>,
    /// A closer look.
    pub near: Option<Dated<Near>>,
}

/// A measurement that is not too old.
#[must_use]
pub fn fresh<T>(dated: Option<&Dated<T>>, now: Moment) -> Option<&T> {
    dated.filter(|dated| now.after(dated.at) <= MAX_AGE).map(|dated| &dated.value)
}

/// Age of the last handshake by a peer's row.
#[must_use]
pub fn handshake_age(peer: &Entry) -> Option<Duration> {
    parse_duration(peer.get("last-handshake")?)
}

impl Measured {
    /// Returns our peer's row, if there is one and it was read lately.
    #[must_use]
    pub fn peer(&self, now: Moment) -> Option<&Entry> {
        fresh(self.peer.as_ref(), now)?.as_ref()
    }

    /// Returns the active default route of IPv4.
    #[must_use]
    pub fn default_route(&self, now: Moment) -> Option<&Entry> {
        let routes = fresh(self.routes.as_ref(), now)?;
        routes.iter().filter(|row| row.get("dst-address") == Some(b"0.0.0.0/0")).find(|row| row.is_active_route())
    }

    /// Returns the next hop towards the Internet, where it is an address.
    #[must_use]
    pub fn default_gateway(&self, now: Moment) -> Option<IpAddr> {
        let route = self.default_route(now)?;
        let gateway = route.text("gateway")?;
        gateway.split(['%', '@']).next()?.parse().ok()
    }

    /// Returns the router's address on the network of its default gateway.
    #[must_use]
    pub fn wan(&self, now: Moment) -> Option<IpAddr> {
        let gateway = self.default_gateway(now)?;
        let addresses = fresh(self.addresses.as_ref(), now)?;
        let nets = addresses.iter().filter_map(|row| parse_prefix(row.get("address")?));
        nets.filter(|net| net.contains(&gateway)).map(|net| net.addr()).next()
    }

    /// Returns what goes to the hub. `mtu` is the longest packet that is known to pass.
    #[must_use]
    pub fn sample(&self, now: Moment, mtu: Option<u16>) -> HealthSample {
        let peer = self.peer(now);
        let counter = |name| peer.and_then(|row| row.parse::<u64>(name));
        let resource = fresh(self.resource.as_ref(), now);
        let small = fresh(self.small.as_ref(), now).filter(|echo| echo.refused.is_none());
        HealthSample {
            handshake_age_secs: peer.and_then(handshake_age).map(|age| age.as_secs()),
            rx_bytes: counter("rx"),
            tx_bytes: counter("tx"),
            loss_percent: small.and_then(loss_percent),
            rtt_us: small.and_then(Echo::round_trip),
            endpoint: peer.and_then(current_endpoint),
            mtu,
            clock_offset_secs: fresh(self.clock_offset.as_ref(), now).copied(),
            cpu_percent: resource.and_then(|row| row.parse("cpu-load")),
            memory_free: resource.and_then(|row| row.parse("free-memory")),
            temperature: fresh(self.temperature.as_ref(), now).copied(),
            uptime_secs: resource.and_then(|row| parse_duration(row.get("uptime")?)).map(|uptime| uptime.as_secs()),
            version: resource.and_then(|row| row.text("version")).map(std::borrow::Cow::into_owned),
            wan: self.wan(now),
        }
    }
}

/// Pings that did not come back, in percent.
fn loss_percent(echo: &Echo) -> Option<u8> {
    let came = u32::try_from(echo.rtts.len()).unwrap_or(echo.sent).min(echo.sent);
    u8::try_from(((echo.sent - came) * 100).checked_div(echo.sent)?).ok()
}

/// Where the router sends the tunnel's packets; `None` before it knows.
fn current_endpoint(peer: &Entry) -> Option<String> {
    let address: IpAddr = peer.parse("current-endpoint-address")?;
    let port: u16 = peer.parse("current-endpoint-port")?;
    Some(std::net::SocketAddr::new(address, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::entry::tests::entry;

    const NOW: Moment = Moment { mono: Duration::from_secs(1000), unix: 1_800_000_000 };

    #[test]
    fn what_was_never_measured_or_long_ago_is_unknown() {
        let mut measured = Measured::default();
        assert_eq!(measured.sample(NOW, None), HealthSample::default());
        let row =
            entry(&["rx=5", "tx=7", "last-handshake=1m3s", "current-endpoint-address=", "current-endpoint-port=0"]);
        measured.peer = Some(Dated { at: NOW, value: Some(row) });
        let sample = measured.sample(NOW, Some(1420));
        assert_eq!((sample.handshake_age_secs, sample.rx_bytes, sample.endpoint), (Some(63), Some(5), None));
        let later = NOW.plus(MAX_AGE + Duration::from_secs(1));
        assert_eq!(measured.sample(later, None), HealthSample::default());
    }

    #[test]
    fn the_wan_address_is_the_one_beside_the_default_gateway() {
        let route = entry(&["dst-address=0.0.0.0/0", "gateway=203.0.113.1%ether1", "active=true"]);
        let addresses = vec![entry(&["address=192.168.88.1/24"]), entry(&["address=203.0.113.10/24"])];
        let measured = Measured {
            routes: Some(Dated { at: NOW, value: vec![route] }),
            addresses: Some(Dated { at: NOW, value: addresses }),
            ..Measured::default()
        };
        assert_eq!(measured.wan(NOW), Some("203.0.113.10".parse().unwrap()));
    }
}
