//! A look at every room, of which the busiest are kept: those with the most subscribers.

use super::slices::Slices;
use crate::room::{Room, RoomFigures, Rooms};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A room as it was seen. The greater comes later in a list.
pub(super) struct Seen {
    room: Arc<Room>,
    pub(super) figures: RoomFigures,
}

impl Seen {
    pub(super) fn name(&self) -> &str {
        self.room.name()
    }

    /// True if it holds events; else clients only subscribed to its name.
    pub(super) fn is_active(&self) -> bool {
        self.room.holds_events()
    }
}

/// Looks at every room. Returns at most `most` of those that `each` takes, in the order of their subscribers and names.
/// However many there are, no more than those are kept, and ten thousand are not put in order for the sake of a thousand.
pub(super) async fn busiest(
    rooms: &Rooms,
    most: usize,
    slices: &mut Slices,
    mut each: impl FnMut(&Room, &RoomFigures) -> bool,
) -> Vec<Seen> {
    let mut kept = BinaryHeap::with_capacity(most + 1);
    for part in 0..Rooms::PARTS {
        for room in rooms.of_part(part) {
            // Each is seen at one moment; subscribers come and go meanwhile.
            let figures = room.figures();
            slices.step().await;
            if !each(&room, &figures) {
                continue;
            }
            let seen = Seen { room, figures };
            if kept.len() < most {
                kept.push(seen);
            } else if let Some(mut last) = kept.peek_mut().filter(|last| seen < **last) {
                *last = seen;
            }
        }
    }
    let mut list = Vec::with_capacity(kept.len());
    while let Some(seen) = kept.pop() {
        list.push(seen);
        slices.step().await;
    }
    list.reverse();
    list
}

impl Ord for Seen {
    fn cmp(&self, other: &Seen) -> Ordering {
        let subscribers = other.figures.subscribers.cmp(&self.figures.subscribers);
        subscribers.then_with(|| self.name().cmp(other.name()))
    }
}

impl PartialOrd for Seen {
    fn partial_cmp(&self, other: &Seen) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Seen) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Seen {}
