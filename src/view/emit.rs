//! Entries as a client of Socket.IO has them: each event emitted as its type, or as what its room's events are called; in
//! arrays where the room has a buffer.

use super::chunk::Chunk;
use super::encode::Encoder;
use crate::config::{RoomConfig, is_reserved_event};
use crate::event::{BATCH_EVENTS, Entry};
use crate::wire::{Position, SocketIo, Wire, push_position};

/// Event name used when the type is unknown or reserved.
const UNNAMED: &[u8] = b"\"event\"";

/// How a room's events are emitted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Emit<'a> {
    /// As what, a JSON string; none: as their types, or as the room's name where they come in arrays.
    name_json: Option<&'a [u8]>,
    /// Whether they come in arrays, one for each batch that the room's buffer flushed: an event by itself as well, so that
    /// the argument is always the same.
    in_arrays: bool,
}

impl<'a> Emit<'a> {
    /// As a room's configuration says; one by one without one.
    pub fn of(config: Option<&'a RoomConfig>) -> Emit<'a> {
        let name_json = config.and_then(|config| config.emitted_as.as_deref()).map(str::as_bytes);
        Emit { name_json, in_arrays: config.is_some_and(|config| config.buffer.is_some()) }
    }
}

impl Encoder<'_> {
    /// The wire, if events are emitted in arrays.
    pub(super) fn emits_arrays(&self) -> Option<SocketIo> {
        match self.wire {
            Wire::SocketIo(socketio) if self.emit.in_arrays => Some(socketio),
            _ => None,
        }
    }

    /// Appends an event.
    pub(super) fn emit(&self, socketio: SocketIo, chunk: &mut Chunk, entry: &Entry, offset: u64) {
        self.push_one(socketio, chunk, entry, Some(Position { epoch: self.epoch, offset }));
        chunk.push_frame(offset, offset, 1);
    }

    /// Appends those entries of a batch that pass the filter. Takes and returns what was left out, as
    /// [`live`](Self::live) does.
    pub(super) fn array(
        &self,
        socketio: SocketIo,
        chunk: &mut Chunk,
        entries: &[Entry],
        first: u64,
        skipped: u64,
    ) -> u64 {
        let numbered = (first..).zip(entries);
        let passing = numbered.filter(|(_, entry)| self.passes(entry));
        let passing: smallvec::SmallVec<[(u64, &Entry); BATCH_EVENTS]> = passing.collect();
        let (Some((begin, _)), Some((last, _))) = (passing.first().copied(), passing.last().copied()) else {
            return skipped + entries.len() as u64;
        };
        self.push_array(socketio, chunk, passing.iter().map(|(_, entry)| *entry), (begin, last));
        first + entries.len() as u64 - 1 - last
    }

    /// Appends events as one array, which begins with the offset `first` and leads to the offset `to`.
    pub(super) fn push_array<'e>(
        &self,
        socketio: SocketIo,
        chunk: &mut Chunk,
        entries: impl Iterator<Item = &'e Entry>,
        (first, to): (u64, u64),
    ) {
        let position = Some(Position { epoch: self.epoch, offset: to });
        let events = self.push_list(socketio, chunk, entries, position);
        chunk.push_frame(first, to, events);
    }

    /// Appends a page of a snapshot: its events as others are emitted, without a position, and at its end, if it leads to
    /// one, that.
    pub(super) fn emit_snapshot(
        &self,
        socketio: SocketIo,
        chunk: &mut Chunk,
        events: &[&(u64, Entry)],
        (first, end): (u64, u64),
        position: Option<Position>,
    ) {
        let last = position.map_or(end, |position| position.offset);
        if !events.is_empty() {
            if self.emit.in_arrays {
                self.push_list(socketio, chunk, events.iter().map(|(_, entry)| entry), None);
            } else {
                for (_, entry) in events {
                    self.push_one(socketio, chunk, entry, None);
                }
            }
            chunk.push_frame(first, last, events.len());
        }
        if let Some(position) = position {
            if socketio.tells_positions() {
                push_position(self.wire, &mut chunk.bytes, self.room_json, position);
            }
            chunk.push_frame(first, last, 0);
        }
    }

    fn push_one(&self, socketio: SocketIo, chunk: &mut Chunk, entry: &Entry, position: Option<Position>) {
        let name = self.emit.name_json.or_else(|| entry.event.type_json());
        let name = name.filter(|name| !is_reserved(name)).unwrap_or(UNNAMED);
        let json = entry.event.json();
        socketio.push(&mut chunk.bytes, name, position, json.len(), |out| out.extend_from_slice(json));
    }

    fn push_list<'e>(
        &self,
        socketio: SocketIo,
        chunk: &mut Chunk,
        entries: impl Iterator<Item = &'e Entry>,
        position: Option<Position>,
    ) -> usize {
        let name = self.emit.name_json.unwrap_or(self.room_json);
        let name = if is_reserved(name) { UNNAMED } else { name };
        let mut events = 0;
        socketio.push(&mut chunk.bytes, name, position, 0, |out| {
            out.push(b'[');
            for entry in entries {
                out.extend_from_slice(if events == 0 { b"" } else { b"," });
                out.extend_from_slice(entry.event.json());
                events += 1;
            }
            out.push(b']');
        });
        events
    }
}

/// True if a name, a JSON string, is not a producer's to have. With escapes it may be written in many ways.
fn is_reserved(name_json: &[u8]) -> bool {
    if memchr::memchr(b'\\', name_json).is_some() {
        return serde_json::from_slice(name_json)
            .is_ok_and(|name: String| is_reserved_event(name.as_bytes()));
    }
    is_reserved_event(name_json.get(1..name_json.len() - 1).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_producers_are_known_however_they_are_written() {
        for name in [
            r#""connect""#,
            r#""disconnect""#,
            r#""newListener""#,
            r#""\u0063onnect""#,
            r#""gap""#,
            r#""g\u0061p""#,
        ] {
            assert!(is_reserved(name.as_bytes()), "{name}");
        }
        for name in
            [r#""connected""#, r#""""#, r#""Connect""#, r#""\u0063onnected""#, r#""\ud800""#, r#""gaps""#]
        {
            assert!(!is_reserved(name.as_bytes()), "{name}");
        }
    }
}
