//! Passes: what is new in a view, encoded once and sent to every live member.
//!
//! A pass is cut into slices, between which the shard serves its sockets and other rooms. While it sends, more events
//! gather in the room, and the next pass sends them together: batching arises under load by itself.

use super::shard::Shard;
use super::socket::Sent;
use super::view::{Active, Pass, View};
use crate::config::RoomConfig;
use crate::room::{ReadLimit, Room};
use crate::time::awake_ms_since;
use crate::view::{CHUNK_BYTES, Emit, Encoder};
use crate::wire::Wire;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Sends of one slice. In tests few, so that passes of few members last over several slices, and overlap.
const SLICE_SENDS: usize = if cfg!(test) { 12 } else { 256 };
/// Time of one slice.
const SLICE_TIME: Duration = Duration::from_millis(2);
/// Sends of a view's pass before another view has its turn.
const TURN_SENDS: usize = if cfg!(test) { 3 } else { 64 };
/// Of so many sends, one is for a client who catches up.
const CATCH_UP_SHARE: usize = 4;
/// Events that one pass encodes at most.
const PASS_EVENTS: usize = 4096;
/// With less room than that left, a chunk is full.
const CHUNK_ROOM: usize = 4 << 10;

/// What one slice may still do.
struct Budget {
    sends: usize,
    until: Instant,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.sends == 0 || Instant::now() >= self.until
    }
}

impl Shard {
    /// Spends one slice on passes and on those who catch up, who get a quarter of the sends while there are both.
    pub(super) fn slice(&mut self) {
        let mut budget = Budget { sends: SLICE_SENDS, until: Instant::now() + SLICE_TIME };
        while !budget.is_spent() {
            let views = self.ready.len();
            if views == 0 && self.catching.is_empty() {
                return;
            }
            let mut served = 0;
            if let Some(view) = self.ready.pop_front() {
                served = self.serve_view(view, &mut budget);
            }
            let share = if views == 0 { TURN_SENDS } else { (served / (CATCH_UP_SHARE - 1)).max(1) };
            for _ in 0..share {
                let Some(client) = self.catching.pop_front() else { break };
                budget.sends = budget.sends.saturating_sub(1);
                self.catch_up(client);
            }
        }
    }

    /// Begins or goes on with a view's pass. Returns how many sends it took.
    fn serve_view(&mut self, view: u32, budget: &mut Budget) -> usize {
        // The view may have gone while it was in the queue, or another may have its place.
        let Some(state) = self.views.get_mut(view as usize) else { return 0 };
        state.ready = false;
        if state.pass().is_none() && !self.begin_pass(view) {
            return 0;
        }
        let most = budget.sends.min(TURN_SENDS);
        let mut served = 0;
        while served < most {
            if self.send_next(view) {
                self.end_pass(view);
                budget.sends -= served;
                return served;
            }
            served += 1;
        }
        budget.sends -= served;
        self.make_ready(view);
        served
    }

    /// Encodes what is new in a view. False when there is nothing, or the pass is held.
    fn begin_pass(&mut self, view: u32) -> bool {
        if self.views[view as usize].every().is_some() {
            return self.begin_paced_pass(view);
        }
        let state = &mut self.views[view as usize];
        let active = state.active.get_or_insert_with(|| self.actives.pop().unwrap_or_default());
        let (cursor, seat) = (state.cursor, state.seat);
        let room_name_bytes = self.seats[seat as usize].room.name().len();
        let mut limit = ReadLimit {
            events: PASS_EVENTS,
            bytes: 0,
            overhead: state.wire.overhead() + 2 * room_name_bytes,
            at_least_one: false,
        };
        let room_left = active.kept.last().map_or(0, |chunk| CHUNK_BYTES.saturating_sub(chunk.bytes.len()));
        limit.bytes = if room_left >= CHUNK_ROOM { room_left } else { 0 };
        self.entries.clear();
        let mut taken = self.take(view, cursor, limit);
        if self.entries.is_empty() {
            if !self.views[view as usize].grown {
                self.settle(view);
                return false;
            }
            // What is new needs another chunk.
            if self.must_hold(view) {
                return false;
            }
            limit = ReadLimit { bytes: CHUNK_BYTES, at_least_one: true, ..limit };
            taken = self.take(view, cursor, limit);
            self.begin_chunk(view);
        }
        self.encode(view, taken);
        true
    }

    /// Reads what is new. What the limit left over keeps the view in the queue. Returns the first event's offset, and when
    /// it was flushed, as [`Room::take`] does.
    pub(super) fn take(&mut self, view: u32, after: u64, limit: ReadLimit) -> (u64, u64) {
        let state = &mut self.views[view as usize];
        let room = &self.seats[state.seat as usize].room;
        let (first, flushed_ms, head) =
            room.take(self.parts.index, after, limit, &mut self.entries, &mut self.stats.lock_wait_ns);
        state.grown = head >= first + self.entries.len() as u64;
        (first, flushed_ms)
    }

    pub(super) fn begin_chunk(&mut self, view: u32) {
        let state = &mut self.views[view as usize];
        let cursor = state.cursor;
        let chunk = self.pool.take();
        state.active.as_mut().expect("a view in a pass is active").kept.push(chunk, cursor);
    }

    fn encode(&mut self, view: u32, (first, flushed_ms): (u64, u64)) {
        let View { wire, seat, shape, active, .. } = &mut self.views[view as usize];
        let room = &self.seats[*seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        let (filter, skipped) = match shape {
            None => (None, 0),
            Some(shape) => (shape.filter.as_deref(), shape.skipped),
        };
        let active: &mut Active = active.as_mut().expect("a view in a pass is active");
        let chunk = active.kept.last_mut().expect("a pass has begun a chunk");
        let (frame, start) = (chunk.frames.len(), chunk.bytes.len());
        let (config, room_json) = (emitting(*wire, room), &self.room_json);
        let emit = Emit::of(config.as_deref());
        let encoder = Encoder { wire: *wire, room_json, epoch: room.epoch(), filter, emit };
        let skipped = encoder.live(chunk, &self.entries, first, skipped);
        let left_out = self.entries.len() as u64 - chunk.events_in(frame..chunk.frames.len());
        // Events in a buffer wait on purpose until the flush.
        let due_ms = self.entries.first().map_or(0, |entry| entry.event.accepted_at_ms()).max(flushed_ms);
        let to = first + self.entries.len() as u64 - 1;
        self.entries.clear();
        self.begin_sending(view, (frame, start), to, (skipped, left_out), Some(due_ms));
        self.note_passed(view);
    }

    /// Begins the pass of what was encoded in a view's last chunk, from a frame and its first byte on, and leads to an
    /// offset. `skipped` is what was left out since the last frame, and `left_out` what was of these events.
    pub(super) fn begin_sending(
        &mut self,
        view: u32,
        (frame, start): (usize, usize),
        to: u64,
        (skipped, left_out): (u64, u64),
        due_ms: Option<u64>,
    ) {
        let state = &mut self.views[view as usize];
        let active = state.active.as_mut().expect("a view in a pass is active");
        let chunk = active.kept.last_mut().expect("a pass has begun a chunk");
        chunk.enclose(state.wire.transfer(), frame);
        let events = chunk.events_in(frame..chunk.frames.len());
        let end = chunk.bytes.len();
        self.stats.levels.chunk_bytes += (end - start) as i64;
        self.stats.pass_events += events;
        if let Some(shape) = &mut state.shape {
            let room = &self.seats[state.seat as usize].room;
            room.tally().skipped.fetch_add(left_out, Ordering::Relaxed);
            shape.told = chunk.frames.last().map_or(0, |last| last.last).max(shape.told);
            shape.skipped = skipped;
        }
        let from = state.cursor;
        self.passes_begun += 1;
        let number = self.passes_begun;
        let (next, delivered) = (0, 0);
        active.pass = Some(Pass { number, frame, start, end, from, next, events, delivered, due_ms });
        state.cursor = to;
        self.passing += 1;
    }

    /// Tells the room how far every view of the shard has come, so that backlog can go.
    fn note_passed(&self, view: u32) {
        self.note_seat_passed(self.views[view as usize].seat);
    }

    /// Tells a seat's room how far every view of the shard has come.
    pub(super) fn note_seat_passed(&self, seat: u32) {
        let seat = &self.seats[seat as usize];
        let passed = seat.views.iter().map(|view| self.views[*view as usize].passed()).min();
        seat.room.pass(self.parts.index, passed.unwrap_or(u64::MAX), self.parts.rooms.totals());
    }

    /// Sends a pass's bytes to its next member. True when there is none left.
    fn send_next(&mut self, view: u32) -> bool {
        // The last member may have gone since, and the view with it.
        let Some(state) = self.views.get_mut(view as usize) else { return true };
        let Some(active) = &mut state.active else { return true };
        let Some(pass) = &mut active.pass else { return true };
        if pass.next >= state.live || pass.start == pass.end {
            return true;
        }
        let member = state.members[pass.next as usize];
        let client = &mut self.clients[member.client as usize];
        let subscription = &mut client.subscriptions[member.subscription as usize];
        if subscription.served {
            subscription.served = false;
            pass.next += 1;
            return false;
        }
        let joins = self.passing > 1 && client.subscriptions.len() > 1;
        let composes = client.tells_other_rooms();
        if self.deliveries.is_some() && self.is_over_deliveries(member.client) {
            return false;
        }
        if composes {
            self.send_composed(member.client, view);
            return false;
        }
        if joins {
            self.send_joined(member.client, view);
            return false;
        }
        let state = &mut self.views[view as usize];
        let active = state.active.as_mut().expect("a view in a pass is active");
        let pass = active.pass.as_mut().expect("the view is in a pass");
        let client = &mut self.clients[member.client as usize];
        let chunk = active.kept.last().expect("a pass has a chunk");
        self.stats.sends += 1;
        match client.socket.send(&chunk.bytes[pass.start..pass.end]) {
            Sent::Bytes(sent) if sent == pass.end - pass.start => {
                self.stats.deliveries += pass.events;
                pass.delivered += pass.events;
                pass.next += 1;
                if self.deliveries.is_some() {
                    let events = pass.events;
                    self.spend_deliveries(member.client, events);
                }
            }
            Sent::Bytes(sent) => self.fall_behind(member.client, member.subscription, sent),
            Sent::Gone => self.gone(member.client, 1006),
        }
        false
    }

    /// A socket took only `sent` bytes of a pass: the rest of the frame that was cut is kept, the client is blocked, and
    /// each of its subscriptions is behind at the last event it had.
    pub(super) fn fall_behind(&mut self, client: u32, subscription: u32, sent: usize) {
        let view = self.clients[client as usize].subscriptions[subscription as usize].view;
        let active = self.views[view as usize].active.as_ref().expect("a view in a pass is active");
        let pass = active.pass.as_ref().expect("the view is in a pass");
        let chunk = active.kept.last().expect("a pass has a chunk");
        let split = chunk.split(pass.frame, sent);
        let position = split.offset.unwrap_or(pass.from);
        let rest = &chunk.bytes[split.rest.0..split.rest.1];
        self.clients[client as usize].keep_unsent(rest);
        self.stats.levels.pinned_bytes += rest.len() as i64;
        self.stop_short(client, subscription, position, split.events);
    }

    /// A subscription had only a part of a pass, up to a position, before its client's socket was full.
    pub(super) fn stop_short(&mut self, client: u32, subscription: u32, position: u64, events: u64) {
        self.stats.short_sends += 1;
        self.stats.deliveries += events;
        let view = self.clients[client as usize].subscriptions[subscription as usize].view;
        if let Some(pass) = self.views[view as usize].pass_mut() {
            pass.delivered += events;
        }
        self.leave_live(client, subscription, position);
        self.clients[client as usize].subscriptions[subscription as usize].slow = true;
        self.block(client);
    }

    /// A client's socket took only a part of what is its alone: the rest is kept, and the client is blocked.
    pub(super) fn cut(&mut self, client: u32, rest: &[u8]) {
        self.clients[client as usize].keep_unsent(rest);
        self.stats.levels.pinned_bytes += rest.len() as i64;
        self.block(client);
    }

    /// A client's socket is full.
    pub(super) fn block(&mut self, client: u32) {
        self.leave_all_live(client);
        let elapsed_ms = self.elapsed_ms();
        let state = &mut self.clients[client as usize];
        if !state.blocked {
            state.blocked = true;
            state.silent_beats = 0;
            state.progressed(elapsed_ms);
            self.stats.levels.blocked += 1;
        }
    }

    fn end_pass(&mut self, view: u32) {
        let Some(state) = self.views.get_mut(view as usize) else { return };
        let Some(active) = &mut state.active else { return };
        if let Some(pass) = active.pass.take().filter(|pass| pass.delivered > 0) {
            let room = &self.seats[state.seat as usize].room;
            room.tally().delivered.fetch_add(pass.delivered, Ordering::Relaxed);
            if let Some(due_ms) = pass.due_ms {
                self.parts.metrics.event_age.record(awake_ms_since(due_ms));
            }
        }
        self.stats.passes += 1;
        self.passing -= 1;
        if state.awaited {
            self.wake_waiting(view);
        }
        self.tell_awaited(view);
        // Whoever could not be told may have been the last member.
        let Some(state) = self.views.get(view as usize) else { return };
        let more = state.grown || state.keeps_back();
        self.settle(view);
        if more {
            self.make_ready(view);
        }
    }

    /// Members whose position the cursor has reached have something to do again.
    fn wake_waiting(&mut self, view: u32) {
        let state = &self.views[view as usize];
        let cursor = state.cursor;
        let behind = state.members[state.live as usize..].to_vec();
        let mut awaited = false;
        for member in behind {
            let subscription =
                &mut self.clients[member.client as usize].subscriptions[member.subscription as usize];
            if !subscription.waiting {
                continue;
            }
            if subscription.position > cursor {
                awaited = true;
            } else {
                subscription.waiting = false;
                self.queue(member.client);
            }
        }
        self.views[view as usize].awaited = awaited;
    }

    /// While everybody is live and no pass is under way, nothing need be kept.
    pub(super) fn settle(&mut self, view: u32) {
        let state = &mut self.views[view as usize];
        if !state.all_live() || state.pass().is_some() {
            return;
        }
        if let Some(mut active) = state.active.take() {
            self.stats.levels.chunk_bytes -= active.kept.bytes() as i64;
            active.kept.clear(&mut self.pool);
            active.hold = None;
            self.actives.push(active);
        }
    }
}

/// How a room's events are emitted, where a wire has to know.
pub(super) fn emitting(wire: Wire, room: &Room) -> Option<Arc<RoomConfig>> {
    matches!(wire, Wire::SocketIo(_)).then(|| room.policy())
}

/// A room's name as a JSON string.
pub(super) fn write_room_json(out: &mut Vec<u8>, name: &str) {
    out.clear();
    serde_json::to_writer(out, name).expect("writing a string to memory does not fail");
}
