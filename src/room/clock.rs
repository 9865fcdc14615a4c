//! What rooms do by time: buffers are flushed, history grows too old, rooms are reclaimed.

use super::room::Room;
use super::rooms::Rooms;
use crate::time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long it takes to sweep all rooms once. History may be older than its limit by that much in a room that nobody
/// publishes to.
const SWEEP: Duration = Duration::from_secs(1);

/// Flushes to come, one at most for each room.
#[derive(Default)]
pub(super) struct Clock {
    state: Mutex<Flushes>,
    changed: Condvar,
}

#[derive(Default)]
struct Flushes {
    due: BinaryHeap<Reverse<Due>>,
    stopped: bool,
}

struct Due {
    at: Instant,
    room: Arc<Room>,
}

impl Clock {
    /// Has a room's buffer flushed at a time.
    pub(super) fn flush_at(&self, at: Instant, room: Arc<Room>) {
        let mut flushes = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = flushes.due.peek().is_none_or(|Reverse(due)| at < due.at);
        flushes.due.push(Reverse(Due { at, room }));
        drop(flushes);
        if first {
            self.changed.notify_one();
        }
    }
}

impl Rooms {
    /// Keeps the rooms' time until [`stop_clock`](Self::stop_clock). Runs on a thread of its own: it takes rooms' locks
    /// one after the other.
    pub fn run_clock(&self) {
        let step = SWEEP / Rooms::PARTS as u32;
        let mut part = 0;
        let mut next_sweep = Instant::now() + step;
        let sign = self.metrics().liveness.thread("clock");
        while let Some(due) = self.wait(next_sweep) {
            sign.turned(Instant::now());
            self.flush(due, false);
            let now = Instant::now();
            if now >= next_sweep {
                time::notice_sleep();
                self.sweep(part, time::log_ms(now));
                part = (part + 1) % Rooms::PARTS;
                next_sweep = Instant::now() + step;
                self.report();
            }
        }
    }

    /// Ends [`run_clock`](Self::run_clock).
    pub fn stop_clock(&self) {
        self.clock.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.clock.changed.notify_all();
    }

    /// Flushes every buffer now.
    pub fn flush_all(&self) {
        self.flush(self.all(), true);
    }

    /// Sweeps every room as if it were another time.
    #[cfg(test)]
    pub(crate) fn sweep_at(&self, now_ms: u64) {
        (0..Rooms::PARTS).for_each(|part| self.sweep(part, now_ms));
    }

    fn flush(&self, rooms: Vec<Arc<Room>>, force: bool) {
        let mut tokens = Vec::new();
        for room in rooms {
            let now = Instant::now();
            let at = (now, time::log_ms(now));
            if let Some(at) = room.flush_due(at, force, &self.totals, &mut tokens) {
                self.clock.flush_at(at, room);
            }
        }
        self.ring(&mut tokens);
    }

    /// Waits until buffers are due, or `until`. None when the clock was stopped.
    fn wait(&self, until: Instant) -> Option<Vec<Arc<Room>>> {
        let mut flushes = self.clock.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !flushes.stopped {
            let now = Instant::now();
            let next = flushes.due.peek().map_or(until, |Reverse(due)| due.at.min(until));
            if next <= now {
                let mut rooms = Vec::new();
                while flushes.due.peek().is_some_and(|Reverse(due)| due.at <= now) {
                    rooms.extend(flushes.due.pop().map(|Reverse(due)| due.room));
                }
                return Some(rooms);
            }
            let waited = self.clock.changed.wait_timeout(flushes, next - now);
            flushes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    fn report(&self) {
        self.metrics.rooms.set(self.totals.rooms() as f64);
        self.metrics.interests.set(self.interests() as f64);
        self.metrics.history_bytes.set(self.totals.history_bytes() as f64);
        self.metrics.backlog_bytes.set(self.totals.backlog_bytes() as f64);
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests;
