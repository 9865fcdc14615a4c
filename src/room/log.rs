//! A room's log: its events by offset, as history and as backlog.
//!
//! Pure. Offsets rise by one without holes. The newest part of the log is history, as the room's limits say; older
//! events stay only while a shard has not passed them, and are backlog.

use crate::config::HistoryConfig;
use crate::event::Entry;
use std::collections::VecDeque;

/// Bounds on one reading of a log.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Events at most.
    pub events: usize,
    /// Bytes at most, events and `overhead` together.
    pub bytes: usize,
    /// Bytes that each event takes beside its own.
    pub overhead: usize,
    /// Whether one event is read even if it alone is over `bytes`.
    pub at_least_one: bool,
}

/// A room's log.
#[derive(Debug)]
pub struct Log {
    /// Events in order; the first has the offset `first`.
    entries: VecDeque<Entry>,
    first: u64,
    /// Offset at which history begins; what is before it is backlog.
    history_first: u64,
    history_bytes: u64,
    backlog_bytes: u64,
}

impl Log {
    /// An empty log that goes on after `head`.
    pub fn new(head: u64) -> Log {
        Log {
            entries: VecDeque::new(),
            first: head + 1,
            history_first: head + 1,
            history_bytes: 0,
            backlog_bytes: 0,
        }
    }

    /// Offset of the newest event; where the log began, if there is none yet.
    pub fn head(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    /// Offset of the oldest event that is still here, or of the next one.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Offset of the oldest event of history, or of the next one.
    pub fn history_first(&self) -> u64 {
        self.history_first
    }

    /// Bytes of history.
    pub fn history_bytes(&self) -> u64 {
        self.history_bytes
    }

    /// Bytes of backlog.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the oldest event of history was accepted.
    pub fn oldest_ms(&self) -> Option<u64> {
        let oldest = self.entries.get((self.history_first - self.first) as usize);
        oldest.map(|entry| entry.event.accepted_at_ms())
    }

    /// Appends an event and gives it the next offset.
    pub fn append(&mut self, entry: Entry) {
        self.history_bytes += entry.event.size();
        self.entries.push_back(entry);
    }

    /// Moves what is over the limits from history to backlog, and lets go of backlog up to the offset `passed`, which
    /// every shard has passed.
    pub fn trim(&mut self, limit: &HistoryConfig, now_ms: u64, passed: u64) {
        let oldest_ms = now_ms.saturating_sub(limit.age.as_millis() as u64);
        while let Some(entry) = self.entries.get((self.history_first - self.first) as usize) {
            let events = self.head() + 1 - self.history_first;
            let keeps = events <= limit.events as u64
                && self.history_bytes <= limit.bytes
                && entry.event.accepted_at_ms() >= oldest_ms;
            if keeps {
                break;
            }
            let size = entry.event.size();
            self.history_bytes -= size;
            self.backlog_bytes += size;
            self.history_first += 1;
        }
        self.release(passed);
    }

    /// Lets go of backlog up to the offset `passed`.
    pub fn release(&mut self, passed: u64) {
        while self.first < self.history_first && self.first <= passed {
            let entry = self.entries.pop_front().expect("an offset below the history's first has an entry");
            self.backlog_bytes -= entry.event.size();
            self.first += 1;
        }
    }

    /// Appends to `out` the events after the offset `after`, oldest first, within `limit`. What is no longer here is
    /// passed over: the first event read may be later than `after + 1`. Returns the first event's offset.
    pub fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<Entry>) -> u64 {
        let from = (after + 1).max(self.first);
        let skip = ((from - self.first) as usize).min(self.entries.len());
        let mut bytes = 0;
        for (index, entry) in self.entries.range(skip..).take(limit.events).enumerate() {
            bytes += entry.event.json().len() + limit.overhead;
            let forced = index == 0 && limit.at_least_one;
            if bytes > limit.bytes && !forced {
                break;
            }
            out.push(entry.clone());
        }
        from
    }

    /// The offset after which everything was accepted at `since_ms` or later.
    pub fn offset_before(&self, since_ms: u64) -> u64 {
        let skip = (self.history_first - self.first) as usize;
        let history = self.entries.range(skip..);
        let older = history.take_while(|entry| entry.event.accepted_at_ms() < since_ms).count();
        self.history_first - 1 + older as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, KeyId};
    use proptest::prelude::*;
    use std::time::Duration;

    fn event(seq: u64, at_ms: u64) -> Event {
        Event::new(seq, at_ms, &[format!("{{\"n\":{seq}}}").as_bytes()], b"", &mut Vec::new())
    }

    fn entry(seq: u64, at_ms: u64) -> Entry {
        Entry::single(event(seq, at_ms), KeyId::NONE)
    }

    fn limit(events: usize) -> HistoryConfig {
        HistoryConfig { events, age: Duration::from_secs(600), bytes: u64::MAX }
    }

    const EVERYTHING: ReadLimit =
        ReadLimit { events: usize::MAX, bytes: usize::MAX, overhead: 0, at_least_one: true };

    fn offsets(log: &Log, after: u64, limit: ReadLimit) -> Vec<u64> {
        let mut out = Vec::new();
        let first = log.read(after, limit, &mut out);
        (first..first + out.len() as u64).collect()
    }

    #[test]
    fn history_gives_way_by_count_bytes_and_age() {
        let mut log = Log::new(0);
        for seq in 1..=10 {
            log.append(entry(seq, seq * 1000));
        }
        log.trim(&limit(6), 10_000, u64::MAX);
        assert_eq!(offsets(&log, 0, EVERYTHING), [5, 6, 7, 8, 9, 10]);
        let size = event(1, 0).size();
        log.trim(&HistoryConfig { bytes: size * 4, ..limit(6) }, 10_000, u64::MAX);
        assert_eq!(log.first(), 8, "event 10 is a byte longer, so that only three fit");
        log.trim(&HistoryConfig { age: Duration::from_secs(1), ..limit(6) }, 10_000, u64::MAX);
        assert_eq!(offsets(&log, 0, EVERYTHING), [9, 10]);
        log.trim(&limit(0), 10_000, u64::MAX);
        assert!(log.is_empty() && log.head() == 10 && log.history_bytes() == 0);
        assert_eq!(offsets(&log, 0, EVERYTHING), [0; 0]);
    }

    #[test]
    fn what_a_shard_has_not_passed_is_backlog() {
        let mut log = Log::new(40);
        for seq in 1..=10 {
            log.append(entry(seq, 0));
        }
        log.trim(&limit(2), 0, 45);
        assert_eq!((log.first(), log.history_first(), log.head()), (46, 49, 50));
        assert_eq!(log.backlog_bytes(), 3 * event(6, 0).size());
        log.release(48);
        assert_eq!((log.first(), log.backlog_bytes()), (49, 0));
        log.release(50);
        assert_eq!(log.first(), 49, "history stays");
    }

    #[test]
    fn reading_stops_at_its_limits_but_gives_one_event_if_told() {
        let mut log = Log::new(0);
        for seq in 1..=5 {
            log.append(entry(seq, 0));
        }
        let each = event(1, 0).json().len() + 10;
        let two = ReadLimit { bytes: 2 * each, overhead: 10, ..EVERYTHING };
        assert_eq!(offsets(&log, 1, two), [2, 3]);
        assert_eq!(offsets(&log, 1, ReadLimit { events: 1, ..EVERYTHING }), [2]);
        assert_eq!(offsets(&log, 1, ReadLimit { bytes: 1, ..two }), [2]);
        assert_eq!(offsets(&log, 1, ReadLimit { bytes: 1, at_least_one: false, ..two }), [0; 0]);
        assert_eq!(offsets(&log, 5, EVERYTHING), [0; 0]);
        assert_eq!(offsets(&log, 99, EVERYTHING), [0; 0]);
    }

    #[test]
    fn since_finds_the_offset_before() {
        let mut log = Log::new(0);
        for seq in 1..=4 {
            log.append(entry(seq, seq * 10));
        }
        for (since, before) in [(0, 0), (10, 0), (11, 1), (40, 3), (41, 4)] {
            assert_eq!(log.offset_before(since), before, "since {since}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn offsets_never_have_holes_and_bytes_always_add_up(
            steps in prop::collection::vec((0..4u8, 0..20u64), 1..80)
        ) {
            let mut log = Log::new(7);
            let (mut seq, mut passed) = (0, 7);
            for (step, amount) in steps {
                match step {
                    0 | 1 => for _ in 0..amount { seq += 1; log.append(entry(seq, 0)); },
                    2 => log.trim(&limit(amount as usize), 0, passed),
                    _ => { passed = (passed + amount).min(log.head()); log.release(passed); }
                }
                let mut out = Vec::new();
                let first = log.read(0, EVERYTHING, &mut out);
                prop_assert_eq!(first, log.first());
                prop_assert_eq!(log.head(), 7 + seq);
                for (index, entry) in out.iter().enumerate() {
                    prop_assert_eq!(entry.event.seq() + 7, first + index as u64);
                }
                let held: u64 = out.iter().map(|entry| entry.event.size()).sum();
                prop_assert_eq!(held, log.history_bytes() + log.backlog_bytes());
                prop_assert!(log.first() <= log.history_first());
            }
        }
    }
}
