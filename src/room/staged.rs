//! Events of one read on their way into a room.

use crate::event::Event;
use std::ops::Range;

/// What a read has for one room. Kept from read to read for its memory, so that an event costs none of its own.
#[derive(Debug, Default)]
pub struct Staged {
    items: Vec<Item>,
    /// Groups and keys of the events, one after the other.
    text: String,
}

/// An event on its way into a room.
#[derive(Debug)]
struct Item {
    event: Event,
    /// Places in `text`.
    group: Range<u32>,
    key: Range<u32>,
    urgent: bool,
}

/// An event as the room takes it.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The event.
    pub event: Event,
    /// Value of the buffer's `group_by`; empty without.
    pub group: &'a str,
    /// Value of the room's `key`; empty without, and when the event has none of its fields.
    pub key: &'a str,
    /// Whether the buffer is flushed at once.
    pub urgent: bool,
}

impl Staged {
    /// Adds an event.
    pub fn push(&mut self, event: Event, group: &str, key: &str, urgent: bool) {
        let group = self.add(group);
        let key = self.add(key);
        self.items.push(Item { event, group, key, urgent });
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Hands every event out, in order, and is empty then.
    pub fn drain(&mut self, mut take: impl FnMut(Taken<'_>)) {
        let place = |range: Range<u32>| range.start as usize..range.end as usize;
        for Item { event, group, key, urgent } in self.items.drain(..) {
            take(Taken { event, group: &self.text[place(group)], key: &self.text[place(key)], urgent });
        }
        self.text.clear();
    }

    /// Throws every event away.
    pub fn clear(&mut self) {
        self.items.clear();
        self.text.clear();
    }

    fn add(&mut self, text: &str) -> Range<u32> {
        // Most rooms have neither.
        if text.is_empty() {
            return 0..0;
        }
        let start = self.text.len() as u32;
        self.text.push_str(text);
        start..self.text.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_order_with_their_groups_and_keys() {
        let mut staged = Staged::default();
        let event = |seq| Event::new(seq, 0, &[b"{}"], b"", &mut Vec::new());
        let taken = |staged: &mut Staged| {
            let mut out = Vec::new();
            staged.drain(|Taken { event, group, key, urgent }| {
                out.push((event.seq(), group.to_owned(), key.to_owned(), urgent));
            });
            out
        };
        let row = |seq, group: &str, key: &str, urgent| (seq, group.to_owned(), key.to_owned(), urgent);
        for _ in 0..2 {
            staged.push(event(1), "cpu", "a", false);
            staged.push(event(2), "", "", true);
            staged.push(event(3), "", "key", false);
            staged.push(event(4), "net", "", true);
            assert_eq!(staged.len(), 4);
            let expected = [
                row(1, "cpu", "a", false),
                row(2, "", "", true),
                row(3, "", "key", false),
                row(4, "net", "", true),
            ];
            assert_eq!(taken(&mut staged), expected);
            assert_eq!((staged.len(), staged.text.len()), (0, 0));
        }
        staged.push(event(5), "cpu", "a", false);
        staged.clear();
        assert_eq!((staged.len(), staged.text.len(), taken(&mut staged)), (0, 0, Vec::new()));
    }
}
