//! A short memory of reclaimed rooms, so that they go on where they were.

use crate::wire::Epoch;
use std::collections::{HashMap, VecDeque};

/// Reclaimed rooms' epochs and heads, bounded: the oldest are forgotten first.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    by_name: HashMap<Box<str>, Memory>,
    /// Names in the order they were remembered, each with its stamp; one whose memory has another stamp, or is gone, is
    /// stale.
    order: VecDeque<(Box<str>, u64)>,
    stamp: u64,
}

#[derive(Debug)]
struct Memory {
    epoch: Epoch,
    head: u64,
    stamp: u64,
}

impl Remembered {
    /// Remembers a room, and forgets the oldest while there are more than `most`.
    pub(super) fn insert(&mut self, name: &str, epoch: Epoch, head: u64, most: usize) {
        self.stamp += 1;
        self.by_name.insert(name.into(), Memory { epoch, head, stamp: self.stamp });
        self.order.push_back((name.into(), self.stamp));
        while self.order.len() > most {
            let (oldest, stamp) = self.order.pop_front().expect("the length was above zero");
            if self.by_name.get(&oldest).is_some_and(|memory| memory.stamp == stamp) {
                self.by_name.remove(&oldest);
            }
        }
    }

    /// Every name with its epoch and head, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Epoch, u64)> {
        self.order.iter().filter_map(|(name, stamp)| {
            let memory = self.by_name.get(name).filter(|memory| memory.stamp == *stamp)?;
            Some((&**name, memory.epoch, memory.head))
        })
    }

    /// Takes a room's epoch and head back.
    pub(super) fn take(&mut self, name: &str) -> Option<(Epoch, u64)> {
        let memory = self.by_name.remove(name)?;
        Some((memory.epoch, memory.head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut memory = Remembered::default();
        for (name, head) in [("a", 1), ("b", 2), ("c", 3)] {
            memory.insert(name, Epoch(9), head, 2);
        }
        assert_eq!(memory.take("a"), None);
        assert_eq!(memory.take("c"), Some((Epoch(9), 3)));
        assert_eq!(memory.take("c"), None);
        memory.insert("c", Epoch(9), 4, 2);
        assert_eq!(memory.take("c"), Some((Epoch(9), 4)));
        for head in 0..10 {
            memory.insert("d", Epoch(9), head, 2);
            assert_eq!(memory.take("d"), Some((Epoch(9), head)), "a stale entry takes nothing with it");
        }
        assert!(memory.order.len() <= 2 && memory.by_name.is_empty());
    }
}
