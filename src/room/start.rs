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
