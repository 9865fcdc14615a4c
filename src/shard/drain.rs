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
            && self.due.is_empty()
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

    /// Closes a client whose handshake ended after everybody was closed: the shard would wait for it until the deadline.
    pub(super) fn end_if_late(&mut self, client: u32) {
        let is_late = self.drain.as_ref().is_some_and(|drain| drain.closing);
        if let Some(state) = self.clients.get(client as usize).filter(|_| is_late) {
            let number = state.number;
            self.close_stopping(client, number);
        }
    }

    fn close_stopping(&mut self, client: u32, number: u64) {
        self.close(client, 1001, "the daemon is stopping", Some(retry_after_ms(number)));
    }

    fn close_all(&mut self) {
        let clients: Vec<(u32, u64)> =
            self.clients.iter().map(|(key, client)| (key as u32, client.number)).collect();
        for (client, number) in clients {
            self.close_stopping(client, number);
        }
    }
}

/// When the client with this number is told to come back. Multiples of the golden ratio, without their whole part, lie
/// as far apart as they can, whichever clients are left and whichever shard they are in.
pub(super) fn retry_after_ms(number: u64) -> u64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let share = u128::from(number.wrapping_mul(GOLDEN)) * u128::from(RETRY_SPREAD_MS);
    RETRY_MS + (share >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_to_come_back_are_spread_evenly() {
        let mut moments: Vec<u64> = (100..200).map(retry_after_ms).collect();
        moments.sort_unstable();
        assert!(moments[0] >= RETRY_MS && moments[99] < RETRY_MS + RETRY_SPREAD_MS);
        let widest = moments.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest <= Some(3 * RETRY_SPREAD_MS / 100), "{moments:?}");
    }
}
