//! Entries of a log as a view's wire has them: the fourth of the five functions a line passes on its way to a socket.
//!
//! Allocates only when a chunk grows.

use super::chunk::Chunk;
use super::emit::Emit;
use crate::event::{BATCH_EVENTS, Batch, Entry, Filter};
use crate::wire::{
    Epoch, EventFrame, Position, Wire, push_batch, push_event, push_snapshot, push_snapshot_event,
};

/// Encodes one room's entries.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// How the view's clients are written to.
    pub wire: Wire,
    /// The room's name as a JSON string.
    pub room_json: &'a [u8],
    /// The life of the room's log.
    pub epoch: Epoch,
    /// What to leave out.
    pub filter: Option<&'a Filter>,
    /// How the room's events are emitted where the wire is Socket.IO's.
    pub emit: Emit<'a>,
}

impl Encoder<'_> {
    /// Appends live entries, the first of which has the offset `first`: one `event` for each, or a `batch` for those
    /// that a buffer flushed together. Returns how many a filter left out since the last frame; `skipped` is what was
    /// left out before.
    pub fn live(&self, chunk: &mut Chunk, entries: &[Entry], first: u64, mut skipped: u64) -> u64 {
        let mut index = 0;
        while index < entries.len() {
            let run = run_length(&entries[index..]);
            let of_run = &entries[index..index + run];
            let at = first + index as u64;
            skipped = if let Some(socketio) = self.emits_arrays() {
                self.array(socketio, chunk, of_run, at, skipped)
            } else if of_run[0].batch == Batch::Single {
                self.event(chunk, &of_run[0], at, skipped)
            } else if !self.wire.has_batches() {
                self.one_by_one(chunk, of_run, at, skipped)
            } else {
                self.batch(chunk, of_run, at, skipped, false)
            };
            index += run;
        }
        skipped
    }

    /// Appends a page of replayed entries, at most [`BATCH_EVENTS`], as one `batch`; nothing where a filter lets none of
    /// them pass; a bare stream has no batches. Takes and returns what was left out before, as [`live`](Self::live) does.
    pub fn page(&self, chunk: &mut Chunk, entries: &[Entry], first: u64, skipped: u64) -> u64 {
        if self.emits_arrays().is_some() {
            return self.live(chunk, entries, first, skipped);
        }
        if !self.wire.has_batches() {
            return self.one_by_one(chunk, entries, first, skipped);
        }
        self.batch(chunk, entries, first, skipped, true)
    }

    /// Appends events, at most [`BATCH_EVENTS`], of which others between them were left out, as one `batch` that leads from
    /// the offset `from` to the offset `to`; nothing where there are none. They have passed the filter. Takes and returns
    /// what was left out before, as [`live`](Self::live) does.
    pub fn reduced(
        &self,
        chunk: &mut Chunk,
        events: &[(u64, Entry)],
        (from, to): (u64, u64),
        skipped: u64,
        replay: bool,
    ) -> u64 {
        let left_out = to - from - events.len() as u64;
        let Some((first, _)) = events.first() else { return skipped + left_out };
        if let Some(socketio) = self.emits_arrays() {
            let listed = events.iter().map(|(_, entry)| entry);
            self.push_array(socketio, chunk, listed, (*first, to));
            return 0;
        }
        if !self.wire.has_batches() {
            let whole = Encoder { filter: None, ..*self };
            for (offset, entry) in events {
                whole.event(chunk, entry, *offset, 0);
            }
            return 0;
        }
        let frame = self.frame(to, skipped + left_out, replay);
        let listed = events.iter().map(|(offset, entry)| (*offset, entry.event.seq(), entry.event.json()));
        push_batch(self.wire, &mut chunk.bytes, frame, listed);
        chunk.push_frame(*first, to, events.len());
        0
    }

    /// Appends a page of a snapshot, the last one if it leads to an offset. Nothing passed over of what has events in it: a
    /// page without any is appended only where it is the last. A bare stream has no pages: its events are one frame, and a
    /// page without events that tells the position is another.
    pub fn snapshot(&self, chunk: &mut Chunk, events: &[(u64, Entry)], last: Option<u64>) {
        let passing: smallvec::SmallVec<[&(u64, Entry); BATCH_EVENTS]> =
            events.iter().filter(|(_, entry)| self.passes(entry)).collect();
        let position = last.map(|offset| Position { epoch: self.epoch, offset });
        let (first, end) =
            (passing.first().map_or(0, |first| first.0), passing.last().map_or(0, |last| last.0));
        let push = |chunk: &mut Chunk, events| chunk.push_frame(first, last.unwrap_or(end), events);
        if let Wire::SocketIo(socketio) = self.wire {
            return self.emit_snapshot(socketio, chunk, &passing, (first, end), position);
        }
        if !self.wire.is_bare() {
            if !passing.is_empty() || last.is_some() {
                let events = passing.iter().map(|(_, entry)| entry.event.json());
                push_snapshot(self.wire, &mut chunk.bytes, self.room_json, position, events);
                push(chunk, passing.len());
            }
            return;
        }
        for (_, entry) in &passing {
            push_snapshot_event(self.wire, &mut chunk.bytes, self.room_json, entry.event.json());
        }
        if !passing.is_empty() {
            push(chunk, passing.len());
        }
        if position.is_some() {
            push_snapshot(self.wire, &mut chunk.bytes, self.room_json, position, std::iter::empty());
            push(chunk, 0);
        }
    }

    /// Whether the filter lets an entry pass.
    pub fn passes(&self, entry: &Entry) -> bool {
        self.filter.is_none_or(|filter| filter.passes(&entry.event))
    }

    fn one_by_one(&self, chunk: &mut Chunk, entries: &[Entry], first: u64, skipped: u64) -> u64 {
        let numbered = (first..).zip(entries);
        numbered.fold(skipped, |skipped, (offset, entry)| self.event(chunk, entry, offset, skipped))
    }

    fn event(&self, chunk: &mut Chunk, entry: &Entry, offset: u64, skipped: u64) -> u64 {
        if !self.passes(entry) {
            return skipped + 1;
        }
        if let Wire::SocketIo(socketio) = self.wire {
            self.emit(socketio, chunk, entry, offset);
            return 0;
        }
        let frame = self.frame(offset, skipped, false);
        push_event(self.wire, &mut chunk.bytes, frame, entry.event.seq(), entry.event.json());
        chunk.push_frame(offset, offset, 1);
        0
    }

    fn batch(&self, chunk: &mut Chunk, entries: &[Entry], first: u64, skipped: u64, replay: bool) -> u64 {
        let numbered = entries.iter().enumerate().map(|(index, entry)| (first + index as u64, entry));
        let passing = numbered.filter(|(_, entry)| self.passes(entry));
        // Evaluated once: a filter parses the event.
        let passing: smallvec::SmallVec<[(u64, &Entry); BATCH_EVENTS]> = passing.collect();
        let (Some((begin, _)), Some((last, _))) = (passing.first().copied(), passing.last().copied()) else {
            return skipped + entries.len() as u64;
        };
        let end = first + entries.len() as u64 - 1;
        // One who catches up goes on after the page; one who is live is told with the next frame what follows the last
        // event. Either way what is left out up to the position that is told, and no more, is counted.
        let offset = if replay { end } else { last };
        let skipped = skipped + (offset + 1 - first) - passing.len() as u64;
        let frame = self.frame(offset, skipped, replay);
        let events = passing.iter().map(|(offset, entry)| (*offset, entry.event.seq(), entry.event.json()));
        push_batch(self.wire, &mut chunk.bytes, frame, events);
        chunk.push_frame(begin, last, passing.len());
        end - offset
    }

    fn frame(&self, offset: u64, skipped: u64, replay: bool) -> EventFrame<'_> {
        EventFrame { room_json: self.room_json, epoch: self.epoch, offset, skipped, replay }
    }
}

/// How many entries go into one frame.
fn run_length(entries: &[Entry]) -> usize {
    let more = entries.iter().take(BATCH_EVENTS - 1).take_while(|entry| entry.batch == Batch::More).count();
    (more + 1).min(entries.len())
}
