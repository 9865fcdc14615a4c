//! Events put aside, of each key only the newest: what a view with a pace keeps between two sendings, and what a page of
//! such a view is made of.
//!
//! Pure. Events without a key all stay.

use crate::event::{Entry, KeyId};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Events in the order of their offsets, of each key the newest.
#[derive(Debug, Default)]
pub struct Reduced {
    /// In place of an event that a newer one of its key has replaced there is none. Those are swept when they are more
    /// than half.
    items: VecDeque<Option<(u64, Entry)>>,
    /// Where in `items` each key's event is, counted from the first that was ever there.
    by_key: HashMap<KeyId, u64>,
    /// How many were taken from the front so far.
    taken: u64,
    /// How many there are.
    len: usize,
    bytes: usize,
}

/// Tables larger than that are given back once they are empty.
const KEPT: usize = 1024;

impl Reduced {
    /// Adds an event; offsets rise.
    pub fn push(&mut self, offset: u64, entry: Entry) {
        let place = self.taken + self.items.len() as u64;
        self.bytes += entry.event.json().len();
        self.len += 1;
        if entry.key != KeyId::NONE
            && let Some(older) = self.by_key.insert(entry.key, place)
            && let Some((_, gone)) = self.items[(older - self.taken) as usize].take()
        {
            self.bytes -= gone.event.json().len();
            self.len -= 1;
        }
        self.items.push_back(Some((offset, entry)));
        self.sweep();
    }

    /// Takes the first event out.
    pub fn pop(&mut self) -> Option<(u64, Entry)> {
        loop {
            let first = self.items.pop_front()?;
            self.taken += 1;
            let Some((offset, entry)) = first else { continue };
            if entry.key != KeyId::NONE {
                self.by_key.remove(&entry.key);
            }
            self.len -= 1;
            self.bytes -= entry.event.json().len();
            if self.len == 0 {
                self.clear();
            }
            return Some((offset, entry));
        }
    }

    /// The first event, and its offset.
    pub fn first(&self) -> Option<(u64, &Entry)> {
        let (offset, entry) = self.items.iter().flatten().next()?;
        Some((*offset, entry))
    }

    /// Lets everything go.
    pub fn clear(&mut self) {
        self.items.clear();
        self.by_key.clear();
        (self.taken, self.len, self.bytes) = (0, 0, 0);
        if self.items.capacity() > KEPT {
            self.items = VecDeque::new();
        }
        if self.by_key.capacity() > KEPT {
            self.by_key = HashMap::new();
        }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the events' JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether any of the events has a key.
    pub fn has_keys(&self) -> bool {
        !self.by_key.is_empty()
    }

    fn sweep(&mut self) {
        /// Below this, sweeping is not worth its while.
        const FEW: usize = 64;
        if self.items.len() <= 2 * self.len + FEW {
            return;
        }
        self.items.retain(Option::is_some);
        let keys = self.items.iter().flatten().map(|(_, entry)| entry.key);
        for (key, place) in keys.zip(self.taken..).filter(|(key, _)| *key != KeyId::NONE) {
            self.by_key.insert(key, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use proptest::prelude::*;

    fn entry(offset: u64, key: u32) -> Entry {
        let json = format!("{{\"n\":{offset}}}");
        Entry::single(Event::new(offset, 0, &[json.as_bytes()], b"", &mut Vec::new()), KeyId(key))
    }

    fn taken(reduced: &mut Reduced) -> Vec<u64> {
        std::iter::from_fn(|| reduced.pop()).map(|(offset, _)| offset).collect()
    }

    #[test]
    fn the_newest_of_every_key_and_everything_without_one() {
        let mut reduced = Reduced::default();
        for (offset, key) in [(3, 1), (4, 0), (6, 2), (7, 1), (9, 0)] {
            reduced.push(offset, entry(offset, key));
        }
        assert_eq!((reduced.len(), reduced.has_keys()), (4, true));
        assert_eq!(reduced.first().map(|(offset, _)| offset), Some(4));
        assert_eq!(taken(&mut reduced), [4, 6, 7, 9]);
        assert_eq!((reduced.bytes(), reduced.has_keys()), (0, false));
    }

    #[test]
    fn places_of_replaced_events_are_swept_once_they_are_more_than_half() {
        let mut reduced = Reduced::default();
        (1..=100).for_each(|key| reduced.push(key.into(), entry(key.into(), key)));
        for replaced in 1..=164 {
            assert_eq!(reduced.items.len() as u64, 99 + replaced, "not yet");
            let key = (replaced % 100) as u32 + 1;
            reduced.push(200 + replaced, entry(200 + replaced, key));
        }
        assert_eq!((reduced.items.len(), reduced.len()), (264, 100));
        reduced.push(400, entry(400, 1));
        assert_eq!((reduced.items.len(), reduced.len()), (100, 100));
        assert!(taken(&mut reduced).is_sorted());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_taken_in_between(steps in prop::collection::vec((0..8u32, any::<bool>()), 1..400)) {
            let mut reduced = Reduced::default();
            let mut model: Vec<(u64, u32)> = Vec::new();
            for (offset, (key, takes)) in (1..).zip(steps) {
                model.retain(|(_, other)| key == 0 || *other != key);
                model.push((offset, key));
                reduced.push(offset, entry(offset, key));
                if takes && key > 4 {
                    prop_assert_eq!(reduced.pop().map(|(offset, _)| offset), Some(model.remove(0).0));
                }
                prop_assert_eq!(reduced.len(), model.len());
                prop_assert_eq!(reduced.has_keys(), model.iter().any(|(_, key)| *key > 0));
                let bytes: usize = model.iter().map(|(offset, _)| entry(*offset, 0).event.json().len()).sum();
                prop_assert_eq!(reduced.bytes(), bytes);
                prop_assert!(reduced.items.len() <= 2 * reduced.len() + 65);
            }
            prop_assert_eq!(taken(&mut reduced), model.iter().map(|(offset, _)| *offset).collect::<Vec<_>>());
        }
    }
}
