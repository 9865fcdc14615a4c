//! Bytes over all rooms: history, backlog, and who waits for backlog to shrink.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Sums over all rooms, changed by each room under its own lock.
#[derive(Debug, Default)]
pub struct Totals {
    history: AtomicI64,
    /// Backlog proper and what waits in buffers.
    backlog: AtomicI64,
    /// `ingest.backlog`.
    backlog_limit: AtomicU64,
    /// Rooms that hold events.
    pub(super) rooms: AtomicUsize,
    /// Whether a producer waits for backlog to shrink.
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
    pub(super) fn set_backlog_limit(&self, bytes: u64) {
        self.backlog_limit.store(bytes, Ordering::Relaxed);
        self.space.notify_waiters();
    }

    /// Bytes of history over all rooms, and of what their keys hold.
    pub fn history_bytes(&self) -> u64 {
        self.history.load(Ordering::Relaxed).max(0) as u64
    }

    /// Bytes of backlog over all rooms, and of what waits in buffers.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed).max(0) as u64
    }

    /// Rooms that hold events.
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Whether the backlog is at its bound.
    pub(super) fn is_full(&self) -> bool {
        self.backlog_bytes() >= self.backlog_limit.load(Ordering::Relaxed)
    }

    /// Returns when the backlog is below its bound. Cancel-safe: it holds nothing but its place in the queue.
    pub(super) async fn space(&self) {
        while self.is_full() {
            let notified = self.space.notified();
            tokio::pin!(notified);
            // Registered before the last look, so that a change in between is not missed.
            notified.as_mut().enable();
            self.waiting.store(true, Ordering::SeqCst);
            if self.is_full() {
                notified.await;
            }
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
                totals.waiting.store(false, Ordering::SeqCst);
                totals.space.notify_waiters();
            }
        }
    }
}
