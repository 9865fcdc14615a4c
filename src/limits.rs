//! Limits that are counted: token buckets, and how many clients there are.

use crate::config::Rate;

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

    /// Takes `count` tokens if there are as many. `rate` may change from call to call.
    pub fn take(&mut self, count: u32, rate: Rate, now_ms: u64) -> bool {
        let elapsed_ms = (now_ms as u32).wrapping_sub(self.filled_at_ms);
        let filled = f64::from(self.tokens) + f64::from(elapsed_ms) / 1000.0 * rate.per_second;
        self.tokens = filled.min(f64::from(rate.burst)) as f32;
        self.filled_at_ms = now_ms as u32;
        let enough = self.tokens >= count as f32;
        if enough {
            self.tokens -= count as f32;
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
}
