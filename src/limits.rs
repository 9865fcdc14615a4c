//! Limits that are counted: token buckets, and how many clients there are.

use crate::config::Rate;
use std::time::Instant;

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: f64,
    refilled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Bucket {
        Bucket { tokens: f64::from(rate.burst), refilled_at: now }
    }

    /// Takes `count` tokens if there are as many. `rate` may change from call to call.
    pub fn take(&mut self, count: u32, rate: Rate, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate.per_second).min(f64::from(rate.burst));
        self.refilled_at = now;
        let enough = self.tokens >= f64::from(count);
        if enough {
            self.tokens -= f64::from(count);
        }
        enough
    }
}

/// Counts clients, in all and by address. Shared by every listener.
pub struct ClientCounter {}

/// A client's place in the count; given back when dropped. At most 16 bytes, since every idle client holds one.
#[derive(Debug)]
pub struct ClientPermit {}

impl ClientCounter {
    /// Nobody is connected yet.
    pub fn new() -> std::sync::Arc<ClientCounter> {
        todo!()
    }

    /// Takes a place, or says which limit is reached. Limits may change from call to call.
    pub fn admit(
        self: &std::sync::Arc<Self>,
        _address: Option<std::net::IpAddr>,
        _limits: &crate::config::LimitsConfig,
    ) -> Result<ClientPermit, crate::metrics::HandshakeRefusal> {
        todo!()
    }

    /// Clients connected.
    pub fn connected(&self) -> usize {
        todo!()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 2.0, burst: 3 };
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, start);
        let given = (0..10).filter(|_| bucket.take(1, rate, start)).count();
        assert_eq!(given, 3);
        assert!(!bucket.take(1, rate, start + Duration::from_millis(400)));
        assert!(bucket.take(1, rate, start + Duration::from_millis(900)));
        assert!(!bucket.take(4, rate, start + Duration::from_secs(100)), "never more than the burst");
    }
}
