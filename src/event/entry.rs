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
}

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
