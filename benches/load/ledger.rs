//! Keeps the books: what was published, what arrived, and whether every delivery is the right one.
//!
//! Numbers are given to rooms in turn, so number, room and offset follow from each other: number `n` goes to room
//! `(n - 1) % rooms` and is event `(n - 1) / rooms + 1` there. Each event's `k` is its offset modulo [`KINDS`], which is
//! what filters choose by.

use crate::client::Subscription;
use crate::measure::Histogram;
use crate::scan::Item;
use std::collections::VecDeque;
use std::time::Instant;

/// Kinds of events that a filter can choose from.
pub(crate) const KINDS: u64 = 10;

/// Faults that are told in words; the rest is counted.
const NOTES: usize = 8;

/// What must not happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
    /// Closed connections, errors, frames and answers that are not what they must be.
    pub(crate) wrong: u64,
    pub(crate) notes: Vec<String>,
}

impl Faults {
    pub(crate) fn total(&self) -> u64 {
        self.lost + self.doubled + self.reordered + self.wrong
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.notes.len() < NOTES {
            self.notes.push(text());
        }
    }

    pub(crate) fn wrong(&mut self, text: impl FnOnce() -> String) {
        self.wrong += 1;
        self.note(text);
    }
}

/// Sums over all clients since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) deliveries: u64,
    /// Bytes of the frames they came in.
    pub(crate) bytes: u64,
    pub(crate) gaps: u64,
    /// Events in gaps.
    pub(crate) missed: u64,
    pub(crate) pings: u64,
}

/// The books of one fleet.
pub(crate) struct Ledger {
    start: Instant,
    /// Microseconds since the start, as of the read under way.
    pub(crate) now: u64,
    pub(crate) rooms: u64,
    /// The last number given.
    pub(crate) published: u64,
    /// Whether every event published gets an offset; not so where the daemon sheds.
    pub(crate) exact: bool,
    /// Whether latencies are recorded.
    pub(crate) measuring: bool,
    pub(crate) latency: Histogram,
    /// Offset of the newest event of the room beside those that are published to, if there is one.
    pub(crate) quiet_head: u64,
    /// How long those took who came back to that room until they had everything.
    pub(crate) resumed: Histogram,
    pub(crate) tally: Tally,
    pub(crate) faults: Faults,
    pub(crate) window: Option<Window>,
}

impl Ledger {
    pub(crate) fn new(rooms: usize) -> Ledger {
        Ledger {
            start: Instant::now(),
            now: 0,
            rooms: rooms as u64,
            published: 0,
            exact: true,
            measuring: false,
            latency: Histogram::default(),
            quiet_head: 0,
            resumed: Histogram::default(),
            tally: Tally::default(),
            faults: Faults::default(),
            window: None,
        }
    }

    /// Microseconds since the start.
    pub(crate) fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Takes the time, for what is read next.
    pub(crate) fn tick(&mut self) {
        self.now = self.micros(Instant::now());
    }

    /// The room and the offset of a number.
    pub(crate) fn place(&self, number: u64) -> (u64, u64) {
        ((number - 1) % self.rooms, (number - 1) / self.rooms + 1)
    }

    /// The offset of a room's newest event.
    pub(crate) fn head(&self, room: u32) -> u64 {
        if u64::from(room) >= self.rooms {
            return self.quiet_head;
        }
        (self.published + self.rooms - 1 - u64::from(room)) / self.rooms
    }

    /// Gives the next number.
    pub(crate) fn publish(&mut self) -> u64 {
        self.published += 1;
        if let Some(window) = &mut self.window {
            let readers = window.readers[((self.published - 1) % self.rooms) as usize];
            window.remaining.push_back(readers);
        }
        self.published
    }

    /// Books a delivery.
    pub(crate) fn event(&mut self, subscription: &mut Subscription, item: Item, counted: bool) {
        self.tally.deliveries += 1;
        let room = u64::from(subscription.room);
        let Item { offset, number, due } = item;
        let is_quiet = room >= self.rooms;
        let place = if is_quiet { (room, number) } else { self.place(number.max(1)) };
        if number == 0 || self.exact && place != (room, offset) {
            self.faults.wrong(|| format!("room r{room}, offset {offset} holds event {number}"));
        }
        let expected = subscription.next();
        if offset == expected {
            subscription.position = offset;
        } else if offset > expected {
            self.faults.lost += between(subscription, expected, offset);
            self.faults.note(|| format!("room r{room}: offset {offset} came where {expected} was next"));
            subscription.position = offset;
        } else if offset == subscription.position {
            self.faults.doubled += 1;
            self.faults.note(|| format!("room r{room}: offset {offset} came twice"));
        } else {
            self.faults.reordered += 1;
            self.faults
                .note(|| format!("room r{room}: offset {offset} came after {}", subscription.position));
        }
        if is_quiet && offset == self.quiet_head {
            self.resumed.record(self.now.saturating_sub(subscription.since));
        }
        if counted && !is_quiet {
            if let Some(window) = &mut self.window {
                window.delivered(number);
            }
            if self.measuring {
                self.latency.record(self.now.saturating_sub(due));
            }
        }
    }

    /// Books a gap that the daemon declared, from `first` to `offset`.
    pub(crate) fn gap(&mut self, subscription: &mut Subscription, first: u64, offset: u64, counted: bool) {
        let room = subscription.room;
        self.tally.gaps += 1;
        if first > subscription.next() || offset < first || offset < subscription.position {
            let position = subscription.position;
            self.faults.wrong(|| format!("room r{room}: a gap from {first} to {offset} after {position}"));
        }
        for missed in subscription.position + 1..=offset {
            self.tally.missed += 1;
            let number = (missed - 1) * self.rooms + u64::from(room) + 1;
            if let Some(window) = self.window.as_mut().filter(|_| counted) {
                window.delivered(number);
            }
        }
        subscription.position = subscription.position.max(offset);
    }

    /// Books a `position`: moved on to `offset` without a delivery, which is right only where a filter left all out.
    pub(crate) fn moved(&mut self, subscription: &mut Subscription, offset: u64) {
        let expected = subscription.next();
        let room = subscription.room;
        if offset >= expected {
            self.faults.lost += between(subscription, expected, offset + 1);
            self.faults.note(|| format!("room r{room}: position {offset} where {expected} was next"));
        }
        subscription.position = subscription.position.max(offset);
    }
}

/// Events that the subscription wants from `expected` on, before `offset`.
fn between(subscription: &Subscription, expected: u64, offset: u64) -> u64 {
    let step = if subscription.kind.is_some() { KINDS } else { 1 };
    (offset - expected).div_ceil(step).max(1)
}

/// Which events have not reached all readers: what bounds a producer that writes as fast as events arrive.
pub(crate) struct Window {
    first: u64,
    remaining: VecDeque<u32>,
    /// Readers of each room.
    readers: Vec<u32>,
}

impl Window {
    /// Nothing is under way; the next number is `first`.
    pub(crate) fn new(first: u64, readers: Vec<u32>) -> Window {
        Window { first, remaining: VecDeque::new(), readers }
    }

    /// Events under way.
    pub(crate) fn under_way(&self) -> usize {
        self.remaining.len()
    }

    fn delivered(&mut self, number: u64) {
        let Some(index) = number.checked_sub(self.first) else { return };
        if let Some(remaining) = self.remaining.get_mut(index as usize) {
            *remaining = remaining.saturating_sub(1);
        }
        while self.remaining.front() == Some(&0) {
            self.remaining.pop_front();
            self.first += 1;
        }
    }
}
