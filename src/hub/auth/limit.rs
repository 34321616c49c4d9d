//! Rate limits by client address, in tables that cannot grow.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered: a flood from more of them makes old ones forgotten, never the table larger.
const MAX_ADDRESSES: usize = 4096;
/// Bits of an IPv6 address that count: whoever has a /64 has all addresses in it.
const V6_BITS: u32 = 64;

/// So many tries at once, and so many a minute.
#[derive(Debug)]
pub(crate) struct Limiter {
    burst: f64,
    each: Duration,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// Tries that are left, as of a moment.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Limiter {
    /// Allows `per_minute` tries, all of them at once if need be.
    pub(crate) fn per_minute(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        Self {
            burst: f64::from(per_minute),
            each: Duration::from_mins(1) / per_minute,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes a try; without one left, says in how many seconds there is.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        self.touch(address, now, 1.0)
    }

    /// Says whether a try is left, and takes none.
    pub(crate) fn ask(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        self.touch(address, now, 0.0)
    }

    fn touch(&self, address: IpAddr, now: Instant, cost: f64) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if cost == 0.0 && !buckets.contains_key(&address) {
            return Ok(());
        }
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&address) {
            self.forget(&mut buckets, now);
        }
        let bucket = match buckets.entry(address) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Bucket { left: self.burst, at: now }),
        };
        bucket.left = self.level(*bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            let wait = self.each.mul_f64(1.0 - bucket.left);
            return Err(wait.as_secs() + 1);
        }
        bucket.left -= cost;
        Ok(())
    }

    fn level(&self, bucket: Bucket, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() / self.each.as_secs_f64();
        (bucket.left + gained).min(self.burst)
    }

    /// Makes room: full buckets say nothing; if there is none, those that have most left go.
    fn forget(&self, buckets: &mut HashMap<IpAddr, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| self.level(*bucket, now) < self.burst);
        if buckets.len() >= MAX_ADDRESSES {
            let mut levels: Vec<f64> = buckets.values().map(|bucket| self.level(*bucket, now)).collect();
            levels.sort_by(f64::total_cmp);
            // A quarter at once, so that a flood does not sort the table for each of its packets.
            let limit = levels[MAX_ADDRESSES / 4 * 3];
            buckets.retain(|_, bucket| self.level(*bucket, now) < limit);
        }
    }
}

/// What counts as one client.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> V6_BITS << V6_BITS)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn tries_run_out_and_come_back_and_one_address_is_not_the_other() {
        let limiter = Limiter::per_minute(3);
        let start = Instant::now();
        for _ in 0..3 {
            limiter.take(address(1), start).unwrap();
        }
        assert_eq!(limiter.take(address(1), start), Err(21));
        limiter.take(address(2), start).unwrap();
        limiter.take(address(1), start + Duration::from_secs(21)).unwrap();
    }

    #[test]
    fn asking_costs_nothing() {
        let limiter = Limiter::per_minute(1);
        let start = Instant::now();
        limiter.ask(address(1), start).unwrap();
        limiter.take(address(1), start).unwrap();
        assert!(limiter.ask(address(1), start).is_err());
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_table_and_frees_no_offender() {
        let limiter = Limiter::per_minute(2);
        let start = Instant::now();
        let offender = address(u32::MAX);
        limiter.take(offender, start).unwrap();
        limiter.take(offender, start).unwrap();
        for number in 0..3 * u32::try_from(MAX_ADDRESSES).unwrap() {
            limiter.take(address(number), start).unwrap();
        }
        assert!(limiter.buckets.lock().unwrap().len() <= MAX_ADDRESSES);
        assert!(limiter.take(offender, start).is_err());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let limiter = Limiter::per_minute(1);
        let start = Instant::now();
        limiter.take("2001:db8::1".parse().unwrap(), start).unwrap();
        assert!(limiter.take("2001:db8::ffff".parse().unwrap(), start).is_err());
        assert!(limiter.take("2001:db8:0:1::1".parse().unwrap(), start).is_ok());
    }
}
