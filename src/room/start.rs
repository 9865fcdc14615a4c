//! Where in a room's log a reader begins.

use super::room::{Room, Tail};
use crate::time::Moment;
use crate::wire::From;

/// A place to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first event is a later one.
    pub position: u64,
    /// Whether this is exactly after the position that was asked for.
    pub resumed: bool,
    /// The log began anew since the position that was asked for: from which offset it can have events.
    pub began_anew: Option<u64>,
}

impl Room {
    /// The place that `from` names in a log with this tail.
    pub fn start(&self, tail: Tail, from: &From) -> Start {
        self.start_at(tail, from, Moment::to_search)
    }

    /// The same at a moment.
    pub(super) fn start_at(&self, tail: Tail, from: &From, now: impl FnOnce() -> Moment) -> Start {
        let oldest = tail.first - 1;
        let since = |ms| self.offset_before(ms).clamp(oldest, tail.head);
        let at = |position| Start { position, resumed: false, began_anew: None };
        match *from {
            From::Now => at(tail.head),
            From::Start => at(oldest),
            From::Last(count) => at(tail.head.saturating_sub(count).max(oldest)),
            From::SinceMs(wall_ms) => at(since(now().log_of(wall_ms))),
            From::Ago(ms) => at(since(now().log_ms.saturating_sub(ms))),
            From::After(position) if position.epoch == tail.epoch && position.offset <= tail.head => {
                Start { position: position.offset, resumed: position.offset >= oldest, began_anew: None }
            }
            From::After(_) => Start { position: oldest, resumed: false, began_anew: Some(tail.first) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{EVENT, room, rooms, stage};
    use super::super::{Publisher, ReadLimit, Tail};
    use super::*;
    use crate::wire::{Epoch, Position};
    use std::sync::Arc;

    #[test]
    fn a_subscription_begins_where_it_asked_or_says_why_not() {
        let rooms = rooms(vec![room("all", |room| room.history.events = 4)]);
        let mut publisher = Publisher::new(Arc::clone(&rooms));
        stage(&mut publisher, &[EVENT; 10]);
        publisher.commit();
        let (room, _, tail) = rooms.register("all", 0, 0).unwrap();
        assert_eq!((tail.first, tail.head), (7, 10));
        let begin = |position, resumed| Start { position, resumed, began_anew: None };
        let after = |offset| From::After(Position { epoch: tail.epoch, offset });
        for (from, expected) in [
            (From::Now, begin(10, false)),
            (From::Start, begin(6, false)),
            (From::Last(0), begin(10, false)),
            (From::Last(3), begin(7, false)),
            (From::Last(4), begin(6, false)),
            (From::Last(9), begin(6, false)),
            (From::Last(u64::MAX), begin(6, false)),
            (after(10), begin(10, true)),
            (after(6), begin(6, true)),
            (after(5), begin(5, false)),
        ] {
            assert_eq!(room.start(tail, &from), expected, "{from:?}");
        }
        let anew = Start { position: 6, resumed: false, began_anew: Some(7) };
        let other = From::After(Position { epoch: Epoch(tail.epoch.0 ^ 1), offset: 8 });
        for from in [after(11), other] {
            assert_eq!(room.start(tail, &from), anew, "{from:?}");
        }
    }

    #[test]
    fn an_interest_begins_after_the_events_it_had_in_an_earlier_life() {
        let rooms = rooms(vec![room("a:{a}", |_| {})]);
        rooms.remember("a:1", Epoch(5), 7);
        let (room, _, tail) = rooms.register("a:1", 0, 0).unwrap();
        assert_eq!(tail, Tail { epoch: Epoch(5), head: 7, first: 8 });
        assert_eq!((room.log_first(), room.history_first(), room.offset_before(0)), (8, 8, 7));
        for (after, first) in [(0, 8), (7, 8), (9, 10)] {
            let limit = ReadLimit { events: 9, bytes: 99, overhead: 0, at_least_one: true };
            assert_eq!(room.read(after, limit, &mut Vec::new()), first);
            assert_eq!(room.take(0, after, limit, &mut Vec::new(), &mut 0), (first, 0, 7));
            let keys = room.read_keys(after, 8, limit, &mut Vec::new());
            assert_eq!((keys.to, keys.is_all), (after.max(8), true));
        }
    }
}
