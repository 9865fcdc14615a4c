//! What is counted of a room beside its log, and the room at one moment.

use super::body::Body;
use super::room::Tail;
use crate::wire::Epoch;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What shards have done with a room, added to once a pass or send.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events sent, once for each client.
    pub delivered: AtomicU64,
    /// Events that a filter left out, once for each filter and shard.
    pub skipped: AtomicU64,
    /// Gaps told to clients.
    pub gaps: AtomicU64,
}

/// A tally that is there once there is something to count: an interest is to stay small.
#[derive(Debug, Default)]
pub(super) struct LazyTally(OnceLock<Box<Tally>>);

/// A room at one moment, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFigures {
    /// This life of its log.
    pub epoch: Epoch,
    /// Offset of the newest event: how many got one.
    pub head: u64,
    /// How many of those the daemon published itself, since it started.
    pub own: u64,
    /// Offset of the oldest event of history, or of the next one.
    pub first: u64,
    /// Bytes of history, and of what keys hold.
    pub history_bytes: u64,
    /// Keys of which the newest event is kept.
    pub keys: usize,
    /// Events that wait in its buffer.
    pub buffered: usize,
    /// Batches that its buffer was flushed in.
    pub batches: u64,
    /// Subscriptions.
    pub subscribers: u32,
    /// Events sent, once for each client.
    pub delivered: u64,
    /// Events that a filter left out.
    pub skipped: u64,
    /// Gaps told to clients.
    pub gaps: u64,
}

impl LazyTally {
    pub(super) fn get(&self) -> &Tally {
        self.0.get_or_init(Box::default)
    }

    fn of(&self, count: fn(&Tally) -> &AtomicU64) -> u64 {
        self.0.get().map_or(0, |tally| count(tally).load(Ordering::Relaxed))
    }
}

impl RoomFigures {
    /// Of a log's tail, of what the room has, if anything was published, and of what shards counted.
    pub(super) fn of(tail: Tail, body: Option<&Body>, subscribers: u32, tally: &LazyTally) -> RoomFigures {
        RoomFigures {
            epoch: tail.epoch,
            head: tail.head,
            own: body.map_or(0, Body::own),
            first: tail.first,
            history_bytes: body.map_or(0, |body| body.held().history),
            keys: body.and_then(|body| body.keys.as_ref()).map_or(0, |keys| keys.len()),
            buffered: body.map_or(0, |body| body.buffer.len()),
            batches: body.map_or(0, |body| body.batches),
            subscribers,
            delivered: tally.of(|tally| &tally.delivered),
            skipped: tally.of(|tally| &tally.skipped),
            gaps: tally.of(|tally| &tally.gaps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Publisher;
    use super::super::fixture::{EVENT, room, rooms, stage};
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_room_tells_what_it_holds_and_what_shards_did() {
        let rooms = rooms(vec![room("all", |room| room.history.events = 2)]);
        let (all, _, tail) = rooms.register("all", 0, 0).unwrap();
        all.joined();
        all.joined();
        assert!(all.holds_events() && all.subscribers() == 2);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[EVENT; 3]);
        publisher.commit();
        all.left();
        for (count, add) in [(&all.tally().delivered, 5), (&all.tally().skipped, 6), (&all.tally().gaps, 7)] {
            count.fetch_add(add, Ordering::Relaxed);
        }
        let figures = all.figures();
        assert_eq!((figures.epoch, figures.head, figures.first), (tail.epoch, 3, 2));
        assert_eq!(figures.history_bytes, rooms.totals().history_bytes());
        assert!(rooms.totals().backlog_bytes() > 0, "the shard has not read the first");
        assert_eq!((figures.keys, figures.buffered, figures.batches, figures.subscribers), (0, 0, 0, 1));
        assert_eq!((figures.delivered, figures.skipped, figures.gaps), (5, 6, 7));
    }
}
