//! Views with a pace (`every`): what is new is taken from the room as it comes, and sent at most so often.
//!
//! What waits is of each key only the newest event, and every event without a key. The view has *absorbed* it: the room
//! need not keep it. Its cursor is where the last sending led, as any view's is, and its members are live there.

use super::shard::Shard;
use super::view::View;
use crate::event::BATCH_EVENTS;
use crate::room::ReadLimit;
use crate::view::{CHUNK_BYTES, Emit, Encoder, Reduced};
use std::collections::BTreeSet;
use std::time::Duration;

/// Events taken from the room at once: with a filter on each, a millisecond or two.
const ABSORBED_EVENTS: usize = 1024;
/// Bytes taken at once, unless one event alone is longer.
const ABSORBED_BYTES: usize = 256 << 10;
/// Bytes that wait at most, above which they are sent before their time: bounded memory is worth more than the pace. Where
/// keys replace each other, more of them are likely to.
const WAITING_BYTES: usize = 256 << 10;
const WAITING_KEYED_BYTES: usize = 1 << 20;
/// With less room than that left, a chunk is full.
const CHUNK_ROOM: usize = 4 << 10;

/// A view's pace, and what waits for it.
pub(super) struct Every {
    interval_ms: u64,
    /// Offset up to which everything was taken from the room.
    absorbed: u64,
    waiting: Reduced,
    /// The offset that the sending under way leads to.
    sending_to: Option<u64>,
    /// When the last sending began, in the shard's milliseconds.
    sent_at_ms: Option<u64>,
    /// When the next one is due, while that is on the shard's clock.
    due_ms: Option<u64>,
}

impl Every {
    /// A pace of a view that has everything up to `head`.
    pub(super) fn new(every: Duration, head: u64) -> Every {
        Every {
            interval_ms: every.as_millis() as u64,
            absorbed: head,
            waiting: Reduced::default(),
            sending_to: None,
            sent_at_ms: None,
            due_ms: None,
        }
    }

    /// The pace.
    pub(super) fn every(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// Offset up to which everything was taken from the room.
    pub(super) fn absorbed(&self) -> u64 {
        self.absorbed
    }

    fn is_sending(&self) -> bool {
        self.sending_to.is_some()
    }

    fn is_full(&self) -> bool {
        let most = if self.waiting.has_keys() { WAITING_KEYED_BYTES } else { WAITING_BYTES };
        self.waiting.bytes() >= most
    }

    fn next_ms(&self) -> u64 {
        self.sent_at_ms.map_or(0, |sent_at_ms| sent_at_ms + self.interval_ms)
    }
}

/// When which views are due: (the shard's milliseconds, view). Each view is in it once at most.
#[derive(Default)]
pub(super) struct Due(BTreeSet<(u64, u32)>);

impl Due {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Shard {
    /// Takes what is new into a view with a pace, and begins or goes on with a sending if it is time. False when there is
    /// no pass to make, or it is held.
    pub(super) fn begin_paced_pass(&mut self, view: u32) -> bool {
        self.absorb(view);
        if !self.is_due(view) {
            self.settle(view);
            if self.views[view as usize].grown {
                self.make_ready(view);
            }
            return false;
        }
        let now_ms = self.elapsed_ms();
        self.forget_due(view);
        let every = self.every(view);
        if every.sending_to.is_none() {
            every.sending_to = Some(every.absorbed);
            every.sent_at_ms = Some(now_ms);
        }
        self.encode_paced(view)
    }

    fn absorb(&mut self, view: u32) {
        let every = self.every(view);
        if every.is_full() {
            return;
        }
        let after = every.absorbed;
        let limit =
            ReadLimit { events: ABSORBED_EVENTS, bytes: ABSORBED_BYTES, overhead: 0, at_least_one: true };
        self.entries.clear();
        let (first, _) = self.take(view, after, limit);
        if self.entries.is_empty() {
            return;
        }
        let Some(shape) = &mut self.views[view as usize].shape else { return };
        let Some(every) = &mut shape.every else { return };
        every.absorbed = first + self.entries.len() as u64 - 1;
        for (offset, entry) in (first..).zip(self.entries.drain(..)) {
            if shape.filter.as_ref().is_none_or(|filter| filter.passes(&entry.event)) {
                every.waiting.push(offset, entry);
            }
        }
        self.note_seat_passed(self.views[view as usize].seat);
    }

    /// Whether it is time for a sending; if it will be, that is put on the clock.
    fn is_due(&mut self, view: u32) -> bool {
        let now_ms = self.elapsed_ms();
        let state = &self.views[view as usize];
        let is_ending = self.drain.is_some() || self.removed.iter().any(|(seat, _)| *seat == state.seat);
        let Some(every) = state.every() else { return false };
        if every.is_sending() {
            return true;
        }
        if every.absorbed <= state.cursor {
            return false;
        }
        let next_ms = every.next_ms();
        if next_ms <= now_ms || every.is_full() || is_ending {
            return true;
        }
        let every = self.every(view);
        if every.due_ms.is_none() {
            every.due_ms = Some(next_ms);
            self.due.0.insert((next_ms, view));
        }
        false
    }

    /// Encodes as much of a sending as a chunk has room for. False when the pass is held.
    fn encode_paced(&mut self, view: u32) -> bool {
        let state = &mut self.views[view as usize];
        let active = state.active.get_or_insert_with(|| self.actives.pop().unwrap_or_default());
        let room_left = active.kept.last().map_or(0, |chunk| CHUNK_BYTES.saturating_sub(chunk.bytes.len()));
        let has_chunk = active.kept.last().is_some();
        self.keyed.clear();
        if room_left >= CHUNK_ROOM {
            self.take_waiting(view, room_left, false);
        }
        let is_left = !self.is_all_taken(view);
        if (self.keyed.is_empty() && is_left) || !has_chunk {
            if self.must_hold(view) {
                return false;
            }
            self.begin_chunk(view);
            self.take_waiting(view, CHUNK_BYTES, true);
        }
        let is_all = self.is_all_taken(view);
        let last = self.keyed.last().map(|last| last.0);
        let every = self.every(view);
        let end = every.sending_to.unwrap_or(every.absorbed);
        let to = if is_all { end } else { last.unwrap_or(end) };
        if is_all {
            every.sending_to = None;
        }
        self.encode_reduced(view, to);
        true
    }

    /// Takes what waits and belongs to the sending, as much as fits into so many bytes; one event in any case, if told.
    fn take_waiting(&mut self, view: u32, most: usize, at_least_one: bool) {
        let overhead = self.views[view as usize].wire.overhead();
        let Some(every) = self.views[view as usize].every_mut() else { return };
        let end = every.sending_to.unwrap_or(every.absorbed);
        let mut bytes = 0;
        while let Some((_, entry)) = every.waiting.first().filter(|(offset, _)| *offset <= end) {
            bytes += entry.event.json().len() + overhead;
            if bytes > most && !(at_least_one && self.keyed.is_empty()) {
                return;
            }
            self.keyed.extend(every.waiting.pop());
        }
    }

    /// Whether nothing that waits belongs to the sending any more.
    fn is_all_taken(&self, view: u32) -> bool {
        let every = self.views[view as usize].every();
        every.is_none_or(|every| {
            let end = every.sending_to.unwrap_or(every.absorbed);
            every.waiting.first().is_none_or(|(offset, _)| offset > end)
        })
    }

    /// Encodes the events that were taken, as frames that lead from the cursor to an offset, and begins their pass.
    fn encode_reduced(&mut self, view: u32, to: u64) {
        let keyed = std::mem::take(&mut self.keyed);
        let View { cursor, wire, seat, shape, active, .. } = &mut self.views[view as usize];
        let room = &self.seats[*seat as usize].room;
        super::pass::write_room_json(&mut self.room_json, room.name());
        let chunk =
            active.as_mut().and_then(|active| active.kept.last_mut()).expect("a pass has begun a chunk");
        let (frame, start) = (chunk.frames.len(), chunk.bytes.len());
        let config = super::pass::emitting(*wire, room);
        let (room_json, epoch, emit) = (&self.room_json, room.epoch(), Emit::of(config.as_deref()));
        let encoder = Encoder { wire: *wire, room_json, epoch, filter: None, emit };
        let mut skipped = shape.as_ref().map_or(0, |shape| shape.skipped);
        let mut from = *cursor;
        let mut parts = keyed.chunks(BATCH_EVENTS).peekable();
        while let Some(part) = parts.next() {
            let reached = if parts.peek().is_none() { to } else { part.last().map_or(to, |last| last.0) };
            skipped = encoder.reduced(chunk, part, (from, reached), skipped, false);
            from = reached;
        }
        skipped += to - from;
        let left_out = to - *cursor - keyed.len() as u64;
        self.keyed = keyed;
        self.keyed.clear();
        self.begin_sending(view, (frame, start), to, (skipped, left_out), None);
    }

    /// Wakes the views whose time has come; all of them while the shard stops.
    pub(super) fn wake_due(&mut self) {
        let now_ms = if self.drain.is_some() { u64::MAX } else { self.elapsed_ms() };
        while let Some((due_ms, view)) = self.due.0.first().copied() {
            if due_ms > now_ms {
                return;
            }
            self.forget_due(view);
            self.make_ready(view);
        }
    }

    /// How long the shard may sleep because of views with a pace.
    pub(super) fn until_due(&self) -> Duration {
        let now_ms = self.elapsed_ms();
        self.due
            .0
            .first()
            .map_or(Duration::MAX, |(due_ms, _)| Duration::from_millis(due_ms.saturating_sub(now_ms)))
    }

    /// Takes a view off the clock.
    pub(super) fn forget_due(&mut self, view: u32) {
        if let Some(due_ms) = self.views[view as usize].every_mut().and_then(|every| every.due_ms.take()) {
            self.due.0.remove(&(due_ms, view));
        }
    }

    fn every(&mut self, view: u32) -> &mut Every {
        self.views[view as usize].every_mut().expect("only views with a pace come here")
    }
}

impl View {
    /// Whether it has taken something from its room that was not sent.
    pub(super) fn keeps_back(&self) -> bool {
        self.passed() > self.cursor
    }
}
