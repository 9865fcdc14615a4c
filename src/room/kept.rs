//! Rooms over an orderly restart: what one process writes when it has stopped, and the next one goes on from.
//!
//! Knows readers and writers, no files. Written and read record by record, so that it takes no memory but a page of a log
//! and one event. The checksum at the end is over everything before it: what is not whole is refused whole.
//!
//! | part | |
//! | --- | --- |
//! | [`MAGIC`], [`FORMAT`] | whose file it is, and how it is written |
//! | records | a kind (one byte), a length (four), a body; numbers are little-endian |
//! | checksum | CRC-32, four bytes, the last ones |
//!
//! `START` (with the moment of writing: the events' times are the writer's log time, and only ages mean something to the
//! reader), a `BESIDE` for each piece of text that others keep in the file, then of every room `ROOM`, `KEYED` if it has keys and a `KEY` for each of them, in the order of their newest events,
//! and an `EVENT` for each of its history, oldest first, then `REMEMBERED` for names that have an epoch and no events, then `END`. What else a room has is
//! a kind of record of its own between a `ROOM` and the next, and another `FORMAT`.
//!
//! `KEYED` says what the keys are made of, so that they are not taken for those of a configuration that has another key. An
//! `EVENT` names its key by the number that the `KEY` record has; an event whose key is not known any more has none.

mod records;

use super::bell::Bell;
use super::body::Body as Held;
use super::generation::Generation;
use super::log::ReadLimit;
use super::room::KnownKey;
use super::rooms::Rooms;
use crate::config::{Config, HistoryConfig, RoomConfig};
use crate::event::{Batch, Entry, Event, TypeSpan};
use crate::metrics::Metrics;
use crate::time::{Moment, Stamp};
use crate::wire::Epoch;
use records::{Body, RecordReader, RecordWriter};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// What every such file begins with.
const MAGIC: &[u8] = b"broadcastd rooms\n";
/// Rises with every change of what is written.
const FORMAT: u32 = 4;
/// Read as well. Its events have wall times, and it does not say when it was written.
const FORMAT_OF_WALL_TIMES: u32 = 3;

/// In `START`: an earlier build put its next epoch here, and does not mind a 0.
const RESERVED: u64 = 0;

const START: u8 = b'S';
const ROOM: u8 = b'R';
const KEYED: u8 = b'Y';
/// Text that somebody else keeps.
const BESIDE: u8 = b'B';
const KEY: u8 = b'K';
const EVENT: u8 = b'E';
const REMEMBERED: u8 = b'M';
const END: u8 = b'.';

/// Events read from a room's log at once.
const PAGE: ReadLimit = ReadLimit { events: 64, bytes: usize::MAX, overhead: 0, at_least_one: true };

/// How much was written, or gone on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Rooms that hold events, or may.
    pub rooms: u64,
    /// Events of their history.
    pub events: u64,
    /// Names of which an epoch is known, and nothing else.
    pub remembered: u64,
}

/// Why nothing is gone on from.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// Reading failed.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is no file of broadcastd's")]
    Foreign,
    /// Another version wrote it.
    #[error("another version wrote it, in format {0}; this one reads {FORMAT_OF_WALL_TIMES} and {FORMAT}")]
    Format(u32),
    /// Another daemon wrote it.
    #[error("it is the daemon's whose configuration is {0}")]
    OtherDaemon(String),
    /// Something is missing, too much, or not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl Rooms {
    /// Writes every room's epoch, offsets and history, and of which names an epoch is known. `owner` says whose they are.
    /// Nobody may publish any more. `beside` is text that somebody else wants to have again. An error after `until`; what was
    /// written by then is of no use.
    pub fn keep(&self, owner: &str, beside: &[String], out: impl Write, until: Instant) -> io::Result<Kept> {
        self.keep_at(&Stamp::now(), owner, beside, RecordWriter::new(out, until)?)
    }

    fn keep_at(
        &self,
        at: &Stamp,
        owner: &str,
        beside: &[String],
        mut out: RecordWriter<impl Write>,
    ) -> io::Result<Kept> {
        let mut kept = Kept::default();
        let seq = self.seq.load(Ordering::Relaxed);
        let Moment { log_ms, wall_ms } = at.moment;
        let numbers = [seq, RESERVED, log_ms, wall_ms, at.up_ms, at.boot.len() as u64];
        let numbers = numbers.map(u64::to_le_bytes).concat();
        out.record(START, &[&numbers, at.boot.as_bytes(), owner.as_bytes()])?;
        for text in beside {
            out.record(BESIDE, &[text.as_bytes()])?;
        }
        let mut page = Vec::new();
        for room in self.all() {
            let figures = room.figures();
            let events = figures.head + 1 - figures.first;
            let numbers = [figures.epoch.0, figures.head, events].map(u64::to_le_bytes);
            out.record(ROOM, &[&numbers.concat(), room.name().as_bytes()])?;
            let keys = room.keys();
            if !keys.is_empty() {
                out.record(KEYED, &[key_paths(&room.policy()).as_bytes()])?;
            }
            for key in keys {
                write_key(&mut out, &key)?;
            }
            let mut after = figures.first - 1;
            while after < figures.head {
                page.clear();
                if room.read(after, PAGE, &mut page) != after + 1 || page.is_empty() {
                    return Err(io::Error::other("a room changed while it was written"));
                }
                for entry in &page {
                    write_event(&mut out, entry)?;
                }
                after += page.len() as u64;
            }
            kept.rooms += 1;
            kept.events += events;
        }
        for memory in [&self.remembered, &self.unpublished] {
            // Names, epochs and numbers alone: a few megabytes at most, and nobody waits for them any more.
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, epoch, head) in memory.iter() {
                out.record(REMEMBERED, &[&epoch.0.to_le_bytes(), &head.to_le_bytes(), name.as_bytes()])?;
                kept.remembered += 1;
            }
        }
        out.record(END, &[&kept.rooms.to_le_bytes(), &kept.events.to_le_bytes()])?;
        out.finish()?;
        Ok(kept)
    }

    /// The rooms of a configuration, as [`new`](Self::new) makes them, that go on from `len` bytes which [`keep`](Self::keep)
    /// wrote for the same `owner`, and what was written beside them. Rooms that the configuration does not have are left out,
    /// history is trimmed.
    pub fn going_on(
        config: &Arc<Config>,
        bells: Vec<Arc<Bell>>,
        metrics: Arc<Metrics>,
        from: (&str, impl Read, u64),
    ) -> Result<(Arc<Rooms>, Kept, Vec<String>), NotKept> {
        Rooms::going_on_at(Stamp::now(), config, bells, metrics, from)
    }

    fn going_on_at(
        now: Stamp,
        config: &Arc<Config>,
        bells: Vec<Arc<Bell>>,
        metrics: Arc<Metrics>,
        (owner, input, len): (&str, impl Read, u64),
    ) -> Result<(Arc<Rooms>, Kept, Vec<String>), NotKept> {
        let mut input = RecordReader::new(input, len)?;
        let rooms = Rooms::with_none(config, bells, metrics)?;
        let generation = rooms.generation();
        let statics = generation.rooms.iter().filter(|room| room.name.is_static()).count();
        let mut reading = Reading {
            rooms: &rooms,
            places: generation.limits.rooms.saturating_sub(statics),
            generation,
            times: Times { written_ms: now.moment.wall_ms, here_ms: now.moment.log_ms },
            now,
            room: None,
            events: HashMap::new(),
            seen: Kept::default(),
            kept: Kept::default(),
            beside: Vec::new(),
            epochs: Vec::new(),
        };
        let read = reading.all(owner, &mut input);
        // What makes no sense is damage in the first place, and another owner only if it was really written so.
        let rest = input.finish()?;
        read?;
        if rest > 0 {
            return Err(NotKept::Damaged("it goes on after its end"));
        }
        let (kept, beside) = (reading.kept, reading.beside);
        rooms.epochs.keep_clear_of(&reading.epochs)?;
        rooms.open_statics();
        Ok((rooms, kept, beside))
    }
}

fn write_event(out: &mut RecordWriter<impl Write>, entry: &Entry) -> io::Result<()> {
    let event = &entry.event;
    let batch = match entry.batch {
        Batch::Single => 0,
        Batch::More => 1,
        Batch::Last => 2,
    };
    let beside = event.beside();
    let span = event.type_span().to_number();
    let numbers = [event.seq(), event.accepted_at_ms(), span, entry.key.0.into()];
    let numbers = numbers.map(u64::to_le_bytes).concat();
    let beside_len = (beside.len() as u32).to_le_bytes();
    out.record(EVENT, &[&numbers, &[batch], &beside_len, event.json(), beside])
}

/// What a room's keys are made of.
fn key_paths(config: &RoomConfig) -> String {
    config.key.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A key's number and text, with its newest event where history does not have it; else with offset 0.
fn write_key(out: &mut RecordWriter<impl Write>, key: &KnownKey) -> io::Result<()> {
    let id = u64::from(key.id.0).to_le_bytes();
    let text_len = (key.text.len() as u64).to_le_bytes();
    let Some((offset, event)) = &key.newest else {
        return out.record(KEY, &[&id, &[0; 8], &text_len, key.text.as_bytes()]);
    };
    let (span, text_len) = (event.type_span().to_number(), key.text.len() as u64);
    let numbers = [*offset, text_len, event.seq(), event.accepted_at_ms(), span].map(u64::to_le_bytes);
    let [offset, text_len, seq, accepted_at_ms, span] = numbers;
    let beside_len = (event.beside().len() as u32).to_le_bytes();
    let pieces: [&[u8]; 10] = [
        &id,
        &offset,
        &text_len,
        key.text.as_bytes(),
        &seq,
        &accepted_at_ms,
        &span,
        &beside_len,
        event.json(),
        event.beside(),
    ];
    out.record(KEY, &pieces)
}

/// A reading under way.
struct Reading<'a> {
    rooms: &'a Rooms,
    generation: Arc<Generation>,
    /// Places among `limits.rooms` that static rooms do not need.
    places: usize,
    now: Stamp,
    times: Times,
    /// The room whose events are read.
    room: Option<ReadRoom>,
    /// Events by their number: rooms share an event as they did before.
    events: HashMap<u64, Event>,
    /// What there was.
    seen: Kept,
    /// What was gone on from.
    kept: Kept,
    /// What others had written.
    beside: Vec<String>,
    /// Every epoch that is carried over.
    epochs: Vec<Epoch>,
}

/// One moment in the writer's time and in log time here.
#[derive(Clone, Copy)]
struct Times {
    written_ms: u64,
    here_ms: u64,
}

impl Times {
    /// The log time here that leaves an event its age. Later times than the moment become the moment.
    fn here(self, at_ms: u64) -> u64 {
        self.here_ms.saturating_sub(self.written_ms.saturating_sub(at_ms))
    }
}

struct ReadRoom {
    name: String,
    epoch: Epoch,
    head: u64,
    /// Events to come.
    left: u64,
    /// None when the configuration does not have the room.
    held: Option<(Held, HistoryConfig)>,
    /// What its keys are made of, in the configuration in force.
    key_paths: String,
    /// Whether the keys that were written are made of the same.
    has_keys: bool,
    /// Texts of its keys by their numbers.
    keys: HashMap<u64, String>,
}

impl Reading<'_> {
    fn all(&mut self, owner: &str, input: &mut RecordReader<impl Read>) -> Result<(), NotKept> {
        let mut body = Vec::new();
        if input.record(&mut body)? != START {
            return Err(NotKept::Damaged("it does not begin where it must"));
        }
        let mut start = Body::new(&body);
        let (seq, _reserved) = (start.number()?, start.number()?);
        if input.format() == FORMAT {
            let moment = Moment { log_ms: start.number()?, wall_ms: start.number()? };
            let (up_ms, boot_len) = (start.number()?, start.number()?);
            let written = Stamp { moment, up_ms, boot: start.text_of(boot_len)? };
            let here_ms = self.now.moment.log_ms.saturating_sub(self.now.ms_since(&written));
            self.times = Times { written_ms: moment.log_ms, here_ms };
        }
        let written_for = start.text()?;
        if written_for != owner {
            return Err(NotKept::OtherDaemon(written_for));
        }
        self.rooms.seq.fetch_max(seq, Ordering::Relaxed);
        loop {
            let kind = input.record(&mut body)?;
            let mut body = Body::new(&body);
            match kind {
                ROOM => {
                    self.end_room()?;
                    self.begin_room(&mut body)?;
                }
                BESIDE => self.beside.push(body.text()?),
                KEYED => self.keyed(&mut body)?,
                KEY => self.key(&mut body)?,
                EVENT => self.event(&mut body)?,
                REMEMBERED => {
                    self.end_room()?;
                    let (epoch, head) = (Epoch(body.number()?), body.number()?);
                    self.epochs.push(epoch);
                    self.remember(&body.text()?, epoch, head);
                }
                END => {
                    self.end_room()?;
                    let counts = (body.number()?, body.number()?);
                    if counts != (self.seen.rooms, self.seen.events) {
                        return Err(NotKept::Damaged("rooms or events are missing"));
                    }
                    self.rooms.relieve(self.now.moment.log_ms);
                    return Ok(());
                }
                _ => return Err(NotKept::Damaged("it holds what was never written")),
            }
        }
    }

    fn begin_room(&mut self, body: &mut Body<'_>) -> Result<(), NotKept> {
        let (epoch, head, left) = (Epoch(body.number()?), body.number()?, body.number()?);
        let name = body.text()?;
        self.epochs.push(epoch);
        let Some(before) = head.checked_sub(left) else {
            return Err(NotKept::Damaged("a room has more events than offsets"));
        };
        let policy = self.generation.policy(&name);
        let most = self.generation.limits.keys;
        let held = policy.map(|policy| (Held::new(before, policy, most), policy.history));
        let key_paths = policy.map_or_else(String::new, |policy| key_paths(policy));
        let (has_keys, keys) = (false, HashMap::new());
        self.room = Some(ReadRoom { name, epoch, head, left, held, key_paths, has_keys, keys });
        self.seen.rooms += 1;
        Ok(())
    }

    fn keyed(&mut self, body: &mut Body<'_>) -> Result<(), NotKept> {
        let room = self.room.as_mut().ok_or(NotKept::Damaged("keys belong to no room"))?;
        room.has_keys = body.text()? == room.key_paths;
        Ok(())
    }

    fn key(&mut self, body: &mut Body<'_>) -> Result<(), NotKept> {
        let room = self.room.as_mut().ok_or(NotKept::Damaged("a key belongs to no room"))?;
        if !room.has_keys {
            return Ok(());
        }
        let (id, offset, len) = (body.number()?, body.number()?, body.number()?);
        let text = body.text_of(len)?;
        if offset > 0 {
            let numbers = (body.number()?, self.times.here(body.number()?));
            let span = TypeSpan::from_number(body.number()?);
            let (json, beside) = body.two()?;
            let event = Event::typed(numbers, &[json], span, beside, &mut Vec::new());
            if let Some((held, _)) = &mut room.held {
                held.recall(&text, offset, &event);
            }
        }
        room.keys.insert(id, text);
        Ok(())
    }

    fn event(&mut self, body: &mut Body<'_>) -> Result<(), NotKept> {
        let room = self.room.as_mut().filter(|room| room.left > 0);
        let room = room.ok_or(NotKept::Damaged("an event belongs to no room"))?;
        room.left -= 1;
        self.seen.events += 1;
        let (seq, accepted_at_ms) = (body.number()?, self.times.here(body.number()?));
        let (span, key) = (TypeSpan::from_number(body.number()?), body.number()?);
        let batch = match body.byte()? {
            0 => Batch::Single,
            1 => Batch::More,
            2 => Batch::Last,
            _ => return Err(NotKept::Damaged("an event's place in its batch is unknown")),
        };
        let (json, beside) = body.two()?;
        let Some((held, history)) = &mut room.held else { return Ok(()) };
        let event = Event::typed((seq, accepted_at_ms), &[json], span, beside, &mut Vec::new());
        let known = self.events.get(&seq).filter(|known| **known == event);
        let key = room.keys.get(&key).map_or("", String::as_str);
        held.append_to(known.unwrap_or(&event).clone(), key, batch);
        if known.is_none() {
            self.events.insert(seq, event);
        }
        held.trim(history, self.now.moment.log_ms, u64::MAX);
        Ok(())
    }

    fn end_room(&mut self) -> Result<(), NotKept> {
        let Some(room) = self.room.take() else { return Ok(()) };
        if room.left > 0 {
            return Err(NotKept::Damaged("a room's events are missing"));
        }
        let Some((held, _)) = room.held else { return Ok(()) };
        let is_static = self.generation.is_static(&room.name);
        let opens = is_static || (!held.is_empty() && self.places > 0);
        let opened = if opens { self.rooms.open_in(room.epoch, &room.name) } else { None };
        let Some(opened) = opened else {
            self.remember(&room.name, room.epoch, room.head);
            return Ok(());
        };
        self.places -= usize::from(!is_static);
        self.kept.rooms += 1;
        self.kept.events += held.log.head() + 1 - held.log.history_first();
        opened.go_on(held, &self.rooms.totals);
        let limit = self.generation.limits.history_memory;
        if self.rooms.totals.history_bytes() > limit.saturating_add(1 << 20) {
            self.events.clear();
            self.rooms.relieve(self.now.moment.log_ms);
        }
        Ok(())
    }

    fn remember(&mut self, name: &str, epoch: Epoch, head: u64) {
        if self.generation.policy(name).is_some() {
            self.rooms.remember(name, epoch, head);
            self.kept.remembered += 1;
        }
    }
}

#[cfg(test)]
mod tests;
