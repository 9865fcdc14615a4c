//! Catching up: a client that is behind gets what it missed, from the view's kept chunks or from the room's log, until
//! its position is the view's cursor and it is live.
//!
//! One call makes one send. What is put together for it is marked with the position that each piece leads to, so that a
//! short send leaves every subscription at the last event it had.

use super::gathered::Gathered;
use super::pass::write_room_json;
use super::shard::Shard;
use super::socket::Sent;
use super::view::View;
use crate::config::SlowClient;
use crate::view::Place;
use crate::wire::{Gap, GapReason, push_gap};
use slab::Slab;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

/// Bytes of one send to a client who catches up.
pub(super) const CATCH_UP_BYTES: usize = 64 << 10;

/// A subscription while what it needs next is put together.
pub(super) struct Reader {
    pub(super) view: u32,
    /// Its place among the client's subscriptions.
    pub(super) index: u32,
    /// Where what is put together leads it.
    pub(super) position: u64,
    /// As the subscription's.
    pub(super) snapshot_to: u64,
    slow: bool,
    heals: bool,
    /// Whether that is beyond what the client knows by then.
    untold: bool,
}

impl Reader {
    /// Whether it has nothing more to catch up with.
    fn has_arrived(&self, views: &Slab<View>) -> bool {
        self.snapshot_to == 0 && self.position >= views[self.view as usize].cursor
    }
}

impl Shard {
    /// Puts a client into the queue of those who catch up, if it can be sent to.
    pub(super) fn queue(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        if !state.queued && !state.blocked && !state.closing && !state.paced {
            state.queued = true;
            self.catching.push_back(client);
        }
    }

    /// Makes one send to a client that is behind.
    pub(super) fn catch_up(&mut self, client: u32) {
        // A client may have gone while it was in the queue, or another may have its place.
        let Some(state) = self.clients.get_mut(client as usize) else { return };
        if !std::mem::take(&mut state.queued) || state.blocked || state.closing {
            return;
        }
        let count = state.subscriptions.len();
        if count == 0 || self.is_over_deliveries(client) {
            return;
        }
        let state = &mut self.clients[client as usize];
        let turn = state.turn as usize % count;
        state.turn = state.turn.wrapping_add(1);
        let mut gathered = self.begin_gathering(client);
        let mut arrived: SmallVec<[Reader; 1]> = SmallVec::new();
        for index in (turn..count).chain(0..turn) {
            let subscription = &self.clients[client as usize].subscriptions[index];
            if subscription.live || subscription.waiting || gathered.bytes.len() >= CATCH_UP_BYTES {
                continue;
            }
            let Some(reader) = self.gather(client, index as u32, &mut gathered) else {
                self.gathered = gathered;
                self.close(client, 4001, "slow_client", None);
                return;
            };
            if reader.untold && reader.has_arrived(&self.views) {
                arrived.push(reader);
            }
        }
        if !arrived.is_empty() {
            self.gather_arrived(client, &arrived, &mut gathered);
        }
        self.send_gathered(client, &gathered);
        self.gathered = gathered;
    }

    /// Puts together what a subscription needs next, and returns where that leads. None when its room disconnects those who
    /// fall behind so far.
    fn gather(&mut self, client: u32, index: u32, gathered: &mut Gathered) -> Option<Reader> {
        let subscription = &self.clients[client as usize].subscriptions[index as usize];
        let mut reader = Reader {
            view: subscription.view,
            index,
            position: subscription.position,
            snapshot_to: subscription.snapshot_to,
            slow: subscription.slow,
            heals: subscription.heals,
            untold: subscription.untold,
        };
        let (before, marks) = (reader.position, gathered.marks.len());
        if !self.gather_for(&mut reader, gathered) {
            return None;
        }
        let mut position = before;
        for mark in &gathered.marks[marks..] {
            reader.untold = !mark.is_told() && (reader.untold || position < mark.position);
            position = mark.position;
        }
        Some(reader)
    }

    /// As `gather`, for a reader.
    fn gather_for(&mut self, reader: &mut Reader, gathered: &mut Gathered) -> bool {
        let index = reader.index;
        let view = reader.view;
        let cursor = self.views[view as usize].cursor;
        let policy = if reader.slow { self.slow_policy(view) } else { SlowClient::Replay };
        let is_behind = reader.snapshot_to == 0 && reader.position < cursor;
        if policy == SlowClient::Skip && is_behind {
            self.gather_gap(reader, cursor, GapReason::SlowClient, gathered);
        }
        while gathered.bytes.len() < CATCH_UP_BYTES {
            let before = gathered.bytes.len();
            if reader.snapshot_to > 0 {
                if !self.gather_snapshot(reader, gathered) {
                    return true;
                }
                continue;
            }
            if reader.position >= cursor {
                break;
            }
            let active = self.views[view as usize].active.as_ref();
            match active.map_or(Place::Older, |active| active.kept.place(reader.position)) {
                Place::Frame(chunk, frame) => {
                    let active = active.expect("it has kept chunks");
                    let chunk = active.kept.chunk(chunk);
                    reader.position =
                        gathered.frames(index, chunk, frame..chunk.frames.len(), CATCH_UP_BYTES);
                }
                Place::End => reader.position = cursor,
                Place::Older if policy == SlowClient::Disconnect => return false,
                Place::Older => {
                    self.gather_page(reader, gathered);
                    if gathered.bytes.len() == before {
                        // A filter let nothing pass: others have their turn.
                        break;
                    }
                }
            }
        }
        if reader.snapshot_to == 0 && reader.position >= cursor {
            gathered.mark(index, reader.position, 0, None);
        }
        true
    }

    fn slow_policy(&self, view: u32) -> SlowClient {
        self.seats[self.views[view as usize].seat as usize].room.policy().slow_client
    }

    /// Copies a page of the log, or says what it no longer has.
    fn gather_page(&mut self, reader: &mut Reader, gathered: &mut Gathered) {
        let page = match self.page(reader.view, reader.position) {
            Ok(page) => page,
            Err(available_after) => {
                let reason = if reader.slow { GapReason::SlowClient } else { GapReason::HistoryExpired };
                return self.gather_gap(reader, available_after, reason, gathered);
            }
        };
        let (index, to, chunk) = (reader.index, page.to, page.chunk);
        let frames = chunk.frames.len();
        if frames == 1 && self.views[reader.view as usize].wire.has_batches() {
            // A batch tells where the page leads, beyond its last event.
            gathered.frame(index, &chunk.bytes);
            gathered.mark(index, to, chunk.frames[0].events, None);
        } else if frames == 0 || gathered.frames(index, &chunk, 0..frames, usize::MAX) < to {
            gathered.mark(index, to, 0, None);
        }
        reader.position = to;
    }

    /// Says that everything after the reader's position and up to an offset cannot be given. Where that is made good, the
    /// newest event of every key in it follows.
    fn gather_gap(&mut self, reader: &mut Reader, to: u64, reason: GapReason, gathered: &mut Gathered) {
        let view = &self.views[reader.view as usize];
        let room = &self.seats[view.seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        // Of those a filter would have let pass, or a pace, nobody knows how many there were.
        let missed = view.shape.is_none().then_some(to - reader.position);
        let (room_json, epoch, first) = (&self.room_json, room.epoch(), reader.position + 1);
        let gap = Gap { room_json, epoch, first, offset: to, missed, reason, snapshot: reader.heals };
        let mut frame = Vec::new();
        push_gap(view.wire, &mut frame, gap);
        if reader.heals {
            gathered.bytes.extend_from_slice(&frame);
            reader.snapshot_to = to + 1;
        } else {
            gathered.frame(reader.index, &frame);
            reader.position = to;
        }
        gathered.mark(reader.index, reader.position, 0, Some((reason, missed.unwrap_or(0))));
        if reader.heals {
            gathered.mark_snapshot(reader.snapshot_to);
        }
    }

    /// Sends what was put together and moves the subscriptions to where it led them.
    fn send_gathered(&mut self, client: u32, gathered: &Gathered) {
        let sent = if gathered.bytes.is_empty() {
            0
        } else {
            self.stats.sends += 1;
            match self.clients[client as usize].socket.send(&gathered.bytes) {
                Sent::Bytes(sent) => sent,
                Sent::Gone => return self.gone(client, 1006),
            }
        };
        let elapsed_ms = self.elapsed_ms();
        let state = &mut self.clients[client as usize];
        if sent > 0 {
            state.progressed(elapsed_ms);
        }
        let taken = gathered.taken(sent);
        let mut events = 0;
        for mark in &gathered.marks[..taken.marks] {
            let subscription = &mut state.subscriptions[mark.subscription as usize];
            let is_told = mark.is_told();
            if let Some(snapshot_to) = mark.snapshot_to {
                subscription.snapshot_to = snapshot_to;
                // It needs nothing of what passes are held for, and has not been slow when it begins with the log.
                subscription.laggard = snapshot_to > 0;
                subscription.slow &= snapshot_to > 0;
            }
            subscription.untold = !is_told && (subscription.untold || subscription.position < mark.position);
            subscription.position = mark.position;
            events += u64::from(mark.events);
            if is_told {
                let tally = self.seats[self.views[subscription.view as usize].seat as usize].room.tally();
                tally.delivered.fetch_add(u64::from(mark.events), Ordering::Relaxed);
                tally.gaps.fetch_add(u64::from(mark.gap.is_some()), Ordering::Relaxed);
            }
            if let Some((reason, missed)) = mark.gap {
                self.parts.metrics.gap(reason, missed);
            }
        }
        self.stats.deliveries += events;
        self.spend_deliveries(client, events);
        if sent < gathered.bytes.len() {
            self.stats.short_sends += 1;
            self.cut(client, &gathered.bytes[taken.rest]);
        } else {
            self.promote(client);
        }
    }

    /// Makes live what has caught up, and queues the client for the rest.
    pub(super) fn promote(&mut self, client: u32) {
        let state = &self.clients[client as usize];
        // What is kept for one whose socket is full goes before any pass: once it has drained is its time.
        if state.paced || state.blocked {
            return;
        }
        let mut behind = false;
        for index in 0..self.clients[client as usize].subscriptions.len() as u32 {
            let subscription = &mut self.clients[client as usize].subscriptions[index as usize];
            if subscription.live || subscription.waiting {
                continue;
            }
            if subscription.snapshot_to > 0 {
                behind = true;
                continue;
            }
            let view = &mut self.views[subscription.view as usize];
            match subscription.position.cmp(&view.cursor) {
                // Where it is must be told first.
                std::cmp::Ordering::Equal if subscription.untold => behind = true,
                std::cmp::Ordering::Equal => self.make_live(client, index),
                std::cmp::Ordering::Less => behind = true,
                std::cmp::Ordering::Greater => {
                    subscription.waiting = true;
                    view.awaited = true;
                }
            }
        }
        if behind {
            self.queue(client);
        }
    }
}
