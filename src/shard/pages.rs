//! Pages: what a room has after some offset, encoded for those who catch up there, and shared between them.

use super::pass::{emitting, write_room_json};
use super::shard::Shard;
use crate::event::{BATCH_EVENTS, Entry};
use crate::room::ReadLimit;
use crate::view::{CHUNK_BYTES, Chunk, Emit, Encoder, Reduced};
use std::collections::VecDeque;
use std::rc::Rc;

/// Encoded pages that a shard keeps: clients who resume after the same event read the same pages.
const PAGES: usize = 8;
/// Bytes of a page's events, unless one event alone is longer.
const PAGE_BYTES: usize = CHUNK_BYTES;
/// Events looked at for one page while a filter lets none pass: a millisecond or two. A filter that passes nothing of a
/// long history must not keep the shard from its other clients.
const FILTERED_EVENTS: u64 = 1024;
/// Events of which a page of a view with a pace has the newest of every key.
const REDUCED_EVENTS: u64 = 1024;
/// Bytes of those, unless one event alone is longer.
const REDUCED_BYTES: usize = 4 * PAGE_BYTES;

/// A page of keys is shared for so long. It stays right for ever; but who gets an old one gets keys that have had newer events
/// since, and those once more.
const KEYS_SHARED_MS: u64 = 100;

/// Encoded pages, the newest last.
#[derive(Default)]
pub(super) struct PageCache {
    pages: VecDeque<Page>,
}

/// What a room has after an offset.
#[derive(Clone)]
pub(super) struct Page {
    view: u32,
    /// Offset after which it begins.
    after: u64,
    /// Offset that it leads to; beyond its frame's last event where events were left out.
    pub(super) to: u64,
    kind: Kind,
    /// When it was made, in the shard's milliseconds.
    made_ms: u64,
    pub(super) chunk: Rc<Chunk>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of the log.
    Log,
    /// Of the compacted log, with more to come.
    Keys,
    /// The last of the compacted log up to where it leads.
    LastKeys,
}

impl PageCache {
    /// Forgets the pages of a view that is gone: another may get its place.
    pub(super) fn forget(&mut self, view: u32) {
        self.pages.retain(|page| page.view != view);
    }

    fn find(&self, view: u32, after: u64, is_it: impl Fn(&Page) -> bool) -> Option<Page> {
        let found = self.pages.iter().find(|page| page.view == view && page.after == after && is_it(page));
        found.cloned()
    }

    fn keep(&mut self, page: Page) -> Page {
        if self.pages.len() == PAGES {
            self.pages.pop_front();
        }
        self.pages.push_back(page.clone());
        page
    }
}

impl Page {
    /// Whether a snapshot ends with it.
    pub(super) fn is_last(&self) -> bool {
        self.kind == Kind::LastKeys
    }
}

impl Shard {
    /// The page of a view's log after a position; or after which offset something is still to be had.
    pub(super) fn page(&mut self, view: u32, after: u64) -> Result<Page, u64> {
        if let Some(page) = self.pages.find(view, after, |page| page.kind == Kind::Log) {
            return Ok(page);
        }
        let state = &self.views[view as usize];
        let room = &self.seats[state.seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        let (wire, epoch, filter) = (state.wire, room.epoch(), state.filter());
        let config = emitting(wire, room);
        let emit = Emit::of(config.as_deref());
        let encoder = Encoder { wire, room_json: &self.room_json, epoch, filter, emit };
        let reduces = state.every().is_some() && !room.policy().key.is_empty();
        let (span, bytes) =
            if reduces { (REDUCED_EVENTS, REDUCED_BYTES) } else { (BATCH_EVENTS as u64, PAGE_BYTES) };
        let mut chunk = Chunk::default();
        let (mut to, mut skipped) = (after, 0);
        let furthest = state.cursor.min(after.saturating_add(FILTERED_EVENTS));
        // What a filter lets nothing of pass is counted in the page that something passes in.
        while chunk.frames.is_empty() && to < furthest {
            // Pages end where offsets are multiples of their size, so that readers who came in at different places soon
            // share them; and at the cursor, for beyond it the view has chunks to come.
            let boundary = (to / span + 1) * span;
            let events = (boundary.min(state.cursor) - to) as usize;
            let limit = ReadLimit { events, bytes, overhead: wire.overhead() / 2, at_least_one: true };
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
            if reduces {
                let end = to + self.entries.len() as u64;
                let mut reduced = Reduced::default();
                let numbered = (first..).zip(self.entries.drain(..));
                numbered.filter(|(_, entry)| encoder.passes(entry)).for_each(|(offset, entry)| {
                    reduced.push(offset, entry);
                });
                take_page(&mut reduced, &mut self.keyed, wire.overhead() / 2);
                let reached =
                    if reduced.is_empty() { end } else { self.keyed.last().map_or(end, |last| last.0) };
                skipped = encoder.reduced(&mut chunk, &self.keyed, (to, reached), skipped, true);
                to = reached;
            } else {
                skipped = encoder.page(&mut chunk, &self.entries, first, skipped);
                to += self.entries.len() as u64;
            }
        }
        self.entries.clear();
        self.keyed.clear();
        let (kind, made_ms) = (Kind::Log, self.elapsed_ms());
        Ok(self.pages.keep(Page { view, after, to, kind, made_ms, chunk: Rc::new(chunk) }))
    }

    /// The page of a view's compacted log after a position and up to an offset.
    ///
    /// A page that is kept may be old: keys have had newer events since. Those are found further on, since they came after
    /// everything that the page leads to; so an old page is as good as a new one.
    pub(super) fn keys_page(&mut self, view: u32, after: u64, upto: u64) -> Page {
        let made_ms = self.elapsed_ms();
        let found = self.pages.find(view, after, |page| {
            let is_it = match page.kind {
                Kind::Log => false,
                Kind::Keys => page.to <= upto,
                Kind::LastKeys => page.to == upto,
            };
            is_it && made_ms - page.made_ms < KEYS_SHARED_MS
        });
        if let Some(page) = found {
            return page;
        }
        let state = &self.views[view as usize];
        let room = &self.seats[state.seat as usize].room;
        write_room_json(&mut self.room_json, room.name());
        let (wire, epoch, filter) = (state.wire, room.epoch(), state.filter());
        let config = emitting(wire, room);
        let emit = Emit::of(config.as_deref());
        let encoder = Encoder { wire, room_json: &self.room_json, epoch, filter, emit };
        let mut chunk = Chunk::default();
        let (mut to, mut looked_at, mut kind) = (after, 0, Kind::Keys);
        while chunk.frames.is_empty() && kind == Kind::Keys && looked_at < FILTERED_EVENTS {
            let limit = ReadLimit {
                events: BATCH_EVENTS,
                bytes: PAGE_BYTES,
                overhead: wire.overhead() / 2,
                at_least_one: true,
            };
            self.keyed.clear();
            let read = room.read_keys(to, upto, limit, &mut self.keyed);
            (to, looked_at) = (read.to, looked_at + self.keyed.len() as u64);
            if read.is_all {
                kind = Kind::LastKeys;
            }
            encoder.snapshot(&mut chunk, &self.keyed, read.is_all.then_some(to));
        }
        self.keyed.clear();
        self.pages.keep(Page { view, after, to, kind, made_ms, chunk: Rc::new(chunk) })
    }
}

/// Moves what fits into a page from the front of what is reduced.
fn take_page(reduced: &mut Reduced, out: &mut Vec<(u64, Entry)>, overhead: usize) {
    out.clear();
    let mut bytes = 0;
    while let Some((_, entry)) = reduced.first() {
        bytes += entry.event.json().len() + overhead;
        if !out.is_empty() && (out.len() == BATCH_EVENTS || bytes > PAGE_BYTES) {
            return;
        }
        out.extend(reduced.pop());
    }
}
