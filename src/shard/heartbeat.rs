//! Heartbeats: who is still there, and where those are to whom nothing is sent.

use super::client::Subscription;
use super::shard::{BEATS, Shard};
use crate::config::Rate;
use crate::wire::{Position, Wire, frame, push_position};

/// Heartbeats without a word before a client counts as gone: one may pass before it is asked, one is its answer's.
const SILENT_BEATS: u8 = 2;
/// Slow clients that a shard names in the log: each once, and no more than these.
pub(super) const SLOW_LOG: Rate = Rate { per_second: 0.2, burst: 10 };

impl Shard {
    /// Looks at the clients of one step: asks who is silent, and gives up who stays so.
    pub(super) fn heartbeat(&mut self, step: usize) {
        let capacity = self.clients.capacity();
        let elapsed_ms = self.elapsed_ms();
        let heartbeat_ms = self.heartbeat.as_millis() as u64;
        for key in (step..capacity).step_by(BEATS) {
            let Some(state) = self.clients.get_mut(key) else { continue };
            if state.closing {
                continue;
            }
            let lacks = |subscription: &Subscription| {
                subscription.lacks(self.views[subscription.view as usize].cursor)
            };
            let furthest = state.subscriptions.iter().map(lacks).max();
            self.behind_events = furthest.unwrap_or(0).max(self.behind_events);
            if state.blocked && !state.named_slow && self.slow_log.take(1, SLOW_LOG, elapsed_ms) {
                state.named_slow = true;
                let address = state.socket.peer().map(|address| address.to_string());
                let client = format!("{:x}", state.number);
                tracing::warn!(
                    client,
                    address,
                    unsent_bytes = state.pinned_bytes(),
                    "client reads too slowly"
                );
            }
            // A blocked client is not asked; that its socket drains is an answer as good.
            if state.blocked && state.stalled_ms(elapsed_ms) < heartbeat_ms {
                state.silent_beats = 0;
                continue;
            }
            // Who cannot speak is known to be there by the kernel, which waits for acknowledgements; that it reads is not.
            let is_silent = state.blocked || state.wire == Wire::WebSocket;
            state.silent_beats = if is_silent { state.silent_beats + 1 } else { 0 };
            if state.silent_beats > SILENT_BEATS {
                self.gone(key as u32, 1006);
            } else if !state.blocked {
                self.beat(key as u32);
            }
        }
    }

    /// Sends a ping, and where a filter or a pace lets nothing pass, how far the subscription has come all the same.
    fn beat(&mut self, client: u32) {
        if let Wire::SocketIo(_) = self.clients[client as usize].wire {
            return self.tell_positions(client);
        }
        let mut out = Vec::new();
        let wire = self.clients[client as usize].wire;
        for subscription in &mut self.clients[client as usize].subscriptions {
            let view = &self.views[subscription.view as usize];
            let Some(shape) = &view.shape else { continue };
            let moved = subscription.position < view.cursor || subscription.untold;
            if subscription.live && view.pass().is_none() && shape.told < view.cursor && moved {
                let room = &self.seats[view.seat as usize].room;
                super::pass::write_room_json(&mut self.room_json, room.name());
                let position = Position { epoch: room.epoch(), offset: view.cursor };
                push_position(wire, &mut out, &self.room_json, position);
                subscription.position = view.cursor;
                subscription.untold = false;
            }
        }
        if wire.tells_all_positions() && !out.is_empty() {
            out.clear();
            self.push_all_positions(client, &mut out);
        }
        match wire {
            Wire::WebSocket => frame::push_control(&mut out, frame::PING, b""),
            Wire::Sse(_) | Wire::Lines { .. } | Wire::SocketIo(_) => wire.push_heartbeat(&mut out),
        }
        self.answer(client, &out);
    }

    /// Tells a client of Socket.IO how far its subscriptions have come where nothing passed, together with the positions of its
    /// other rooms. Its pings come at times of their own.
    fn tell_positions(&mut self, client: u32) {
        let mut gathered = self.begin_gathering(client);
        let mut frame = Vec::new();
        for index in 0..self.clients[client as usize].subscriptions.len() {
            let subscription = &mut self.clients[client as usize].subscriptions[index];
            let view = &self.views[subscription.view as usize];
            let Some(shape) = &view.shape else { continue };
            let moved = subscription.position < view.cursor || subscription.untold;
            let tells = matches!(view.wire, Wire::SocketIo(socketio) if socketio.tells_positions());
            if tells && subscription.live && view.pass().is_none() && shape.told < view.cursor && moved {
                let room = &self.seats[view.seat as usize].room;
                super::pass::write_room_json(&mut self.room_json, room.name());
                let position = Position { epoch: room.epoch(), offset: view.cursor };
                frame.clear();
                push_position(view.wire, &mut frame, &self.room_json, position);
                gathered.frame(index as u32, &frame);
                subscription.position = view.cursor;
                subscription.untold = false;
            }
        }
        self.answer(client, &gathered.bytes);
        self.gathered = gathered;
    }
}
