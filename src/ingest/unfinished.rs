//! Bounds on a producer's unfinished line: in bytes, which count in the backlog, and in time.
//!
//! Unfinished lines have half of `ingest.backlog`. While they take more, a producer within a long line reads on only with
//! the turn, of which there is one. So one line can always end, and its bytes go to the rooms, which drain: producers that
//! hold half a line each never wait for each other in a circle. Should the turn's line stall as well, the producers that wait
//! have a stalled line given up, the first to stall first. Producers of short lines read little at a time, and need no turn.

use super::producer::Place;
use super::shared::{READ_BYTES, Shared};
use crate::config::WhenFull;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// A line that is no longer needs no turn, and a read is no longer while unfinished lines have no room. So they exceed
/// their share by twice this for each producer, and by one event.
const SHORT_BYTES: usize = 4096;
/// Growth of an unfinished line within `ingest.line_timeout`. A link that carries events of that size is faster.
pub(super) const PROGRESS_BYTES: usize = 64 * 1024;
/// How long a long line may stall while other lines wait for room. Bridges the usual trouble of a network.
const STALL: Duration = Duration::from_secs(10);
/// Freed bytes that are worth giving back to the system; less stays with the allocator.
const LARGE_BYTES: usize = 64 * 1024;

/// The kept part of a line that has begun to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its beginning.
    pub(super) place: Place,
    /// Bytes that have arrived.
    pub(super) bytes: usize,
    /// Bytes of memory that they take.
    pub(super) held: usize,
}

/// A producer's unfinished line, on the daemon's account. Its bytes and its turn are given back when dropped.
pub(super) struct Unfinished {
    shared: Rc<Shared>,
    kept: Kept,
    /// When the line began, or last made progress; between two lines, when something last arrived.
    since: Instant,
    /// Its bytes at `since`.
    from: usize,
    turn: Turn,
}

/// True if a producer has the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    /// It has not read since it took the turn.
    New,
    Used,
}

/// A producer's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Read so many bytes at most.
    Read(usize),
    /// Give its unfinished line up, since its listener sheds, and read on.
    Shed,
}

impl Kept {
    /// The first bytes of a stream that may be lines or HTTP.
    pub(super) fn opening(seen: &Vec<u8>) -> Kept {
        Kept { place: Place { line: 1, before: 0 }, bytes: seen.len(), held: seen.capacity() }
    }
}

impl Unfinished {
    pub(super) fn new(shared: Rc<Shared>) -> Unfinished {
        let kept = Kept { place: Place { line: 1, before: 0 }, bytes: 0, held: 0 };
        Unfinished { shared, kept, since: Instant::now(), from: 0, turn: Turn::None }
    }

    /// Notes what is kept after a read.
    pub(super) fn note(&mut self, kept: Kept) {
        let now = Instant::now();
        let is_new = kept.bytes == 0 || kept.place != self.kept.place;
        if is_new || kept.bytes >= self.from + PROGRESS_BYTES {
            self.since = now;
            self.from = kept.bytes;
        }
        if kept.held != self.kept.held {
            self.shared.gate.totals().change_unfinished(self.kept.held, kept.held);
            if self.kept.held > kept.held + LARGE_BYTES {
                self.shared.left_behind(self.kept.held);
            }
        }
        self.kept = kept;
        if is_new || self.kept.bytes <= SHORT_BYTES {
            self.give_turn();
        } else if self.turn == Turn::New {
            self.turn = Turn::Used;
        }
    }

    /// Notes that there was nothing to read after all.
    pub(super) fn note_nothing(&mut self) {
        if self.turn == Turn::New {
            self.give_turn();
        }
    }

    /// Bytes that have arrived of the line.
    pub(super) fn bytes(&self) -> usize {
        self.kept.bytes
    }

    /// Returns once the producer may go on. Time that it waits here is not its own. Cancel-safe.
    pub(super) async fn may_go_on(&mut self, when_full: WhenFull) -> Allowed {
        if let Some(next) = self.look(when_full) {
            return next;
        }
        let shared = self.shared.clone();
        let mut next = None;
        let look = || {
            next = self.look(when_full);
            next.is_some()
        };
        // Boxed: it is not there before the producer has to wait.
        Box::pin(shared.gate.totals().until(look)).await;
        self.since = Instant::now();
        self.from = self.kept.bytes;
        next.expect("it may go on")
    }

    fn look(&mut self, when_full: WhenFull) -> Option<Allowed> {
        let totals = self.shared.gate.totals();
        if when_full == WhenFull::Wait && totals.is_full() {
            None
        } else if self.turn != Turn::None || totals.has_room_for_unfinished() {
            Some(Allowed::Read(READ_BYTES))
        } else if self.kept.bytes <= SHORT_BYTES {
            Some(Allowed::Read(SHORT_BYTES))
        } else if totals.take_turn() {
            self.turn = Turn::New;
            self.since = Instant::now();
            self.from = self.kept.bytes;
            Some(Allowed::Read(READ_BYTES))
        } else if when_full == WhenFull::Shed {
            Some(Allowed::Shed)
        } else {
            totals.ask_for_room();
            None
        }
    }

    /// Returns when something should have arrived, and after how long: a producer that is quiet for `ingest.idle_timeout`
    /// between two lines, or a line without progress. Cancel-safe.
    pub(super) async fn late(&self) -> Duration {
        let (line_timeout, idle_timeout) = {
            let settings = self.shared.settings();
            (settings.line_timeout, settings.idle_timeout)
        };
        let patience = if self.kept.bytes == 0 { idle_timeout } else { Some(line_timeout) };
        let Some(patience) = patience else { return std::future::pending().await };
        // Boxed: it is not there unless a producer is within a line, or may be idle only for so long.
        Box::pin(async {
            tokio::select! {
                () = tokio::time::sleep_until(self.since + patience) => patience,
                stalled = self.in_the_way(patience.min(STALL)), if self.kept.bytes > SHORT_BYTES => stalled,
            }
        })
        .await
    }

    /// Returns when the line has stalled and other lines wait for room.
    async fn in_the_way(&self, stall: Duration) -> Duration {
        let totals = self.shared.gate.totals();
        tokio::time::sleep_until(self.since + stall).await;
        loop {
            totals.asked_for_room().await;
            if !totals.has_room_for_unfinished() {
                return stall;
            }
        }
    }

    fn give_turn(&mut self) {
        if std::mem::replace(&mut self.turn, Turn::None) != Turn::None {
            self.shared.gate.totals().give_turn();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.note(Kept { bytes: 0, held: 0, ..self.kept });
    }
}
