//! When to try again: soon at first, then less often, and never everybody at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// The longest that a daemon's word is taken for.
const LONGEST_TOLD: Duration = Duration::from_secs(120);

/// The times that nothing came of it.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
}

impl Retry {
    /// It works again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait: what the daemon said, in milliseconds, else twice as long as before, with a random half.
    pub(super) fn wait(&mut self, told_ms: Option<u64>) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        if let Some(ms) = told_ms {
            return Duration::from_millis(ms).min(LONGEST_TOLD);
        }
        // A seed of its own for each state: all the randomness that is needed here.
        let random = RandomState::new().hash_one(self.failures) % 1000;
        most / 2 + most * random as u32 / 2000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew() {
        let mut retry = Retry::default();
        let waits: Vec<Duration> = (0..40).map(|_| retry.wait(None)).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] < FIRST, "{waits:?}");
        assert!(waits[10..].iter().all(|wait| *wait >= LONGEST / 2 && *wait < LONGEST), "{waits:?}");
        assert!(waits[10..].iter().any(|wait| *wait != waits[10]), "they are random");
        retry.reset();
        assert!(retry.wait(None) < FIRST);
        assert_eq!(retry.wait(Some(1730)), Duration::from_millis(1730));
        assert_eq!(retry.wait(Some(u64::MAX)), LONGEST_TOLD);
    }
}
