//! `/metrics`: the daemon's series, and those of its rooms.

use super::{Answer, text};
use crate::metrics::{Exposition, Metrics};
use crate::room::{Room, RoomFigures, Rooms};
use std::sync::Arc;

/// Rooms that have series of their own.
const ROOMS: usize = 1000;
/// What the others are called together. No room has this name: a `_` is fine in one, but this one is told apart by nobody.
const OTHER: &str = "_other";

pub(super) fn answer(metrics: &Metrics, rooms: &Rooms) -> Answer {
    let mut out = Exposition::default();
    render(&mut out, &rooms.all(), ROOMS);
    text("text/plain; version=0.0.4; charset=utf-8", metrics.render() + &out.into_text())
}

/// A family of series by room.
type Family = (&'static str, &'static str, &'static str, fn(&RoomFigures) -> u64);

const FAMILIES: [Family; 8] = [
    ("broadcastd_room_published_total", "counter", "Events that got an offset.", |room| room.head),
    ("broadcastd_room_delivered_total", "counter", "Events sent, once for each client.", |room| {
        room.delivered
    }),
    ("broadcastd_room_subscribers", "gauge", "Subscriptions.", |room| u64::from(room.subscribers)),
    ("broadcastd_room_history_events", "gauge", "Events kept for late and returning clients.", |room| {
        room.head + 1 - room.first
    }),
    ("broadcastd_room_history_bytes", "gauge", "Bytes of those.", |room| room.history_bytes),
    ("broadcastd_room_batches_total", "counter", "Batches that a buffer was flushed in.", |room| {
        room.batches
    }),
    (
        "broadcastd_room_skipped_total",
        "counter",
        "Events that a filter left out, once for each filter and shard.",
        |room| room.skipped,
    ),
    ("broadcastd_room_gaps_total", "counter", "Gaps told to clients.", |room| room.gaps),
];

fn render(out: &mut Exposition, rooms: &[Arc<Room>], most: usize) {
    // By what was seen of each at one moment: subscribers come and go meanwhile.
    let mut seen: Vec<(&str, RoomFigures)> = rooms.iter().map(|room| (room.name(), room.figures())).collect();
    let order = |a: &(&str, RoomFigures), b: &(&str, RoomFigures)| {
        b.1.subscribers.cmp(&a.1.subscribers).then_with(|| a.0.cmp(b.0))
    };
    if seen.len() > most {
        // Ten thousand names are not put in order for the sake of the first thousand.
        seen.select_nth_unstable_by(most, order);
    }
    let (shown, others) = seen.split_at_mut(rooms.len().min(most));
    shown.sort_unstable_by(order);
    for (name, kind, help, value) in FAMILIES {
        out.family(name, kind, help);
        for (room, figures) in &*shown {
            out.sample(name, &[("room", room)], value(figures));
        }
        if !others.is_empty() {
            out.sample(
                name,
                &[("room", OTHER)],
                others.iter().map(|(_, figures)| value(figures)).sum::<u64>(),
            );
        }
    }
}
