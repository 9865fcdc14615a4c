//! Pacing: a client that gets more events a second than `limits.client.deliveries` allows waits, at its place in the log,
//! or is closed.
//!
//! A paced client is one that is behind and may not be served yet. It costs what every client behind costs: a position.

use super::shard::Shard;
use crate::config::{OverDeliveries, Rate};
use crate::limits::Bucket;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Who waits until when (in the shard's milliseconds), by place and number.
#[derive(Debug, Default)]
pub(super) struct Paced(BinaryHeap<Reverse<(u64, u32, u64)>>);

impl Paced {
    /// When the first may go on.
    pub(super) fn first_due_ms(&self) -> Option<u64> {
        self.0.peek().map(|Reverse((due_ms, _, _))| *due_ms)
    }
}

impl Shard {
    /// The limit in force. A shard that stops delivers what there is.
    fn deliveries_limit(&self) -> Option<Rate> {
        self.deliveries.filter(|_| self.drain.is_none())
    }

    /// Whether a client must wait, or is closed, before it is sent more.
    pub(super) fn is_over_deliveries(&mut self, client: u32) -> bool {
        let Some(rate) = self.deliveries_limit() else { return false };
        let now_ms = self.elapsed_ms();
        let bucket = self.deliveries_bucket(client, rate, now_ms);
        let wait_ms = bucket.wait_ms(1, rate, now_ms);
        if wait_ms == 0 {
            return false;
        }
        self.stats.rate_limited += 1;
        match self.over_deliveries {
            OverDeliveries::Pace => self.pace(client, now_ms + wait_ms),
            OverDeliveries::Disconnect => self.close(client, 4002, "delivery_rate", None),
        }
        true
    }

    /// Counts events that a client was sent.
    pub(super) fn spend_deliveries(&mut self, client: u32, events: u64) {
        let Some(rate) = self.deliveries_limit() else { return };
        let now_ms = self.elapsed_ms();
        self.deliveries_bucket(client, rate, now_ms).spend(events as u32, rate, now_ms);
    }

    fn deliveries_bucket(&mut self, client: u32, rate: Rate, now_ms: u64) -> &mut Bucket {
        self.clients[client as usize].extra().deliveries.get_or_insert_with(|| Bucket::new(rate, now_ms))
    }

    fn pace(&mut self, client: u32, due_ms: u64) {
        self.leave_all_live(client);
        let state = &mut self.clients[client as usize];
        state.paced = true;
        for subscription in &mut state.subscriptions {
            // No pass is held for who is kept back by us.
            subscription.laggard |= !subscription.live;
        }
        self.paced.0.push(Reverse((due_ms, client, state.number)));
    }

    /// Lets those go on whose time has come.
    pub(super) fn wake_paced(&mut self) {
        let now_ms = if self.drain.is_some() { u64::MAX } else { self.elapsed_ms() };
        while self.paced.first_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            let Some(Reverse((_, client, number))) = self.paced.0.pop() else { return };
            // It may have gone, and another have its place.
            let state = self.clients.get_mut(client as usize).filter(|state| state.number == number);
            if let Some(state) = state {
                state.paced = false;
                self.promote(client);
            }
        }
    }

    /// How long the shard may sleep because of those who wait.
    pub(super) fn until_paced(&self) -> Duration {
        let now_ms = self.elapsed_ms();
        self.paced
            .first_due_ms()
            .map_or(Duration::MAX, |due_ms| Duration::from_millis(due_ms.saturating_sub(now_ms)))
    }
}
