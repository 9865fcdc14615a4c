//! Following another configuration: limits of clients that are connected, rooms that are gone.

use super::heartbeat::BEATS;
use super::shard::Shard;
use super::view::View;
use crate::wire::{Gap, GapReason, Wire, push_gap, push_unsubscribed, without_id};
use std::time::Duration;

/// Sockets that get other limits in one turn.
const REFITTED: usize = 256;
/// Subscriptions to a room that is gone that are ended in one turn.
const ENDED: usize = 256;
/// How long those who are behind in a room that is gone are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// What clients are told of a room that is gone.
const ROOM_CLOSED: &str = "room_closed";

impl Shard {
    /// Follows the generation in force. What is looked up at every use needs nothing.
    pub(super) fn reconfigure(&mut self) {
        let generation = self.parts.rooms.generation();
        let heartbeat = generation.config.server.heartbeat;
        if heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.next_beat = self.now + heartbeat / BEATS as u32;
        }
        self.deliveries = generation.limits.client.deliveries;
        self.over_deliveries = generation.limits.client.over_deliveries;
        self.tells_clients = generation.config.sources.alerts.clients;
        self.refitting = Some(0);
    }

    /// Gives some of the sockets the limits in force.
    pub(super) fn refit_some(&mut self) {
        let Some(start) = self.refitting else { return };
        let limits = self.client_limits();
        let end = (start + REFITTED).min(self.clients.capacity());
        for key in start..end {
            if let Some(client) = self.clients.get(key) {
                // A socket that refuses is gone, which reading will find.
                let _ = client.socket.fit(&limits);
            }
        }
        let any_left = end < self.clients.capacity() && !self.clients.is_empty();
        self.refitting = any_left.then_some(end);
    }

    /// The configuration no longer has a seat's room: its readers get what is in it, and are unsubscribed.
    pub(super) fn begin_removal(&mut self, seat: u32) {
        if self.removed.iter().all(|(removed, _)| *removed != seat) {
            self.removed.push((seat, self.now + PATIENCE));
        }
    }

    /// Unsubscribes those who have had everything of rooms that are gone; after a while everybody.
    pub(super) fn go_on_removing(&mut self) {
        let mut budget = ENDED;
        for (seat, until) in std::mem::take(&mut self.removed) {
            let ended = self.now >= until;
            // The seat goes with its last subscription. Nobody gets its place meanwhile: only messages of clients make
            // seats, and those are not read here.
            if self.seats.contains(seat as usize) && !self.unsubscribe_seat(seat, ended, &mut budget) {
                self.removed.push((seat, until));
            }
        }
    }

    /// True when nobody is left in the room.
    fn unsubscribe_seat(&mut self, seat: u32, everybody: bool, budget: &mut usize) -> bool {
        let room = std::sync::Arc::clone(&self.seats[seat as usize].room);
        if !room.is_removed() {
            // Another room has the seat's place.
            return true;
        }
        super::pass::write_room_json(&mut self.room_json, room.name());
        let room_json = std::mem::take(&mut self.room_json);
        let mut is_empty = true;
        for view in self.seats[seat as usize].views.clone() {
            let state = &self.views[view as usize];
            let is_through = !state.grown && state.pass().is_none() && !state.ready && !state.keeps_back();
            let live = if is_through || everybody { state.live as usize } else { 0 };
            let all = if everybody { state.members.len() } else { live };
            let chosen: Vec<_> = state.members.iter().take(all).take(*budget).copied().collect();
            is_empty &= chosen.len() == state.members.len();
            *budget -= chosen.len();
            // From the end, so that places that are still to come do not move.
            for member in chosen.into_iter().rev() {
                self.end_subscription(member.client, view, &room_json);
            }
        }
        self.room_json = room_json;
        is_empty
    }

    /// Ends a client's subscription to a view of a room that is gone.
    fn end_subscription(&mut self, client: u32, view: u32, room_json: &[u8]) {
        let Some(state) = self.clients.get(client as usize) else { return };
        let Some(index) = state.subscriptions.iter().position(|subscription| subscription.view == view)
        else {
            return;
        };
        let subscription = &state.subscriptions[index];
        let View { cursor, seat, ref shape, wire, .. } = self.views[view as usize];
        let epoch = self.seats[seat as usize].room.epoch();
        // Of a snapshot nobody knows how many events were left.
        let is_counted = shape.is_none() && subscription.snapshot_to == 0;
        let behind = (!subscription.live && subscription.position < cursor).then_some(subscription.position);
        self.remove_member(client, index as u32);
        let mut out = Vec::new();
        if let Some(position) = behind {
            let missed = is_counted.then_some(cursor - position);
            let (first, reason) = (position + 1, GapReason::RoomClosed);
            let mut gap = Vec::new();
            let told = Gap { room_json, epoch, first, offset: cursor, missed, reason, snapshot: false };
            push_gap(wire.without_positions(), &mut gap, told);
            // The room is no part of the client's position any more, and its other rooms must stay part of it.
            out.extend_from_slice(without_id(&gap));
            self.parts.metrics.gap(GapReason::RoomClosed, missed.unwrap_or(0));
        }
        let last = out.len();
        match wire {
            Wire::SocketIo(socketio) => {
                self.push_room_closed(client, socketio.namespace(), room_json, &mut out);
            }
            _ => push_unsubscribed(wire, &mut out, None, &[room_json], &[], Some(ROOM_CLOSED)),
        }
        self.tell_positions(client, &mut out, last);
        self.answer(client, &out);
        self.end_if_alone(client);
    }
}
