//! Heartbeats: who is still there, and where those are to whom nothing is sent.

use super::client::Subscription;
use super::shard::Shard;
use crate::config::Rate;
use crate::wire::{Wire, frame};
use std::sync::atomic::Ordering;

/// Into how many steps a heartbeat is divided: each client is looked at in one of them.
pub(super) const BEATS: usize = 64;
/// Clients that are asked in one turn: sends to all of a step, of which there are hundreds where clients are many, would keep
/// events waiting for milliseconds.
const ASKED: usize = 32;

/// Heartbeats that a full socket may take nothing: one may pass before it is looked at.
const STALLED_BEATS: u8 = 2;
/// Heartbeats that a client's answers may be late. A system that is gone is known earlier: it does not acknowledge pings
/// (`TCP_USER_TIMEOUT`).
const LATE_BEATS: u8 = 5;
/// Beats of a client that has not said anything yet: one may pass before it is asked, one is its answer's.
pub(super) const UNHEARD: u8 = LATE_BEATS - 2;
/// Slow clients that a shard names in the log: each once, and no more than these.
pub(super) const SLOW_LOG: Rate = Rate { per_second: 0.2, burst: 10 };

impl Shard {
    /// Begins a step when its time has come, and goes on with one that has begun.
    pub(super) fn keep_beat(&mut self) {
        if self.asking.is_none() && self.now >= self.next_beat {
            self.next_beat = self.now + self.heartbeat / BEATS as u32;
            self.beat = (self.beat + 1) % BEATS;
            if self.beat == 0 {
                let furthest = std::mem::take(&mut self.behind_events);
                self.figures.behind_events.store(furthest, Ordering::Relaxed);
            }
            self.asking = Some(self.beat);
        }
        if let Some(first) = self.asking {
            self.asking = self.ask_some(first, ASKED);
        }
    }

    /// Looks at a step's clients from one on, `most` of them. Returns the next one, if there are more.
    fn ask_some(&mut self, first: usize, most: usize) -> Option<usize> {
        let (mut asked, mut out) = (0, Vec::new());
        for key in (first..self.clients.capacity()).step_by(BEATS) {
            if !self.clients.contains(key) {
                continue;
            }
            if asked == most {
                return Some(key);
            }
            asked += 1;
            out.clear();
            self.ask(key, &mut out);
        }
        None
    }

    /// Looks at a client: asks it if it is silent, and gives it up if it stays so. `out` is empty, and kept for its memory.
    fn ask(&mut self, key: usize, out: &mut Vec<u8>) {
        let elapsed_ms = self.elapsed_ms();
        let heartbeat_ms = self.heartbeat.as_millis() as u64;
        let state = &mut self.clients[key];
        if state.closing {
            return;
        }
        let lacks =
            |subscription: &Subscription| subscription.lacks(self.views[subscription.view as usize].cursor);
        let furthest = state.subscriptions.iter().map(lacks).max();
        self.behind_events = furthest.unwrap_or(0).max(self.behind_events);
        if state.blocked && !state.named_slow && self.slow_log.take(1, SLOW_LOG, elapsed_ms) {
            state.named_slow = true;
            let address = state.socket.peer().map(|address| address.to_string());
            let client = format!("{:x}", state.number);
            tracing::warn!(client, address, unsent_bytes = state.pinned_bytes(), "client reads too slowly");
        }
        // A blocked client is not asked; that its socket drains is an answer as good.
        if state.blocked && state.stalled_ms(elapsed_ms) < heartbeat_ms {
            state.silent_beats = 0;
            return;
        }
        // Who cannot speak is known to be there by the kernel, which waits for acknowledgements; that it reads is not.
        let is_silent = state.blocked || state.wire == Wire::WebSocket;
        state.silent_beats = if is_silent { state.silent_beats + 1 } else { 0 };
        let most = if state.blocked { STALLED_BEATS } else { LATE_BEATS };
        if state.silent_beats > most {
            let is_there = self.shows_life(key as u32);
            let Some(state) = self.clients.get_mut(key).filter(|state| !state.closing) else { return };
            if !is_there {
                return self.gone(key as u32, 1006);
            }
            state.silent_beats = 0;
        }
        if !self.clients[key].blocked {
            self.beat(key as u32, out);
        }
        let Some(state) = self.clients.get_mut(key) else { return };
        // Until the one that judges it.
        match most.wrapping_sub(state.silent_beats) {
            1 => state.note_acknowledged(out.len()),
            0 => state.extra().acknowledged += out.len() as u64,
            _ => {}
        }
    }

    /// True if a client that seems to be silent is there all the same. It may be the shard that is late, so that what it
    /// has sent is read first, and what it may be ready for is sent. Or it takes what it is sent, and its answers wait
    /// behind that. Who is known to be gone by then is not in the shard any more.
    pub(super) fn shows_life(&mut self, client: u32) -> bool {
        if self.readable(client) {
            return true;
        }
        let Some(state) = self.clients.get(client as usize) else { return false };
        if state.blocked {
            self.drained(client);
        }
        let now_ms = self.elapsed_ms();
        let Some(state) = self.clients.get_mut(client as usize) else { return false };
        state.stalled_ms(now_ms) == 0 || state.has_acknowledged() || state.polls_all()
    }

    /// Sends a ping, and where a filter or a pace lets nothing pass, how far the subscription has come all the same.
    fn beat(&mut self, client: u32, out: &mut Vec<u8>) {
        let wire = self.clients[client as usize].wire;
        for index in 0..self.clients[client as usize].subscriptions.len() as u32 {
            let subscription = &self.clients[client as usize].subscriptions[index as usize];
            let view = &self.views[subscription.view as usize];
            let Some(shape) = &view.shape else { continue };
            let moved = subscription.position < view.cursor;
            if subscription.live && view.pass().is_none() && shape.told < view.cursor && moved {
                self.push_where(client, index, out);
            }
        }
        if wire.has_ids() && !out.is_empty() {
            out.clear();
            self.push_all_positions(client, out);
        }
        match wire {
            Wire::WebSocket => frame::push_control(out, frame::PING, b""),
            Wire::Sse(_) | Wire::Lines { .. } | Wire::SocketIo(_) => wire.push_heartbeat(out),
        }
        self.answer(client, out);
    }
}

#[cfg(test)]
#[path = "tests/heartbeat.rs"]
mod tests;
