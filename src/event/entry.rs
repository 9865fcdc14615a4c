//! An event at its place in a log.

use super::Event;

/// Events of one batch at most: what a client gets as one message.
pub const BATCH_EVENTS: usize = 64;

/// An event at its place in a log; its offset is its place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event.
    pub event: Event,
    /// Whether it belongs to a batch.
    pub batch: Batch,
    /// Which key of its room it is of.
    pub key: KeyId,
}

// A log has millions of them. What an entry has beside the event fits behind it.
const _: () = assert!(size_of::<Entry>() == 24);

/// A room's number for a key, so that whoever asks for the newest of every key compares numbers and parses nothing.
/// Numbers rise, and within a room none is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub u32);

/// Where an event stands in the batch that a buffer flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// In no batch.
    Single,
    /// More of its batch follow.
    More,
    /// The last of its batch.
    Last,
}

impl Entry {
    /// An event in no batch.
    pub fn single(event: Event, key: KeyId) -> Entry {
        Entry { event, batch: Batch::Single, key }
    }
}

impl KeyId {
    /// Of an event without the key's fields, and of every event of a room without a key: it stands for itself.
    pub const NONE: KeyId = KeyId(0);

    /// The number after this one. After four thousand million keys they begin anew, with nothing left that has the old
    /// ones.
    #[must_use]
    pub fn next(self) -> KeyId {
        KeyId(self.0.checked_add(1).unwrap_or(1))
    }
}
