//! The way from ingest to rooms: one read's events, gathered by room and published at once.

use super::Rooms;
use crate::config::IngestListenConfig;
use crate::event::Event;
use crate::route::{Outcome, Rejection, Routes, Scratch};
use std::sync::Arc;

/// An ingest thread's way to the rooms. Not shared between threads.
pub struct Publisher {}

/// What became of a read's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Copies that rooms took.
    pub published: u64,
    /// Events refused because `limits.rooms` is reached, in all their rooms.
    pub too_many_rooms: u64,
}

impl Publisher {
    /// A publisher to these rooms.
    pub fn new(_rooms: Arc<Rooms>) -> Publisher {
        todo!()
    }

    /// Takes the generation in force for one read of one listener, whose place in `config.ingest.listen` is
    /// `listener` and returns its routes. Call [`stage`](Self::stage) for each event, then [`commit`](Self::commit).
    pub fn begin(&mut self, _listener: usize) -> Arc<Routes> {
        todo!()
    }

    /// The next daemon-wide event number.
    pub fn number(&self) -> u64 {
        todo!()
    }

    /// Puts an event of the current read aside for each of its rooms. False when `limits.rooms` keeps it out of all of
    /// them: the event is refused with `too_many_rooms`.
    pub fn stage(&mut self, _event: Event, _scratch: &Scratch) -> bool {
        let _ = (
            std::mem::size_of::<Outcome>(),
            std::mem::size_of::<Rejection>(),
            std::mem::size_of::<IngestListenConfig>(),
        );
        todo!()
    }

    /// Publishes what was staged, room by room, and wakes the shards that have subscriptions there.
    pub fn commit(&mut self) {
        todo!()
    }

    /// Whether the backlog is at its bound: `when_full` decides what the listener does before its next read.
    pub fn is_full(&self) -> bool {
        todo!()
    }

    /// Returns when the backlog is below its bound again. Cancel-safe.
    pub async fn space(&self) {
        todo!()
    }
}
