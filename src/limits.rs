//! Limits that are counted: token buckets, and how many clients there are.

use crate::config::{LimitsConfig, Rate};
use crate::metrics::HandshakeRefusal;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A token bucket. Eight bytes, since every client has two.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f32,
    /// When it was last filled, in its owner's milliseconds. They wrap after 49 days, and a bucket that was not used
    /// for longer may then be less than full for a moment.
    filled_at_ms: u32,
}

impl Bucket {
    /// A full bucket. `now_ms` counts from any moment, the same for all calls.
    pub fn new(rate: Rate, now_ms: u64) -> Bucket {
        Bucket { tokens: rate.burst as f32, filled_at_ms: now_ms as u32 }
    }

    /// Takes `count` tokens whether there are as many or not.
    pub fn spend(&mut self, count: u32, rate: Rate, now_ms: u64) {
        self.fill(rate, now_ms);
        self.tokens -= count as f32;
    }

    /// Milliseconds until there are `count` tokens, which is at most the burst; 0 when there are as many.
    pub fn wait_ms(&mut self, count: u32, rate: Rate, now_ms: u64) -> u64 {
        self.fill(rate, now_ms);
        let lacking = f64::from(count) - f64::from(self.tokens);
        if lacking <= 0.0 { 0 } else { (lacking / rate.per_second * 1000.0).ceil().max(1.0) as u64 }
    }

    fn fill(&mut self, rate: Rate, now_ms: u64) {
        let elapsed_ms = (now_ms as u32).wrapping_sub(self.filled_at_ms);
        let filled = f64::from(self.tokens) + f64::from(elapsed_ms) / 1000.0 * rate.per_second;
        self.tokens = filled.min(f64::from(rate.burst)) as f32;
        self.filled_at_ms = now_ms as u32;
    }

    /// Takes up to `count` tokens: as many as there are. Returns how many.
    pub fn take_some(&mut self, count: u32, rate: Rate, now_ms: u64) -> u32 {
        self.fill(rate, now_ms);
        let taken = count.min(self.tokens.max(0.0) as u32);
        self.tokens -= taken as f32;
        taken
    }

    /// Takes `count` tokens if there are as many. `rate` may change from call to call.
    pub fn take(&mut self, count: u32, rate: Rate, now_ms: u64) -> bool {
        self.fill(rate, now_ms);
        let enough = self.tokens >= count as f32;
        if enough {
            self.tokens -= count as f32;
        }
        enough
    }
}

/// Counts clients, in all and by address. Shared by every listener.
///
/// An IPv6 address counts as its /64, since that is what one customer gets at least. Addresses are counted only while
/// `limits.clients_per_ip` is set, so that nothing is kept for who does not need it: after a reload sets it, clients
/// that were connected before do not count.
pub struct ClientCounter {
    connected: AtomicUsize,
    /// Descriptors that clients take: each client one, and those of [`Beside`].
    taken: AtomicUsize,
    /// Descriptors that they may take.
    room: AtomicUsize,
    /// `limits.clients` in force: descriptors may allow fewer than are configured.
    limit: AtomicUsize,
    /// Written by whoever admits or drops a client; no entry is 0.
    by_network: Mutex<HashMap<Network, usize>>,
}

/// A client's place in the count; given back when dropped. At most 16 bytes, since every idle client holds one.
#[derive(Debug)]
pub struct ClientPermit {
    counter: Arc<ClientCounter>,
    network: Network,
}

/// Descriptors that a client takes beside its first one; given back when dropped.
#[derive(Debug)]
pub struct Beside {
    counter: Arc<ClientCounter>,
    count: usize,
}

/// What is counted as one address, in eight bytes: an IPv6 /64, or an IPv4 address below a prefix that no client can
/// have (multicast).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(u64);

impl Network {
    const IPV4: u64 = 0xff00_0000_0000_0000;
    const UNCOUNTED: Network = Network(u64::MAX);

    fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(v4) => Network(Network::IPV4 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => Network((v6.to_bits() >> 64) as u64),
        }
    }
}

impl ClientCounter {
    /// Nobody is connected yet.
    pub fn new() -> Arc<ClientCounter> {
        Arc::new(ClientCounter {
            connected: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            room: AtomicUsize::new(usize::MAX),
            limit: AtomicUsize::new(usize::MAX),
            by_network: Mutex::default(),
        })
    }

    /// Notes `limits.clients` in force, and sets how many descriptors clients that come from now on may take.
    pub fn set_limits(&self, clients: usize, descriptors: usize) {
        self.limit.store(clients, Ordering::Relaxed);
        self.room.store(descriptors, Ordering::Relaxed);
    }

    /// `limits.clients` in force.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes descriptors beside a client's first one, if there are as many.
    pub fn take_beside(self: &Arc<Self>, count: usize) -> Option<Beside> {
        self.take(count).then(|| Beside { counter: self.clone(), count })
    }

    fn take(&self, count: usize) -> bool {
        let (order, room) = (Ordering::Relaxed, self.room.load(Ordering::Relaxed));
        let more = |taken: usize| taken.checked_add(count).filter(|taken| *taken <= room);
        self.taken.fetch_update(order, order, more).is_ok()
    }

    /// Takes a place, or says which limit is reached. Limits may change from call to call. A client without an address
    /// (one of a Unix socket) counts in all only.
    pub fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        limits: &LimitsConfig,
    ) -> Result<ClientPermit, HandshakeRefusal> {
        let more = |connected| (connected < limits.clients).then_some(connected + 1);
        let order = Ordering::Relaxed;
        self.connected.fetch_update(order, order, more).map_err(|_| HandshakeRefusal::Clients)?;
        if !self.take(1) {
            self.connected.fetch_sub(1, order);
            return Err(HandshakeRefusal::Clients);
        }
        let mut permit = ClientPermit { counter: self.clone(), network: Network::UNCOUNTED };
        if let (Some(address), Some(most)) = (address, limits.clients_per_ip) {
            let network = Network::of(address);
            let mut by_network = self.by_network();
            let count = by_network.get(&network).copied().unwrap_or(0);
            if count >= most {
                drop(by_network);
                return Err(HandshakeRefusal::ClientsPerIp);
            }
            by_network.insert(network, count + 1);
            permit.network = network;
        }
        Ok(permit)
    }

    /// Clients connected.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    fn by_network(&self) -> MutexGuard<'_, HashMap<Network, usize>> {
        self.by_network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for ClientCounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCounter({})", self.connected())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.counter.taken.fetch_sub(self.count, Ordering::Relaxed);
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.counter.connected.fetch_sub(1, Ordering::Relaxed);
        self.counter.taken.fetch_sub(1, Ordering::Relaxed);
        if self.network != Network::UNCOUNTED {
            let mut by_network = self.counter.by_network();
            let left = by_network.get(&self.network).map_or(0, |count| count - 1);
            if left == 0 {
                by_network.remove(&self.network);
            } else {
                by_network.insert(self.network, left);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 2.0, burst: 3 };
        let mut bucket = Bucket::new(rate, 1000);
        let given = (0..10).filter(|_| bucket.take(1, rate, 1000)).count();
        assert_eq!(given, 3);
        assert!(!bucket.take(1, rate, 1400));
        assert!(bucket.take(1, rate, 1900));
        assert!(!bucket.take(4, rate, 100_000), "never more than the burst");
        let mut slow = Bucket::new(Rate { per_second: 0.1, burst: 1 }, 0);
        assert!(slow.take(1, rate, 0));
        let taken = (1..=20_000).filter(|ms| slow.take(1, Rate { per_second: 0.1, burst: 1 }, *ms)).count();
        assert_eq!(taken, 2, "small steps add up");
    }

    #[test]
    fn a_bucket_gives_what_it_has_and_says_when_the_rest_comes() {
        let rate = Rate { per_second: 10.0, burst: 3 };
        let mut bucket = Bucket::new(rate, 0);
        assert_eq!(bucket.take_some(5, rate, 0), 3);
        assert_eq!([1, 2, 3].map(|count| bucket.wait_ms(count, rate, 0)), [100, 200, 300]);
        assert_eq!((bucket.take_some(5, rate, 99), bucket.take_some(5, rate, 200)), (0, 2));
        assert_eq!(bucket.wait_ms(1, rate, 1000), 0);
        bucket.spend(5, rate, 1000);
        assert_eq!(bucket.take_some(1, rate, 1000), 0, "it owes");
    }

    fn limits(clients: usize, clients_per_ip: Option<usize>) -> LimitsConfig {
        let rate = Rate { per_second: 1.0, burst: 1 };
        let client = crate::config::ClientLimits {
            rooms: 1,
            message_size: 1,
            messages: rate,
            subscriptions: rate,
            deliveries: None,
            over_deliveries: crate::config::OverDeliveries::Pace,
            unsent: 1,
            user_timeout: Duration::from_secs(1),
        };
        LimitsConfig { clients, rooms: 1, history_memory: 1, views: 1, keys: 1, clients_per_ip, client }
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn clients_are_counted_until_they_go() {
        let counter = ClientCounter::new();
        let limits = limits(2, None);
        let first = counter.admit(None, &limits).unwrap();
        let second = counter.admit(address("10.0.0.1"), &limits).unwrap();
        assert_eq!(counter.admit(None, &limits).unwrap_err(), HandshakeRefusal::Clients);
        assert_eq!(counter.connected(), 2);
        drop(first);
        let third = counter.admit(None, &limits).unwrap();
        drop((second, third));
        assert_eq!(counter.connected(), 0);
        assert!(counter.by_network().is_empty(), "without clients_per_ip no address is kept");
    }

    #[test]
    fn clients_take_no_more_descriptors_than_they_have() {
        let counter = ClientCounter::new();
        let limits = limits(100, None);
        counter.set_limits(100, 5);
        let polling = (counter.admit(None, &limits).unwrap(), counter.take_beside(3).unwrap());
        let plain = counter.admit(None, &limits).unwrap();
        assert_eq!(counter.admit(None, &limits).unwrap_err(), HandshakeRefusal::Clients);
        assert!(counter.take_beside(1).is_none());
        assert_eq!(counter.connected(), 2, "a refused client does not count");
        // An upgraded client has only its socket.
        drop(polling.1);
        let more: Vec<_> = (0..3).map(|_| counter.admit(None, &limits).unwrap()).collect();
        assert!(counter.admit(None, &limits).is_err());
        drop((polling.0, plain, more));
        assert_eq!((counter.connected(), counter.taken.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn clients_of_one_address_are_counted_together() {
        let counter = ClientCounter::new();
        let limits = limits(100, Some(2));
        let mut admitted = Vec::new();
        let mut admit = |text: &str| {
            counter.admit(address(text), &limits).map(|permit| admitted.push(permit)).map_err(|refusal| {
                assert_eq!(refusal, HandshakeRefusal::ClientsPerIp);
            })
        };
        assert!(admit("10.0.0.1").is_ok());
        assert!(admit("::ffff:10.0.0.1").is_ok());
        assert!(admit("10.0.0.1").is_err(), "an address in IPv6 form is the same address");
        assert!(admit("10.0.0.2").is_ok());
        assert!(admit("2001:db8:0:1::1").is_ok());
        assert!(admit("2001:db8:0:1:ffff::2").is_ok());
        assert!(admit("2001:db8:0:1::3").is_err(), "a /64 counts as one");
        assert!(admit("2001:db8:0:2::3").is_ok());
        assert!(admit("::1").is_ok());
        assert_eq!(counter.connected(), 7, "who is refused does not count");
        drop(admitted);
        assert_eq!(counter.connected(), 0);
        assert!(counter.by_network().is_empty());
    }

    #[test]
    fn a_permit_is_small() {
        assert!(size_of::<ClientPermit>() <= 16);
        assert!(size_of::<Option<ClientPermit>>() <= 16);
    }

    #[test]
    fn threads_never_pass_the_limit() {
        let (counter, limits) = (ClientCounter::new(), limits(10, Some(7)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for turn in 0..500 {
                        let from = address(if turn % 2 == 0 { "10.0.0.1" } else { "10.0.0.2" });
                        let held: Vec<_> = (0..4).filter_map(|_| counter.admit(from, &limits).ok()).collect();
                        assert!(counter.connected() <= 10);
                        assert!(counter.by_network().values().all(|count| *count <= 7));
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(counter.connected(), 0);
    }
}
