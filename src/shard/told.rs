//! Telling clients where they are, where no event says so: a filter or a pace let nothing pass on the way.
//!
//! A subscription becomes live only once its client was told a position as far as the view's cursor, so that a client knows
//! that it has caught up; and of what the room had when it subscribed the client is told as soon as the view has passed it.
//! How far a live one comes after that without an event is told with the heartbeat.

use super::catch_up::Reader;
use super::gathered::{Gathered, push_told};
use super::pass::write_room_json;
use super::shard::Shard;
use crate::wire::{Position, SocketIo, Wire, push_position};

impl Shard {
    /// Notes that a new subscription's client was told a head that its view has not come to yet, and is to be told when it
    /// has. Where everything is sent an event will say so.
    pub(super) fn await_head(&mut self, client: u32, index: u32, head: u64) {
        let subscription = &mut self.clients[client as usize].subscriptions[index as usize];
        let view = &mut self.views[subscription.view as usize];
        if let Some(shape) = &mut view.shape
            && view.cursor < head
            && (subscription.position < head || subscription.snapshot_to > 0)
        {
            subscription.awaits = true;
            shape.awaited = shape.awaited.max(head);
        }
    }

    /// A view's pass has ended: tells those who await it that it has come so far, unless an event did.
    pub(super) fn tell_awaited(&mut self, view: u32) {
        let state = &mut self.views[view as usize];
        let Some(shape) = &mut state.shape else { return };
        if shape.awaited == 0 || state.cursor < shape.awaited {
            return;
        }
        let awaited = std::mem::take(&mut shape.awaited);
        let by_event = shape.told >= awaited;
        let mut untold = Vec::new();
        for member in &state.members {
            let state = &mut self.clients[member.client as usize];
            let subscription = &mut state.subscriptions[member.subscription as usize];
            // Who is behind is told on the way to the cursor.
            let is_told = by_event || !subscription.live || subscription.position >= awaited;
            if std::mem::take(&mut subscription.awaits) && !is_told {
                untold.push(*member);
            }
        }
        let mut out = Vec::new();
        for member in untold {
            out.clear();
            self.push_where(member.client, member.subscription, &mut out);
            if self.clients[member.client as usize].wire.has_ids() {
                out.clear();
                self.push_all_positions(member.client, &mut out);
            }
            self.answer(member.client, &out);
        }
    }

    /// Appends where a live subscription is, which its client knows then.
    pub(super) fn push_where(&mut self, client: u32, index: u32, out: &mut Vec<u8>) {
        let subscription = &mut self.clients[client as usize].subscriptions[index as usize];
        let view = &self.views[subscription.view as usize];
        let offset = view.cursor;
        subscription.position = offset;
        if let Wire::SocketIo(_) = view.wire {
            let mut gathered = self.begin_gathering(client);
            self.gather_position(client, index, offset, &mut gathered);
            out.extend_from_slice(&gathered.bytes);
            self.gathered = gathered;
            return;
        }
        let room = &self.seats[view.seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        let position = Position { epoch: room.epoch(), offset };
        push_position(view.wire, out, &self.room_json, position);
    }

    /// Where a client of Socket.IO is in all of its rooms of a namespace, as its events there end with it; none where that is
    /// not told. A room to which a snapshot leads is not in it before its end.
    pub(super) fn positions_in(&self, client: u32, wire: SocketIo) -> Option<String> {
        if !wire.tells_positions() {
            return None;
        }
        let mut text = Vec::new();
        let positions = self.positions_of(&self.clients[client as usize]);
        push_told(positions.filter(|at| at.namespace == Some(wire.namespace())), b"", &mut text);
        String::from_utf8(text).ok()
    }

    /// Adds where a subscription of a client of Socket.IO is, with the positions of its other rooms, if positions are told.
    fn gather_position(&mut self, client: u32, index: u32, offset: u64, gathered: &mut Gathered) {
        let view = self.clients[client as usize].subscriptions[index as usize].view;
        let view = &self.views[view as usize];
        if view.wire.tells_all_positions() {
            let room = &self.seats[view.seat as usize].room;
            write_room_json(&mut self.room_json, room.name());
            let mut frame = Vec::new();
            push_position(view.wire, &mut frame, &self.room_json, Position { epoch: room.epoch(), offset });
            gathered.frame(index, &frame);
        }
    }

    /// Adds where the readers of a client are that have arrived at their views' cursors without being told: a message for
    /// each, or one `id` that tells all of the client's positions.
    pub(super) fn gather_arrived(&mut self, client: u32, arrived: &[Reader], gathered: &mut Gathered) {
        let wire = self.clients[client as usize].wire;
        if let Wire::SocketIo(_) = wire {
            for reader in arrived {
                self.gather_position(client, reader.index, reader.position, gathered);
                gathered.mark_told(reader.index, reader.position);
            }
            return;
        }
        if !gathered.push_positions() {
            for reader in arrived {
                let room = &self.seats[self.views[reader.view as usize].seat as usize].room;
                write_room_json(&mut self.room_json, room.name());
                let position = Position { epoch: room.epoch(), offset: reader.position };
                push_position(wire, &mut gathered.bytes, &self.room_json, position);
                gathered.mark_told(reader.index, reader.position);
            }
            return;
        }
        for reader in arrived {
            gathered.mark_told(reader.index, reader.position);
        }
    }
}
