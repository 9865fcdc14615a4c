//! Catching up: a client that is behind gets what it missed, from the view's kept chunks or from the room's log, until
//! its position is the view's cursor and it is live.
//!
//! One call makes one send. What is put together for it is marked with the position that each piece leads to, so that a
//! short send leaves every subscription at the last event it had.

use super::gathered::Gathered;
use super::pass::write_room_json;
use super::shard::Shard;
use super::socket::Sent;
use crate::config::SlowClient;
use crate::event::BATCH_EVENTS;
use crate::room::ReadLimit;
use crate::view::{CHUNK_BYTES, Chunk, Encoder, Place};
use crate::wire::{Gap, GapReason, push_gap};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Bytes of one send to a client who catches up.
pub(super) const CATCH_UP_BYTES: usize = 64 << 10;
/// Encoded pages that a shard keeps: clients who resume after the same event read the same pages.
const PAGES: usize = 8;
/// Bytes of a page's events, unless one event alone is longer.
const PAGE_BYTES: usize = CHUNK_BYTES;

/// Pages of logs, encoded, the newest last.
#[derive(Default)]
pub(super) struct PageCache {
    pages: VecDeque<Page>,
}

struct Page {
    view: u32,
    /// Offset after which it begins.
    after: u64,
    /// Offset that it leads to; beyond its frame's last event where a filter left events out.
    to: u64,
    chunk: Rc<Chunk>,
}

impl PageCache {
    /// Forgets the pages of a view that is gone: another may get its place.
    pub(super) fn forget(&mut self, view: u32) {
        self.pages.retain(|page| page.view != view);
    }
}

/// Events looked at for one page while a filter lets none pass: a millisecond or two. A filter that passes nothing of a
/// long history must not keep the shard from its other clients.
const FILTERED_EVENTS: u64 = 1024;

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
        for index in (turn..count).chain(0..turn) {
            let subscription = &self.clients[client as usize].subscriptions[index];
            if subscription.live || subscription.waiting || gathered.bytes.len() >= CATCH_UP_BYTES {
                continue;
            }
            if !self.gather(client, index as u32, &mut gathered) {
                self.gathered = gathered;
                self.close(client, 4001, "slow_client", None);
                return;
            }
        }
        self.send_gathered(client, &gathered);
        self.gathered = gathered;
    }

    /// Puts together what a subscription needs next. False when its room disconnects those who fall behind so far.
    fn gather(&mut self, client: u32, index: u32, gathered: &mut Gathered) -> bool {
        let subscription = &self.clients[client as usize].subscriptions[index as usize];
        let (view, slow, mut position) = (subscription.view, subscription.slow, subscription.position);
        let cursor = self.views[view as usize].cursor;
        let policy = if slow { self.slow_policy(view) } else { SlowClient::Replay };
        if policy == SlowClient::Skip && position < cursor {
            self.gather_gap(view, index, (position, cursor), GapReason::SlowClient, gathered);
            return true;
        }
        while position < cursor && gathered.bytes.len() < CATCH_UP_BYTES {
            let active = self.views[view as usize].active.as_ref();
            match active.map_or(Place::Older, |active| active.kept.place(position)) {
                Place::Frame(chunk, frame) => {
                    let active = active.expect("it has kept chunks");
                    let chunk = active.kept.chunk(chunk);
                    position = gathered.frames(index, chunk, frame..chunk.frames.len(), CATCH_UP_BYTES);
                }
                Place::End => position = cursor,
                Place::Older if policy == SlowClient::Disconnect => return false,
                Place::Older => position = self.gather_page(view, index, position, slow, gathered),
            }
        }
        if position >= cursor {
            gathered.mark(index, cursor, 0, None);
        }
        true
    }

    fn slow_policy(&self, view: u32) -> SlowClient {
        self.seats[self.views[view as usize].seat as usize].room.policy().slow_client
    }

    /// Copies a page of the log, or says what it no longer has.
    fn gather_page(
        &mut self,
        view: u32,
        index: u32,
        position: u64,
        slow: bool,
        gathered: &mut Gathered,
    ) -> u64 {
        let (to, chunk) = match self.page(view, position) {
            Ok(page) => page,
            Err(available_after) => {
                let reason = if slow { GapReason::SlowClient } else { GapReason::HistoryExpired };
                self.gather_gap(view, index, (position, available_after), reason, gathered);
                return available_after;
            }
        };
        let frames = chunk.frames.len();
        if frames == 1 {
            // A batch tells where the page leads, beyond its last event.
            gathered.frame(index, &chunk.bytes);
            gathered.mark(index, to, chunk.frames[0].events, None);
        } else if frames == 0 || gathered.frames(index, &chunk, 0..frames, usize::MAX) < to {
            gathered.mark(index, to, 0, None);
        }
        to
    }

    /// The page of a view's room after a position, and the position it leads to; or after which offset something is
    /// still to be had.
    fn page(&mut self, view: u32, after: u64) -> Result<(u64, Rc<Chunk>), u64> {
        if let Some(page) = self.pages.pages.iter().find(|page| page.view == view && page.after == after) {
            return Ok((page.to, Rc::clone(&page.chunk)));
        }
        let state = &self.views[view as usize];
        let room = &self.seats[state.seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        let filter = state.filtered.as_ref().map(|filtered| &*filtered.filter);
        let (wire, epoch) = (state.wire, room.epoch());
        let encoder = Encoder { wire, room_json: &self.room_json, epoch, filter };
        let mut chunk = Chunk::default();
        let (mut to, mut skipped) = (after, 0);
        let furthest = state.cursor.min(after.saturating_add(FILTERED_EVENTS));
        // What a filter lets nothing of pass is counted in the page that something passes in.
        while chunk.frames.is_empty() && to < furthest {
            // Pages end where offsets are multiples of their size, so that readers who came in at different places soon
            // share them; and at the cursor, for beyond it the view has chunks to come.
            let boundary = (to / BATCH_EVENTS as u64 + 1) * BATCH_EVENTS as u64;
            let events = (boundary.min(state.cursor) - to) as usize;
            let overhead = wire.overhead() / 2;
            let limit = ReadLimit { events, bytes: PAGE_BYTES, overhead, at_least_one: true };
            self.entries.clear();
            let first = room.read(to, limit, &mut self.entries);
            if first > to + 1 && to > after {
                // The next page begins with what is missing.
                break;
            }
            if first > to + 1 {
                // A chunk may still have what the log has not.
                let kept = state.active.as_ref().and_then(|active| active.kept.next_start(after));
                return Err((first - 1).min(kept.unwrap_or(u64::MAX)).min(state.cursor));
            }
            skipped = encoder.page(&mut chunk, &self.entries, first, skipped);
            to += self.entries.len() as u64;
        }
        self.entries.clear();
        let chunk = Rc::new(chunk);
        if self.pages.pages.len() == PAGES {
            self.pages.pages.pop_front();
        }
        self.pages.pages.push_back(Page { view, after, to, chunk: Rc::clone(&chunk) });
        Ok((to, chunk))
    }

    /// Says that everything after one offset and up to another cannot be given.
    fn gather_gap(
        &mut self,
        view: u32,
        index: u32,
        (after, to): (u64, u64),
        reason: GapReason,
        gathered: &mut Gathered,
    ) {
        let view = &self.views[view as usize];
        let room = &self.seats[view.seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        // Of those a filter would have let pass, nobody knows how many there were.
        let missed = view.filtered.is_none().then_some(to - after);
        let (room_json, epoch) = (&self.room_json, room.epoch());
        let gap = Gap { room_json, epoch, first: after + 1, offset: to, missed, reason };
        let mut frame = Vec::new();
        push_gap(view.wire, &mut frame, gap);
        gathered.frame(index, &frame);
        gathered.mark(index, to, 0, Some((reason, missed.unwrap_or(0))));
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
            state.progress_ms = elapsed_ms;
        }
        let taken = gathered.taken(sent);
        let mut events = 0;
        for mark in &gathered.marks[..taken.marks] {
            let subscription = &mut state.subscriptions[mark.subscription as usize];
            let is_told = mark.events > 0 || mark.gap.is_some();
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
        if self.clients[client as usize].paced {
            return;
        }
        let mut behind = false;
        for index in 0..self.clients[client as usize].subscriptions.len() as u32 {
            let subscription = &mut self.clients[client as usize].subscriptions[index as usize];
            if subscription.live || subscription.waiting {
                continue;
            }
            let view = &mut self.views[subscription.view as usize];
            match subscription.position.cmp(&view.cursor) {
                std::cmp::Ordering::Equal => self.make_live(client, index),
                std::cmp::Ordering::Less => behind = true,
                std::cmp::Ordering::Greater => {
                    subscription.waiting = true;
                    view.waiting += 1;
                }
            }
        }
        if behind {
            self.queue(client);
        }
    }
}
