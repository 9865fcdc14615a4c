//! What a client has had: what is missing, what came twice, what came late. Pure.

use std::collections::BTreeSet;

/// Numbers that are remembered as missing, for each producer: what comes later than that counts as a double.
const REMEMBERED: usize = 1024;

/// What one client has had of one producer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    next: u64,
    missing: BTreeSet<u64>,
    /// Events that came, each counted once.
    pub received: u64,
    /// Events that came again.
    pub doubled: u64,
    /// Events that came after a later one.
    pub reordered: u64,
}

impl Tally {
    /// Takes an event's number.
    pub(super) fn take(&mut self, n: u64) {
        if n >= self.next {
            let room = REMEMBERED.saturating_sub(self.missing.len());
            self.missing.extend((self.next..n).take(room));
            self.next = n + 1;
        } else if self.missing.remove(&n) {
            self.reordered += 1;
        } else {
            self.doubled += 1;
            return;
        }
        self.received += 1;
    }

    /// Events that did not come, of so many that were published.
    pub(super) fn lost(&self, published: u64) -> u64 {
        published.saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[u64], published: u64, expected: (u64, u64, u64)) {
        let mut tally = Tally::default();
        for n in numbers {
            tally.take(*n);
        }
        assert_eq!((tally.lost(published), tally.doubled, tally.reordered), expected, "{numbers:?}");
    }

    #[test]
    fn losses_doubles_and_reorders_are_told_apart() {
        check(&[0, 1, 2], 3, (0, 0, 0));
        check(&[0, 2], 4, (2, 0, 0));
        check(&[0, 1, 1, 2], 3, (0, 1, 0));
        check(&[0, 2, 1, 3], 4, (0, 0, 1));
        check(&[2, 1, 1, 0, 2], 3, (0, 2, 2));
        check(&[], 5, (5, 0, 0));
        check(&[1_000_000], 1_000_001, (1_000_000, 0, 0));
    }
}
