//! Entries of a log as frames of `broadcastd.v1`: the fourth of the five functions a line passes on its way to a socket.
//!
//! Allocates only when a chunk grows.

use super::chunk::{Chunk, Frame};
use crate::event::{BATCH_EVENTS, Batch, Entry, Filter};
use crate::wire::{EventFrame, push_batch, push_event};

/// What a frame adds to an event at most, beside the room's name: keys, three numbers, a header.
pub const FRAME_OVERHEAD: usize = 128;

/// Encodes one room's entries.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// The room's name as a JSON string.
    pub room_json: &'a [u8],
    /// What to leave out.
    pub filter: Option<&'a Filter>,
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
            skipped = if of_run[0].batch == Batch::Single {
                self.event(chunk, &of_run[0], at, skipped)
            } else {
                self.batch(chunk, of_run, at, skipped, false)
            };
            index += run;
        }
        skipped
    }

    /// Appends a page of replayed entries, at most [`BATCH_EVENTS`], as one `batch`; nothing where a filter lets none of
    /// them pass. Takes and returns what was left out before, as [`live`](Self::live) does.
    pub fn page(&self, chunk: &mut Chunk, entries: &[Entry], first: u64, skipped: u64) -> u64 {
        self.batch(chunk, entries, first, skipped, true)
    }

    fn event(&self, chunk: &mut Chunk, entry: &Entry, offset: u64, skipped: u64) -> u64 {
        if !self.passes(entry) {
            return skipped + 1;
        }
        let frame = EventFrame { room_json: self.room_json, offset, skipped, replay: false };
        push_event(&mut chunk.bytes, frame, entry.event.seq(), entry.event.json());
        chunk.frames.push(Frame { first: offset, last: offset, end: chunk.bytes.len() as u32, events: 1 });
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
        let frame = EventFrame { room_json: self.room_json, offset, skipped, replay };
        let events = passing.iter().map(|(offset, entry)| (*offset, entry.event.seq(), entry.event.json()));
        push_batch(&mut chunk.bytes, frame, events);
        let bytes = chunk.bytes.len() as u32;
        chunk.frames.push(Frame { first: begin, last, end: bytes, events: passing.len() as u32 });
        end - offset
    }

    fn passes(&self, entry: &Entry) -> bool {
        self.filter.is_none_or(|filter| filter.passes(&entry.event))
    }
}

/// How many entries go into one frame.
fn run_length(entries: &[Entry]) -> usize {
    let more = entries.iter().take(BATCH_EVENTS - 1).take_while(|entry| entry.batch == Batch::More).count();
    (more + 1).min(entries.len())
}
