//! Stopping a shard: deliver what there is, close every client, end.

use super::shard::Shard;
use std::time::{Duration, Instant};

/// Clients are told to come back within this time, each at its own moment, so that they do not all come at once.
const RETRY_SPREAD_MS: u64 = 5000;
/// The earliest that a client is told to come back.
const RETRY_MS: u64 = 500;
/// What is left of the time for clients to answer their close frames.
const CLOSE_SHARE: u32 = 4;

/// A drain under way.
pub(super) struct Drain {
    deadline: Instant,
    /// Until when undelivered events are waited for.
    deliver_until: Instant,
    closing: bool,
    unfinished: usize,
}

impl Drain {
    pub(super) fn new(deadline: Instant) -> Drain {
        let left = deadline.saturating_duration_since(Instant::now());
        let close = (left / CLOSE_SHARE).min(Duration::from_secs(2));
        Drain {
            deadline,
            deliver_until: deadline.checked_sub(close).unwrap_or(deadline),
            closing: false,
            unfinished: 0,
        }
    }
}

impl Shard {
    /// Goes on with a drain, if one is under way.
    pub(super) fn go_on_draining(&mut self) {
        let Some(drain) = &self.drain else { return };
        let (deadline, deliver_until, closing) = (drain.deadline, drain.deliver_until, drain.closing);
        let delivered = self.ready.is_empty()
            && self.held.is_empty()
            && self.catching.is_empty()
            && self.stats.levels.blocked == 0
            && self.stats.levels.behind == 0;
        if !closing && (delivered || self.now >= deliver_until) {
            let unfinished = self.clients.iter().filter(|(_, client)| client.is_unfinished()).count();
            if let Some(drain) = &mut self.drain {
                drain.closing = true;
                drain.unfinished = unfinished;
            }
            self.close_all();
        }
        self.stopped |= (closing && self.clients.is_empty()) || self.now >= deadline;
    }

    /// Clients that had something undelivered when they were closed.
    pub(super) fn unfinished(&self) -> usize {
        let now = self.clients.iter().filter(|(_, client)| client.is_unfinished()).count();
        self.drain.as_ref().filter(|drain| drain.closing).map_or(now, |drain| drain.unfinished)
    }

    fn close_all(&mut self) {
        let keys: Vec<u32> = self.clients.iter().map(|(key, _)| key as u32).collect();
        let count = keys.len().max(1) as u64;
        for (index, client) in keys.into_iter().enumerate() {
            let retry_after_ms = RETRY_MS + index as u64 * RETRY_SPREAD_MS / count;
            self.close(client, 1001, "the daemon is stopping", Some(retry_after_ms));
        }
    }
}
