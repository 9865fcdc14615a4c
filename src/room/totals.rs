//! Bytes over all rooms: history, backlog with the producers' unfinished lines, and the producers that wait for space.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Sums over all rooms, changed by each room under its own lock.
#[derive(Debug, Default)]
pub struct Totals {
    history: AtomicI64,
    /// Backlog proper and what waits in buffers.
    backlog: AtomicI64,
    /// Bytes of lines that have begun to arrive.
    unfinished: AtomicU64,
    /// True if a producer has the turn to read beyond the share of unfinished lines.
    turn: AtomicBool,
    /// Asks the line that stalled first to make room.
    room_asked: Notify,
    /// `ingest.backlog`.
    backlog_limit: AtomicU64,
    /// Rooms that hold events.
    pub(super) rooms: AtomicUsize,
    /// True if a producer waits.
    waiting: AtomicBool,
    space: Notify,
}

/// What a room holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Bytes of history and of keys.
    pub(super) history: u64,
    /// Bytes of backlog proper and of what waits in its buffer.
    pub(super) backlog: u64,
}

/// A change of one room's bytes, between two looks at it.
pub(super) struct Change<'a> {
    totals: &'a Totals,
    before: Held,
}

impl Totals {
    /// Sets `ingest.backlog`.
    pub(crate) fn set_backlog_limit(&self, bytes: u64) {
        self.backlog_limit.store(bytes, Ordering::Relaxed);
        self.space.notify_waiters();
    }

    /// Bytes of history over all rooms, and of what their keys hold.
    pub fn history_bytes(&self) -> u64 {
        self.history.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes of backlog over all rooms, of what waits in buffers, and of unfinished lines.
    pub fn backlog_bytes(&self) -> u64 {
        self.rooms_backlog() + self.unfinished.load(Ordering::Relaxed)
    }

    /// Rooms that hold events.
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// True if the backlog is at its bound. Unfinished lines count up to their share, so the rooms always have the rest,
    /// which shards drain.
    pub(crate) fn is_full(&self) -> bool {
        let limit = self.backlog_limit.load(Ordering::Relaxed);
        let unfinished = self.unfinished.load(Ordering::Relaxed).min(limit / 2);
        self.rooms_backlog() + unfinished >= limit
    }

    /// True if unfinished lines take less than their share, half of the bound.
    pub(crate) fn has_room_for_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Relaxed) < self.backlog_limit.load(Ordering::Relaxed) / 2
    }

    /// Notes that a producer's unfinished line takes `now` bytes, which took `before`.
    pub(crate) fn change_unfinished(&self, before: usize, now: usize) {
        if now > before {
            self.unfinished.fetch_add((now - before) as u64, Ordering::SeqCst);
        } else if now < before {
            self.unfinished.fetch_sub((before - now) as u64, Ordering::SeqCst);
            self.wake();
        }
    }

    /// Takes the one turn to finish a line beyond the share. False while another producer has it.
    pub(crate) fn take_turn(&self) -> bool {
        !self.turn.swap(true, Ordering::SeqCst)
    }

    /// Gives the turn to whichever producer asks next.
    pub(crate) fn give_turn(&self) {
        self.turn.store(false, Ordering::SeqCst);
        self.wake();
    }

    /// Has one stalled line given up, now or when one has stalled.
    pub(crate) fn ask_for_room(&self) {
        self.room_asked.notify_one();
    }

    /// Returns when a stalled line should look whether it is in the way. Cancel-safe; in the order of calls.
    pub(crate) async fn asked_for_room(&self) {
        self.room_asked.notified().await;
    }

    /// Returns once `may_go` is true, which is asked again whenever bytes or the turn are given back. Cancel-safe unless
    /// `may_go` is not: this holds nothing but its place in the queue.
    pub(crate) async fn until(&self, mut may_go: impl FnMut() -> bool) {
        while !may_go() {
            let notified = self.space.notified();
            tokio::pin!(notified);
            // Registered before the last look, so that a change in between is not missed.
            notified.as_mut().enable();
            self.waiting.store(true, Ordering::SeqCst);
            if may_go() {
                return;
            }
            notified.await;
        }
    }

    fn rooms_backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed).max(0) as u64
    }

    /// Wakes every producer that waits.
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) && self.waiting.swap(false, Ordering::SeqCst) {
            self.space.notify_waiters();
        }
    }

    /// Looks at a room before it changes.
    pub(super) fn change(&self, before: Held) -> Change<'_> {
        Change { totals: self, before }
    }
}

impl Change<'_> {
    /// Looks at the room again and adds the difference.
    pub(super) fn apply(self, now: Held) {
        let totals = self.totals;
        let history = now.history as i64 - self.before.history as i64;
        if history != 0 {
            totals.history.fetch_add(history, Ordering::Relaxed);
        }
        let backlog = now.backlog as i64 - self.before.backlog as i64;
        if backlog != 0 {
            totals.backlog.fetch_add(backlog, Ordering::SeqCst);
            if backlog < 0 && totals.waiting.load(Ordering::SeqCst) && !totals.is_full() {
                totals.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn totals(limit: u64) -> Totals {
        let totals = Totals::default();
        totals.set_backlog_limit(limit);
        totals
    }

    #[test]
    fn unfinished_lines_count_up_to_half_of_the_backlog() {
        let totals = totals(100);
        totals.change_unfinished(0, 1000);
        assert_eq!(totals.backlog_bytes(), 1000);
        assert!(!totals.has_room_for_unfinished() && !totals.is_full(), "rooms have their half");
        totals.change(Held::default()).apply(Held { history: 0, backlog: 50 });
        assert!(totals.is_full());
        totals.change_unfinished(1000, 49);
        assert!(totals.has_room_for_unfinished() && !totals.is_full());
    }

    #[tokio::test]
    async fn waiting_producers_wake_when_bytes_or_the_turn_are_given_back() {
        let totals = totals(100);
        totals.change_unfinished(0, 50);
        assert!(totals.take_turn());
        let mut waiting = Box::pin(totals.until(|| totals.has_room_for_unfinished() || totals.take_turn()));
        assert!((&mut waiting).now_or_never().is_none());
        totals.give_turn();
        assert!((&mut waiting).now_or_never().is_some());
        let mut waiting = Box::pin(totals.until(|| totals.has_room_for_unfinished() || totals.take_turn()));
        assert!((&mut waiting).now_or_never().is_none());
        totals.change_unfinished(50, 49);
        assert!((&mut waiting).now_or_never().is_some());
    }
}
