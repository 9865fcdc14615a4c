//! The newest event of every key of a room: its log, compacted.
//!
//! Pure. Read by offset, it is a log in which only the newest event of each key is left. Whoever reads it from some
//! position on misses no key: an event that comes for a key takes the key further on, never back behind a reader.

use super::log::ReadLimit;
use crate::event::{Entry, Event, KeyId};
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// What a key takes beside its text and its event: its places in three tables.
const KEY_BYTES: u64 = 128;

/// A room's keys.
#[derive(Debug)]
pub struct Keys {
    slots: Slab<Slot>,
    /// Slots by their text.
    by_text: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Offsets of newest events, rising, each with its slot. One whose slot has a newer offset, or is gone, is stale; stale
    /// ones are swept when they are more than half. So an event costs an entry at the end and nothing else: no tree is put
    /// in order, and nothing is allocated.
    order: VecDeque<(u64, u32)>,
    /// The last number that a key was given.
    last_id: KeyId,
    /// Keys at most.
    most: usize,
    /// Offset at which the room's log begins: events before it are held by their keys alone.
    log_first: u64,
    /// Bytes of keys, and of events that they alone hold.
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    text: Box<str>,
    /// The newest event's.
    offset: u64,
    entry: Entry,
}

/// What a reading of the compacted log found beside the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysRead {
    /// Offset up to which every key's newest event has been read.
    pub to: u64,
    /// Whether that is all: nothing is left up to the offset that was asked for.
    pub is_all: bool,
}

impl Keys {
    /// No keys yet, `most` of them at most, beside a log that begins at `log_first`.
    pub fn new(most: usize, log_first: u64) -> Keys {
        Keys {
            slots: Slab::new(),
            by_text: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            order: VecDeque::new(),
            last_id: KeyId::NONE,
            most,
            log_first,
            bytes: 0,
        }
    }

    /// Notes that an event is the newest of its key, and returns the key's number. An event without any of the key's
    /// fields (`text` is empty) has no key.
    pub fn note(&mut self, text: &str, offset: u64, event: &Event) -> KeyId {
        if text.is_empty() {
            return KeyId::NONE;
        }
        let hash = self.hasher.hash_one(text);
        let slots = &self.slots;
        let found = self.by_text.find(hash, |slot| *slots[*slot as usize].text == *text).copied();
        let slot = match found {
            Some(slot) => {
                let known = &mut self.slots[slot as usize];
                if known.offset < self.log_first {
                    self.bytes -= known.entry.event.size();
                }
                known.offset = offset;
                known.entry.event = event.clone();
                slot
            }
            None => self.add(hash, text, offset, event),
        };
        let id = self.slots[slot as usize].entry.key;
        self.order.push_back((offset, slot));
        while self.slots.len() > self.most {
            self.drop_oldest();
        }
        self.sweep();
        id
    }

    /// Notes an event that is before the log's first, as what the log has let go of.
    pub fn recall(&mut self, text: &str, offset: u64, event: &Event) {
        self.note(text, offset, event);
        let is_held = self.slots.get(self.order.back().map_or(usize::MAX, |(_, slot)| *slot as usize));
        if is_held.is_some_and(|newest| newest.offset == offset) {
            self.bytes += event.size();
        }
    }

    fn add(&mut self, hash: u64, text: &str, offset: u64, event: &Event) -> u32 {
        self.last_id = self.last_id.next();
        let entry = Entry::single(event.clone(), self.last_id);
        let slot = self.slots.insert(Slot { text: text.into(), offset, entry }) as u32;
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_text.insert_unique(hash, slot, |slot| hasher.hash_one(&*slots[*slot as usize].text));
        self.bytes += KEY_BYTES + text.len() as u64;
        slot
    }

    /// Notes where the room's log begins now: what it let go of is held by its keys alone.
    pub fn log_begins(&mut self, first: u64) {
        if first <= self.log_first {
            return;
        }
        let start = self.order.partition_point(|(offset, _)| *offset < self.log_first);
        for (offset, slot) in self.order.range(start..).take_while(|(offset, _)| *offset < first) {
            if self.slots.get(*slot as usize).is_some_and(|newest| newest.offset == *offset) {
                self.bytes += self.slots[*slot as usize].entry.event.size();
            }
        }
        self.log_first = first;
    }

    /// Lets go of keys whose newest event was accepted before a time.
    pub fn expire(&mut self, before_ms: u64) {
        while self.oldest().is_some_and(|oldest| oldest.entry.event.accepted_at_ms() < before_ms) {
            self.drop_oldest();
        }
        self.sweep();
    }

    /// When the event was accepted that is the oldest of all newest ones.
    pub fn oldest_ms(&mut self) -> Option<u64> {
        self.oldest().map(|oldest| oldest.entry.event.accepted_at_ms())
    }

    /// Bounds the keys: those whose newest event is oldest give way.
    pub fn bound(&mut self, most: usize) {
        self.most = most;
        while self.slots.len() > most {
            self.drop_oldest();
        }
        self.sweep();
    }

    /// Lets go of keys, those whose newest event is oldest first, until at most `bytes` are held.
    pub fn shrink(&mut self, bytes: u64) {
        while self.bytes > bytes && !self.slots.is_empty() {
            self.drop_oldest();
        }
        self.sweep();
    }

    /// Forgets every key. Numbers are not given again: the log has entries with the old ones.
    pub fn clear(&mut self) {
        self.slots = Slab::new();
        self.by_text = HashTable::new();
        self.order = VecDeque::new();
        self.bytes = 0;
    }

    /// Appends to `out` the newest events of keys with offsets after `after` and up to `upto`, in their order, within
    /// `limit`; the first in any case.
    pub fn read(&self, after: u64, upto: u64, limit: ReadLimit, out: &mut Vec<(u64, Entry)>) -> KeysRead {
        let start = self.order.partition_point(|(offset, _)| *offset <= after);
        let (mut to, mut events, mut bytes) = (after, 0, 0);
        for (offset, slot) in self.order.range(start..).take_while(|(offset, _)| *offset <= upto) {
            let Some(newest) = self.slots.get(*slot as usize).filter(|newest| newest.offset == *offset)
            else {
                continue;
            };
            bytes += newest.entry.event.json().len() + limit.overhead;
            if events > 0 && (events == limit.events || bytes > limit.bytes) {
                return KeysRead { to, is_all: false };
            }
            events += 1;
            to = *offset;
            out.push((*offset, newest.entry.clone()));
        }
        KeysRead { to: upto.max(after), is_all: true }
    }

    /// Every key: its number, its text, its newest event and that one's offset, in the order of the offsets.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &str, u64, &Event)> {
        let slots = self.order.iter().filter_map(|(offset, slot)| {
            self.slots.get(*slot as usize).filter(|newest| newest.offset == *offset)
        });
        slots.map(|newest| (newest.entry.key, &*newest.text, newest.offset, &newest.entry.event))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of keys, and of events that they alone hold.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The key whose newest event is oldest. Lets go of what is stale before it.
    fn oldest(&mut self) -> Option<&Slot> {
        while let Some((offset, slot)) = self.order.front().copied() {
            if self.slots.get(slot as usize).is_some_and(|newest| newest.offset == offset) {
                return self.slots.get(slot as usize);
            }
            self.order.pop_front();
        }
        None
    }

    fn drop_oldest(&mut self) {
        if self.oldest().is_none() {
            return;
        }
        let Some((_, slot)) = self.order.pop_front() else { return };
        let gone = self.slots.remove(slot as usize);
        if let Ok(entry) = self.by_text.find_entry(self.hasher.hash_one(&*gone.text), |other| *other == slot)
        {
            entry.remove();
        }
        self.bytes -= KEY_BYTES + gone.text.len() as u64;
        if gone.offset < self.log_first {
            self.bytes -= gone.entry.event.size();
        }
    }

    fn sweep(&mut self) {
        /// Below this, sweeping is not worth its while.
        const FEW: usize = 64;
        if self.order.len() > 2 * self.slots.len() + FEW {
            let slots = &self.slots;
            self.order.retain(|(offset, slot)| {
                slots.get(*slot as usize).is_some_and(|newest| newest.offset == *offset)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn event(seq: u64, at_ms: u64) -> Event {
        Event::new(seq, at_ms, &[format!("{{\"n\":{seq:05}}}").as_bytes()], b"", &mut Vec::new())
    }

    const EVERYTHING: ReadLimit =
        ReadLimit { events: usize::MAX, bytes: usize::MAX, overhead: 0, at_least_one: true };

    /// (offset, number) of the newest events after an offset, and up to another.
    fn read(keys: &Keys, after: u64, upto: u64, limit: ReadLimit) -> (Vec<(u64, u64)>, KeysRead) {
        let mut out = Vec::new();
        let read = keys.read(after, upto, limit, &mut out);
        (out.iter().map(|(offset, entry)| (*offset, entry.event.seq())).collect(), read)
    }

    fn keys(most: usize, texts: &[&str]) -> Keys {
        let mut keys = Keys::new(most, 1);
        for (index, text) in texts.iter().enumerate() {
            let offset = index as u64 + 1;
            keys.note(text, offset, &event(offset, offset * 10));
        }
        keys
    }

    #[track_caller]
    fn check(keys: &Keys, expected: &[u64]) {
        let (found, _) = read(keys, 0, u64::MAX, EVERYTHING);
        assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), expected);
        assert_eq!(keys.len(), expected.len());
    }

    #[test]
    fn the_newest_of_each_is_kept_in_the_order_of_offsets() {
        check(&keys(9, &["a", "b", "a", "c", "b", "b"]), &[3, 4, 6]);
        check(&keys(9, &["a", "", "a"]), &[3]);
        check(&keys(2, &["a", "b", "a", "c"]), &[3, 4]);
        check(&keys(2, &["a", "b", "c", "b", "a"]), &[4, 5]);
        let mut aged = keys(9, &["a", "b", "a", "c"]);
        aged.expire(30);
        check(&aged, &[3, 4]);
        aged.expire(31);
        check(&aged, &[4]);
        aged.bound(0);
        check(&aged, &[]);
        assert_eq!(aged.bytes(), 0);
    }

    #[test]
    fn numbers_rise_and_never_come_again() {
        let mut keys = Keys::new(1, 1);
        let event = event(1, 1);
        let ids: Vec<u32> = ["a", "b", "a", "a"].iter().map(|text| keys.note(text, 1, &event).0).collect();
        assert_eq!(ids, [1, 2, 3, 3], "a gave way to b, and came anew");
        keys.clear();
        assert_eq!((keys.note("a", 2, &event).0, keys.note("", 3, &event)), (4, KeyId::NONE));
    }

    #[test]
    fn a_reading_ends_at_its_limits() {
        let keys = keys(9, &["a", "b", "c", "d"]);
        let each = event(1, 0).json().len() + 10;
        let read = |after, upto, events, bytes| {
            let limit = ReadLimit { events, bytes, overhead: 10, at_least_one: true };
            let (found, KeysRead { to, is_all }) = read(&keys, after, upto, limit);
            (found.len(), to, is_all)
        };
        assert_eq!(read(0, 9, 4, usize::MAX), (4, 9, true));
        assert_eq!(read(0, 9, 3, usize::MAX), (3, 3, false));
        assert_eq!(read(0, 3, 3, usize::MAX), (3, 3, true));
        assert_eq!(read(1, 9, 9, 2 * each), (2, 3, false));
        assert_eq!(read(1, 9, 9, 1), (1, 2, false), "one in any case");
        assert_eq!(read(4, 9, 9, 1), (0, 9, true));
        assert_eq!(read(9, 4, 9, 1), (0, 9, true), "a reader beyond is not taken back");
    }

    #[test]
    fn what_only_keys_hold_is_counted() {
        let size = event(1, 0).size();
        let mut keys = keys(9, &["a", "b", "a"]);
        let own = 2 * (KEY_BYTES + 1);
        assert_eq!(keys.bytes(), own);
        keys.log_begins(3);
        assert_eq!(keys.bytes(), own + size, "b's");
        keys.log_begins(4);
        assert_eq!(keys.bytes(), own + 2 * size);
        keys.note("b", 4, &event(4, 0));
        assert_eq!(keys.bytes(), own + size, "b's is in the log again");
        keys.shrink(own);
        check(&keys, &[4]);
        keys.shrink(0);
        assert_eq!((keys.len(), keys.bytes()), (0, 0));
    }

    #[test]
    fn stale_entries_are_swept_once_they_are_more_than_half() {
        let mut keys = Keys::new(500, 1);
        for offset in 1..=264 {
            keys.note(&(offset % 100).to_string(), offset, &event(offset, 0));
            assert_eq!(keys.order.len() as u64, offset, "not yet");
        }
        keys.note("0", 265, &event(265, 0));
        assert_eq!((keys.order.len(), keys.len()), (100, 100));
        keys.bound(10);
        assert_eq!((keys.order.len(), keys.len()), (10, 10));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_the_log_with_older_events_of_each_key_left_out(
            steps in prop::collection::vec((0..6u8, 0..12u64), 1..300),
            most in 1..12usize,
        ) {
            let mut keys = Keys::new(most, 1);
            // By offset: the key, the event's size.
            let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            let (mut head, mut first) = (0, 1);
            for (step, amount) in steps {
                match step {
                    0..=3 => {
                        head += 1;
                        let event = event(head, head);
                        keys.note(&format!("key {amount}"), head, &event);
                        model.retain(|_, (key, _)| *key != amount);
                        model.insert(head, (amount, event.size()));
                    }
                    4 => {
                        first = (first + amount).min(head + 1);
                        keys.log_begins(first);
                    }
                    _ => {
                        keys.expire(amount * head / 12);
                        model.retain(|offset, _| *offset >= amount * head / 12);
                    }
                }
                while model.len() > most {
                    model.pop_first();
                }
                let (found, KeysRead { to, is_all }) = read(&keys, 0, head, EVERYTHING);
                prop_assert_eq!((to, is_all), (head, true));
                prop_assert_eq!(&found, &model.keys().map(|offset| (*offset, *offset)).collect::<Vec<_>>());
                prop_assert!(keys.order.len() <= 2 * keys.len() + 65);
                let own: u64 = model.values().map(|(key, _)| KEY_BYTES + 5 + u64::from(*key > 9)).sum();
                let alone: u64 = model.range(..first).map(|(_, (_, size))| *size).sum();
                prop_assert_eq!(keys.bytes(), own + alone);
                let mut paged = Vec::new();
                let mut at = 0;
                loop {
                    let page = ReadLimit { events: 3, ..EVERYTHING };
                    let (part, KeysRead { to, is_all }) = read(&keys, at, head, page);
                    paged.extend(part);
                    at = to;
                    if is_all {
                        break;
                    }
                }
                prop_assert_eq!(paged, found);
            }
        }
    }
}
