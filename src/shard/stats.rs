//! A shard's own figures: plain integers, added to the daemon's once a turn.

use crate::metrics::{Metrics, ShardFigures};
use crate::wire::Transport;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What happened since the last turn, and what there is now.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) deliveries: u64,
    pub(super) sends: u64,
    pub(super) short_sends: u64,
    pub(super) passes: u64,
    pub(super) holds: u64,
    pub(super) lock_wait_ns: u64,
    pub(super) pass_events: u64,
    pub(super) rate_limited: u64,
    /// Events that clients of Socket.IO emitted and nobody knows.
    pub(super) ignored_emits: u64,
    /// Levels as they are now.
    pub(super) levels: Levels,
    told: Levels,
}

/// Figures that go up and down. The daemon's gauge is the sum over shards, so that changes are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// By transport, in the order of [`Transport::ALL`].
    pub(super) clients: [i64; Transport::ALL.len()],
    pub(super) blocked: i64,
    pub(super) behind: i64,
    pub(super) pinned_bytes: i64,
    pub(super) chunk_bytes: i64,
}

impl Stats {
    /// Notes a turn that took so long, and when it ended.
    pub(super) fn turned(&mut self, took: Duration, ended: Instant, figures: &ShardFigures) {
        let took_ns = took.as_nanos() as u64;
        // Only the shard writes, but for the longest turn, which a reader sets back.
        figures.sign.turned(ended);
        figures.busy_ns.fetch_add(took_ns, Ordering::Relaxed);
        figures.longest_turn_ns.fetch_max(took_ns, Ordering::Relaxed);
        if self.lock_wait_ns > 0 {
            figures.lock_wait_ns.fetch_add(std::mem::take(&mut self.lock_wait_ns), Ordering::Relaxed);
        }
        if self.pass_events > 0 {
            figures.pass_events.fetch_add(std::mem::take(&mut self.pass_events), Ordering::Relaxed);
        }
    }

    /// Adds everything to the daemon's figures.
    pub(super) fn publish(&mut self, metrics: &Metrics) {
        if self.sends > 0
            || self.passes > 0
            || self.rate_limited > 0
            || self.ignored_emits > 0
            || self.holds > 0
        {
            metrics.deliveries.fetch_add(std::mem::take(&mut self.deliveries), Ordering::Relaxed);
            metrics.sends.increment(std::mem::take(&mut self.sends));
            metrics.short_sends.increment(std::mem::take(&mut self.short_sends));
            metrics.passes.increment(std::mem::take(&mut self.passes));
            metrics.holds.increment(std::mem::take(&mut self.holds));
            metrics.rate_limited.increment(std::mem::take(&mut self.rate_limited));
            metrics.ignored_emits.increment(std::mem::take(&mut self.ignored_emits));
        }
        if self.levels != self.told {
            let (now, told) = (self.levels, self.told);
            for transport in Transport::ALL {
                let change = now.clients[transport as usize] - told.clients[transport as usize];
                if change != 0 {
                    metrics.add_clients(transport, change);
                }
            }
            metrics.clients_blocked.add(now.blocked - told.blocked);
            metrics.subscriptions_catching_up.increment((now.behind - told.behind) as f64);
            metrics.pinned_bytes.increment((now.pinned_bytes - told.pinned_bytes) as f64);
            metrics.chunk_bytes.increment((now.chunk_bytes - told.chunk_bytes) as f64);
            self.told = now;
        }
    }
}
