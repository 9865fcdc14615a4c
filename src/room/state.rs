//! A room's state: what its lock guards.

use super::body::Body;
use super::room::Policy;
use super::seats::Seats;
use super::totals::Totals;
use crate::config::RoomConfig;
use std::sync::Arc;

/// There is something to do for each sweep, and for none.
pub(super) const ALWAYS_DUE: u32 = 0;
const NEVER_DUE: u32 = u32::MAX;

/// What of a room is behind its lock.
pub(super) struct State {
    /// What the configuration says of the room, and in which generation.
    pub(super) config: Arc<RoomConfig>,
    pub(super) serial: u32,
    /// Offset that the log goes on after, while there is none.
    pub(super) head: u64,
    pub(super) body: Option<Box<Body>>,
    pub(super) seats: Seats,
    /// Closed rooms are out of the registry; whoever still publishes to one looks the name up again.
    pub(super) closed: bool,
    /// Closed because the configuration no longer has the name: readers get what is in it, and leave.
    pub(super) removed: bool,
}

impl State {
    /// Of an interest, where reading after `after` begins: an interest that goes on where a room was given up has nothing
    /// of what came before.
    pub(super) fn first_after(&self, after: u64) -> u64 {
        after.max(self.head) + 1
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_empty())
    }

    /// The second of log time before which a sweep has nothing to do.
    pub(super) fn due_s(&mut self) -> u32 {
        if self.is_empty() {
            // Nobody reads it and nothing is in it: it can be given up as soon as nobody holds it.
            return if self.seats.is_empty() { ALWAYS_DUE } else { NEVER_DUE };
        }
        let due_ms = self.body.as_mut().and_then(|body| body.due_ms(&self.config));
        due_ms.map_or(NEVER_DUE, |due_ms| u32::try_from(due_ms / 1000).unwrap_or(NEVER_DUE))
    }

    /// Takes another generation's policy over. A buffer that is not what it was is flushed.
    pub(super) fn adopt(&mut self, policy: Policy, now_ms: u64, totals: &Totals) {
        let (old, new) = (&self.config, &policy.config);
        let same = old.buffer == new.buffer && old.key == new.key && old.urgent == new.urgent;
        if let (false, Some(body)) = (same, &mut self.body) {
            let change = totals.change(body.held());
            body.flush(now_ms);
            change.apply(body.held());
        }
        if let Some(body) = &mut self.body {
            let change = totals.change(body.held());
            body.follow(&self.config, &policy.config, policy.keys);
            change.apply(body.held());
        }
        (self.config, self.serial) = (policy.config, policy.serial);
    }

    /// Lets everything go: nobody reads the room, and nobody can find it.
    pub(super) fn empty(&mut self, totals: &Totals) {
        if let Some(mut body) = self.body.take() {
            let change = totals.change(body.held());
            self.head = body.log.head();
            *body = Body::new(self.head, &self.config, 0);
            change.apply(body.held());
        }
    }

    /// Lets go of backlog that every shard has passed.
    pub(super) fn release(&mut self, totals: &Totals) {
        if let Some(body) = &mut self.body {
            let change = totals.change(body.held());
            body.release(self.seats.passed());
            change.apply(body.held());
        }
    }
}
