//! Requests a second: a bucket for each caller, and for each address where the caller is not known.
//! There is room for so many; who finds none left shares one bucket with all others that come late,
//! so that inventing names or addresses gains nothing.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Callers, and addresses, that have a bucket of their own: some 200 bytes each.
const MOST_KEYS: usize = 100_000;
/// How often room is looked for, at most.
const LEAST_PAUSE_MILLIS: u64 = 1000;

/// What one caller may still do.
#[derive(Debug)]
pub(crate) struct Bucket {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    /// Milliseconds after the start of [`Buckets`].
    used: AtomicU64,
    start: Instant,
    burst: NonZeroU32,
}

impl Bucket {
    fn new(quota: Quota, start: Instant) -> Self {
        let bucket = Self {
            limiter: RateLimiter::direct(quota),
            clock: DefaultClock::default(),
            used: AtomicU64::new(0),
            start,
            burst: quota.burst_size(),
        };
        bucket.touch();
        bucket
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// Takes `requests`, or says when they could be had.
    pub(crate) fn take(&self, requests: NonZeroU32) -> Result<(), Duration> {
        self.touch();
        // More than there ever is at once counts as all of it, or it could never be had.
        let requests = requests.min(self.burst);
        match self.limiter.check_n(requests) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}

/// The buckets of a service.
#[derive(Debug)]
pub(crate) struct Buckets {
    quota: Quota,
    start: Instant,
    /// How long an emptied bucket takes to be full: then it is like a new one.
    refill: Duration,
    callers: Keyed<Box<str>>,
    addresses: Keyed<IpAddr>,
}

impl Buckets {
    pub(crate) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_room(per_second, burst, MOST_KEYS)
    }

    fn with_room(per_second: NonZeroU32, burst: NonZeroU32, room: usize) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let start = Instant::now();
        Self {
            quota,
            start,
            refill: quota.burst_size_replenished_in(),
            callers: Keyed::new(quota, start, room),
            addresses: Keyed::new(quota, start, room),
        }
    }

    pub(crate) fn of_caller(&self, name: &str) -> Arc<Bucket> {
        self.callers.get(name.into(), self)
    }

    pub(crate) fn of_address(&self, address: IpAddr) -> Arc<Bucket> {
        self.addresses.get(network(address), self)
    }

    /// Forgets who has not called for long enough.
    pub(crate) fn forget_idle(&self) {
        self.callers.forget_idle(self);
        self.addresses.forget_idle(self);
    }

    fn is_idle(&self, bucket: &Arc<Bucket>) -> bool {
        let used = Duration::from_millis(bucket.used.load(Ordering::Relaxed));
        // Held by a connection or a token, it would be used again beside a new one.
        Arc::strong_count(bucket) == 1 && self.start.elapsed() > used + self.refill
    }
}

/// Who has one IPv6 address has its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[derive(Debug)]
struct Keyed<K: Eq + Hash> {
    buckets: DashMap<K, Arc<Bucket>>,
    late: Arc<Bucket>,
    room: usize,
    looked: AtomicU64,
}

impl<K: Eq + Hash> Keyed<K> {
    fn new(quota: Quota, start: Instant, room: usize) -> Self {
        let late = Arc::new(Bucket::new(quota, start));
        Self { buckets: DashMap::new(), late, room, looked: AtomicU64::new(0) }
    }

    fn get(&self, key: K, all: &Buckets) -> Arc<Bucket> {
        if let Some(bucket) = self.buckets.get(&key) {
            return Arc::clone(&bucket);
        }
        if self.buckets.len() >= self.room && !self.made_room(all) {
            return Arc::clone(&self.late);
        }
        let new = || Arc::new(Bucket::new(all.quota, all.start));
        Arc::clone(&self.buckets.entry(key).or_insert_with(new))
    }

    fn made_room(&self, all: &Buckets) -> bool {
        let now = u64::try_from(all.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.looked.load(Ordering::Relaxed);
        let mine = now >= last + LEAST_PAUSE_MILLIS
            && self
                .looked
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            self.forget_idle(all);
        }
        self.buckets.len() < self.room
    }

    fn forget_idle(&self, all: &Buckets) {
        self.buckets.retain(|_, bucket| !all.is_idle(bucket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn each_has_a_bucket_and_is_told_when_there_is_more() {
        let buckets = Buckets::new(number(1), number(3));
        let a = buckets.of_caller("a");
        for _ in 0..3 {
            assert_eq!(a.take(ONE), Ok(()));
        }
        let wait = buckets.of_caller("a").take(ONE).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(buckets.of_caller("b").take(number(1000)), Ok(()));
        assert!(buckets.of_caller("b").take(ONE).is_err());
        let (one, other) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        assert_eq!(buckets.of_address(one).take(number(3)), Ok(()));
        assert!(buckets.of_address(other).take(ONE).is_err());
    }

    #[test]
    fn there_is_room_for_so_many_and_the_others_share() {
        let buckets = Buckets::with_room(number(1000), number(1), 10);
        let held: Vec<_> = (0..10).map(|n| buckets.of_caller(&format!("held-{n}"))).collect();
        let late = buckets.of_caller("late-1");
        assert!(Arc::ptr_eq(&late, &buckets.of_caller("late-2")));
        assert!(Arc::ptr_eq(&held[0], &buckets.of_caller("held-0")));
        assert_eq!(buckets.callers.buckets.len(), 10);
        drop(held);
        std::thread::sleep(buckets.refill + Duration::from_millis(20));
        buckets.forget_idle();
        assert_eq!(buckets.callers.buckets.len(), 0);
        assert!(!Arc::ptr_eq(&late, &buckets.of_caller("late-1")));
    }
}
