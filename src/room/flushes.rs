//! When events of a buffer came into the log.
//!
//! Events wait in a buffer on purpose. How old they are when they are sent counts from here.

use std::collections::VecDeque;

/// Flushes remembered. Of more, a reader is far behind: what it reads first then counts from acceptance.
const MOST: usize = 64;

/// Flushes of which a shard may have events to read: the first offset of each, and when it was, in log time.
#[derive(Debug, Default)]
pub(super) struct Flushes(VecDeque<(u64, u64)>);

impl Flushes {
    /// Notes that the log's events from `first` on were flushed at `at_ms`.
    pub(super) fn note(&mut self, first: u64, at_ms: u64) {
        if self.0.back().is_some_and(|(_, last_ms)| *last_ms == at_ms) {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((first, at_ms));
    }

    /// When the event at an offset was flushed; 0 where that is unknown, and in rooms without a buffer.
    pub(super) fn at_ms(&self, offset: u64) -> u64 {
        let after = self.0.partition_point(|(first, _)| *first <= offset);
        after.checked_sub(1).map_or(0, |index| self.0[index].1)
    }

    /// Forgets flushes whose events every shard has passed, up to an offset. The last one stays.
    pub(super) fn release(&mut self, passed: u64) {
        while self.0.get(1).is_some_and(|(next, _)| *next <= passed.saturating_add(1)) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_time_of_its_flush() {
        let mut flushes = Flushes::default();
        assert_eq!(flushes.at_ms(7), 0);
        for (first, at_ms) in [(3, 100), (5, 200), (6, 200), (9, 350)] {
            flushes.note(first, at_ms);
        }
        let times: Vec<u64> = [2, 3, 4, 5, 8, 9, 99].map(|offset| flushes.at_ms(offset)).to_vec();
        assert_eq!(times, [0, 100, 100, 200, 200, 350, 350]);
        flushes.release(4);
        assert_eq!((flushes.at_ms(4), flushes.at_ms(5)), (0, 200));
        flushes.release(7);
        assert_eq!(flushes.at_ms(8), 200, "8 is not passed");
        flushes.release(u64::MAX);
        assert_eq!((flushes.at_ms(8), flushes.at_ms(9), flushes.0.len()), (0, 350, 1));
    }

    #[test]
    fn flushes_are_bounded() {
        let mut flushes = Flushes::default();
        (1..1000).for_each(|n| flushes.note(n, n * 10));
        assert_eq!((flushes.0.len(), flushes.at_ms(999), flushes.at_ms(1)), (MOST, 9990, 0));
    }
}
