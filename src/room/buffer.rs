//! What waits before a room's log: so many events, so much time, in groups, or only the newest of every key.
//!
//! Pure. Offsets are given when it is flushed, group after group, so every batch is contiguous.

use crate::config::BufferConfig;
use crate::event::{BATCH_EVENTS, Batch, Event};
use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

/// A buffer is flushed when it holds so many bytes, whatever its limits say: only `events` is configured, and events
/// may be up to a megabyte long.
const FLUSH_BYTES: u64 = 1 << 20;
/// A buffer is flushed when it has so many groups: their names come from producers.
const GROUPS: usize = 1000;

/// A room's buffer.
#[derive(Debug, Default)]
pub struct Buffer {
    groups: Vec<Group>,
    by_name: HashMap<Box<str>, usize>,
    /// The keys' texts, one after the other: events have the places of theirs.
    keys: String,
    events: usize,
    bytes: u64,
    /// When the oldest event came in.
    opened_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Group {
    events: Vec<Waiting>,
    /// Where a key's newest event is in `events`; used with `keep = "newest"` only.
    by_key: HashMap<Box<str>, usize>,
}

#[derive(Debug)]
struct Waiting {
    event: Event,
    /// Its key's place in the buffer's `keys`.
    key: Range<usize>,
}

/// What a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Whether an older event of the key was replaced.
    pub replaced: bool,
    /// Whether the buffer must be flushed now.
    pub full: bool,
}

impl Buffer {
    /// Adds an event. `keys` bounds how many keys are kept at once.
    pub fn push(
        &mut self,
        config: &BufferConfig,
        keys: usize,
        event: Event,
        group: &str,
        key: &str,
        now: Instant,
    ) -> Pushed {
        self.opened_at.get_or_insert(now);
        let index = self.group(group);
        let group = &mut self.groups[index];
        self.bytes += event.size();
        let place = config.keep_newest.then(|| group.by_key.get(key).copied()).flatten();
        if let Some(place) = place {
            // The key is the same, and stays where it is.
            let replaced = std::mem::replace(&mut group.events[place].event, event);
            self.bytes -= replaced.size();
        } else {
            if config.keep_newest {
                group.by_key.insert(key.into(), group.events.len());
            }
            let start = self.keys.len();
            self.keys.push_str(key);
            self.bytes += key.len() as u64;
            group.events.push(Waiting { event, key: start..self.keys.len() });
            self.events += 1;
        }
        let most = config.events.unwrap_or(usize::MAX).min(keys);
        let full = self.events >= most || self.bytes >= FLUSH_BYTES || self.groups.len() >= GROUPS;
        Pushed { replaced: place.is_some(), full }
    }

    /// Hands every event to `append`, group by group in the order the groups came up, oldest first within a group, cut
    /// into batches, each event with its key; and is empty then.
    pub fn flush(&mut self, mut append: impl FnMut(Event, &str, Batch)) {
        for group in &mut self.groups {
            // A key's newest event took the place of an older one.
            group.events.sort_by_key(|waiting| waiting.event.seq());
            let mut left = group.events.len();
            for (index, Waiting { event, key }) in group.events.drain(..).enumerate() {
                left -= 1;
                let ends = left == 0 || (index + 1) % BATCH_EVENTS == 0;
                append(event, &self.keys[key], if ends { Batch::Last } else { Batch::More });
            }
        }
        *self = Buffer::default();
    }

    /// When the oldest event came in; none when empty.
    pub fn opened_at(&self) -> Option<Instant> {
        self.opened_at
    }

    /// Events it holds.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn group(&mut self, name: &str) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        self.by_name.insert(name.into(), self.groups.len());
        self.groups.push(Group::default());
        self.groups.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(events: Option<usize>, keep_newest: bool) -> BufferConfig {
        BufferConfig { events, flush_interval: Duration::from_secs(1), group_by: None, keep_newest }
    }

    fn event(seq: u64) -> Event {
        Event::new(seq, 0, &[b"{}"], b"", &mut Vec::new())
    }

    fn flushed(buffer: &mut Buffer) -> Vec<(u64, Batch)> {
        let mut out = Vec::new();
        buffer.flush(|event, _, batch| out.push((event.seq(), batch)));
        assert!(buffer.opened_at().is_none() && buffer.bytes() == 0);
        out
    }

    #[test]
    fn groups_are_flushed_one_after_the_other() {
        let mut buffer = Buffer::default();
        let now = Instant::now();
        for (seq, group) in [(1, "cpu"), (2, "net"), (3, "cpu"), (4, "net")] {
            let pushed = buffer.push(&config(Some(4), false), 100, event(seq), group, "", now);
            assert_eq!(pushed, Pushed { replaced: false, full: seq == 4 });
        }
        use Batch::{Last, More};
        assert_eq!(flushed(&mut buffer), [(1, More), (3, Last), (2, More), (4, Last)]);
    }

    #[test]
    fn the_newest_of_every_key_is_kept_in_the_order_of_arrival() {
        let mut buffer = Buffer::default();
        let now = Instant::now();
        let keyed = config(None, true);
        for (seq, key, replaced) in [(1, "a", false), (2, "b", false), (3, "a", true)] {
            assert_eq!(buffer.push(&keyed, 100, event(seq), "", key, now), Pushed { replaced, full: false });
        }
        let mut keys = Vec::new();
        buffer.flush(|event, key, batch| keys.push((event.seq(), key.to_owned(), batch)));
        assert_eq!(keys, [(2, "b".to_owned(), Batch::More), (3, "a".to_owned(), Batch::Last)]);
        assert!(buffer.opened_at().is_none() && buffer.bytes() == 0);
        for seq in 1..=3 {
            let pushed = buffer.push(&keyed, 3, event(seq), "", &seq.to_string(), now);
            assert_eq!(pushed.full, seq == 3, "keys are bounded");
        }
    }

    #[test]
    fn batches_are_cut_and_bytes_bound_a_buffer_without_events() {
        let mut buffer = Buffer::default();
        let now = Instant::now();
        for seq in 1..=130 {
            buffer.push(&config(None, false), 1000, event(seq), "", "", now);
        }
        let ends: Vec<u64> = flushed(&mut buffer)
            .iter()
            .filter(|(_, batch)| *batch == Batch::Last)
            .map(|(seq, _)| *seq)
            .collect();
        assert_eq!(ends, [64, 128, 130]);
        let large = Event::new(1, 0, &[&vec![b'x'; 1 << 20]], b"", &mut Vec::new());
        assert!(buffer.push(&config(None, false), 1000, large, "", "", now).full);
    }

    #[test]
    fn bytes_are_those_of_the_waiting_events_and_their_keys() {
        let sized = |seq, len| Event::new(seq, 0, &[&vec![b'x'; len]], b"", &mut Vec::new());
        let (now, keyed) = (Instant::now(), config(None, true));
        let mut buffer = Buffer::default();
        let (large, small, other) = (sized(1, 500), sized(2, 40), sized(3, 7));
        let (small_size, other_size) = (small.size(), other.size());
        assert_eq!(buffer.bytes(), 0);
        let expected = large.size() + 3;
        buffer.push(&keyed, 100, large, "", "key", now);
        assert_eq!((buffer.bytes(), buffer.len()), (expected, 1));
        buffer.push(&keyed, 100, small, "", "key", now);
        assert_eq!((buffer.bytes(), buffer.len()), (small_size + 3, 1), "the older event is gone");
        buffer.push(&keyed, 100, other, "", "b", now);
        assert_eq!((buffer.bytes(), buffer.len()), (small_size + other_size + 4, 2));
        flushed(&mut buffer);
        assert_eq!((buffer.bytes(), buffer.len()), (0, 0));
    }

    #[test]
    fn replacing_a_large_event_again_and_again_never_fills_the_buffer() {
        let (now, keyed) = (Instant::now(), config(None, true));
        let mut buffer = Buffer::default();
        for seq in 1..=10 {
            let large = Event::new(seq, 0, &[&vec![b'x'; 600 << 10]], b"", &mut Vec::new());
            assert!(!buffer.push(&keyed, 100, large, "", "key", now).full);
        }
    }

    #[test]
    fn the_number_of_groups_is_bounded() {
        let mut buffer = Buffer::default();
        let now = Instant::now();
        for seq in 1..=GROUPS as u64 {
            let pushed = buffer.push(&config(None, false), 5000, event(seq), &seq.to_string(), "", now);
            assert_eq!(pushed.full, seq == GROUPS as u64, "group {seq}");
        }
    }
}
