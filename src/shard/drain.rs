//! Stopping a shard: deliver what there is, close every client, end.

use super::client::Client;
use super::shard::Shard;
use std::time::{Duration, Instant};

/// Clients are told to come back within this time, each at its own moment, so that they do not all come at once.
const RETRY_SPREAD_MS: u64 = 5000;
/// The earliest that a client is told to come back.
const RETRY_MS: u64 = 500;
/// What is left of the time for clients to answer their close frames.
const CLOSE_SHARE: u32 = 4;

/// How long a shard waits while no client takes or answers anything. With [`LOOK`] and the end of the process, stopping
/// takes less than a second then.
const PATIENCE: Duration = Duration::from_millis(750);
/// How often clients are asked how much they have taken.
const LOOK: Duration = Duration::from_millis(50);

/// A drain under way.
pub(super) struct Drain {
    deadline: Instant,
    /// Until when undelivered events are waited for.
    deliver_until: Instant,
    /// Every client is closed.
    closing: bool,
    unfinished: usize,
    next_look: Instant,
    /// Clients at the last look, and a sum that changes when one of them takes something.
    seen: (usize, u64),
    /// When clients last made progress.
    progress: Instant,
}

impl Drain {
    pub(super) fn new(deadline: Instant, now: Instant) -> Drain {
        let left = deadline.saturating_duration_since(now);
        let close = (left / CLOSE_SHARE).min(Duration::from_secs(2));
        Drain {
            deadline,
            deliver_until: deadline.checked_sub(close).unwrap_or(deadline),
            closing: false,
            unfinished: 0,
            next_look: now,
            seen: (0, 0),
            progress: now,
        }
    }
}

impl Shard {
    /// Goes on with a drain, if one is under way.
    pub(super) fn go_on_draining(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        let is_quiet =
            self.ready.is_empty() && self.held.is_empty() && self.catching.is_empty() && self.due.is_empty();
        let delivered = is_quiet && self.stats.levels.blocked == 0 && self.stats.levels.behind == 0;
        if !drain.closing && (delivered || self.now >= drain.deliver_until) {
            drain.closing = true;
            drain.unfinished += self.close_where(|_| true);
        }
        if self.now >= drain.next_look {
            drain.next_look = self.now + LOOK;
            if is_quiet {
                // Nothing more comes for them.
                self.close_where(|client| !client.is_unfinished());
            }
            let taken =
                self.clients.iter().fold(0, |sum: u64, (_, client)| sum.wrapping_add(client.socket.taken()));
            let seen = (self.clients.len(), taken);
            if seen != drain.seen {
                (drain.seen, drain.progress) = (seen, self.now);
            }
        }
        if self.now >= drain.progress + PATIENCE {
            drain.progress = self.now;
            drain.unfinished += self.leave_behind_stalled();
        }
        self.stopped |= (drain.closing && self.clients.is_empty()) || self.now >= drain.deadline;
        self.drain = Some(drain);
    }

    /// Clients that had something undelivered when they were closed.
    pub(super) fn unfinished(&self) -> usize {
        let open =
            self.clients.iter().filter(|(_, client)| !client.closing && client.is_unfinished()).count();
        self.drain.as_ref().map_or(0, |drain| drain.unfinished) + open
    }

    /// Closes the clients of a kind that are not closing. Returns how many had something undelivered.
    fn close_where(&mut self, is_meant: impl Fn(&Client) -> bool) -> usize {
        let meant = |(_, client): &(usize, &Client)| !client.closing && is_meant(client);
        let chosen: Vec<(u32, u64, bool)> = self
            .clients
            .iter()
            .filter(meant)
            .map(|(key, client)| (key as u32, client.number, client.is_unfinished()))
            .collect();
        for (client, number, _) in &chosen {
            self.close_stopping(*client, *number);
        }
        chosen.iter().filter(|(.., is_unfinished)| *is_unfinished).count()
    }

    /// Forgets clients whose sockets are full, and those that do not answer their close frames. Others may still be served:
    /// a pass that was held for the forgotten ones goes on. Returns how many had something undelivered and were not closed.
    fn leave_behind_stalled(&mut self) -> usize {
        let unfinished = self.close_where(|client| client.blocked);
        let closing: Vec<u32> =
            self.clients.iter().filter(|(_, client)| client.closing).map(|(key, _)| key as u32).collect();
        for client in closing {
            // An answer may have come while the shard did something else.
            self.readable(client);
            if self.clients.contains(client as usize) {
                self.gone(client, 1006);
            }
        }
        unfinished
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
