//! `/metrics`: the daemon's series, and those of its rooms.

use super::busiest::busiest;
use super::slices::Slices;
use super::{Answer, text};
use crate::metrics::{Exposition, Metrics};
use crate::room::{RoomFigures, Rooms};

/// Rooms that have series of their own.
const ROOMS: usize = 1000;
/// What the others are called together. No room has this name: a `_` is fine in one, but this one is told apart by nobody.
const OTHER: &str = "_other";

pub(super) async fn answer(metrics: &Metrics, rooms: &Rooms) -> Answer {
    let mut out = Exposition::default();
    render(&mut out, rooms, ROOMS).await;
    text("text/plain; version=0.0.4; charset=utf-8", metrics.render() + &out.into_text())
}

/// A family of series by room.
type Family = (&'static str, &'static str, &'static str, fn(&RoomFigures) -> u64);

const FAMILIES: [Family; 9] = [
    ("broadcastd_room_published_total", "counter", "Events that got an offset.", |room| room.head),
    ("broadcastd_room_own_total", "counter", "Events of those that the daemon published itself.", |room| {
        room.own
    }),
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

/// Adds the families, of the busiest rooms by name and of the others as one. In slices: at ten thousand rooms it takes
/// milliseconds.
async fn render(out: &mut Exposition, rooms: &Rooms, most: usize) {
    let mut slices = Slices::new();
    let (mut count, mut sums) = (0, [0; FAMILIES.len()]);
    let shown = busiest(rooms, most, &mut slices, |_, figures| {
        count += 1;
        for (sum, (_, _, _, value)) in sums.iter_mut().zip(FAMILIES) {
            *sum += value(figures);
        }
        true
    });
    let shown = shown.await;
    for ((name, kind, help, value), mut others) in FAMILIES.into_iter().zip(sums) {
        out.family(name, kind, help);
        for seen in &shown {
            let value = value(&seen.figures);
            others -= value;
            out.sample(name, &[("room", seen.name())], value);
            slices.step().await;
        }
        if count > shown.len() {
            out.sample(name, &[("room", OTHER)], others);
        }
    }
}
