//! Routes compiled from a configuration.

use super::check::{self, Check};
use super::rooms::RoomRoute;
use super::skeleton::{self, Skeleton};
use super::{Beside, Outcome, Rejection, Scratch, fault, flaw, json};
use crate::config::{Config, IngestListenConfig, Invalid, Unrouted};
use crate::event::{Event, FieldTree, TypeSpan};
use crate::pattern::{Path, TypePattern, Value};
use crate::time::Moment;
use hashbrown::HashMap;
use serde_json::Deserializer;
use std::borrow::Cow;
use std::ops::Range;

/// The field that says when an event was made, in milliseconds since the Unix epoch.
const TIMESTAMP: &str = "timestamp";
/// As it is put in.
const TIMESTAMP_NAME: &[u8] = b"\"timestamp\":";

/// The routes of one configuration as one ingest listener sees them. Immutable; shared by that listener's reads.
pub struct Routes {
    tree: FieldTree,
    type_slot: usize,
    /// Where `timestamp` is, when one is to be added where it is missing.
    timestamp_slot: Option<usize>,
    /// By index into the configuration's rooms.
    rooms: Vec<RoomRoute>,
    /// Every type that the configuration or the daemon knows by its whole name.
    types: HashMap<Box<str>, TypeRoute>,
    /// What takes types that nobody knows by name.
    prefixes: Vec<(Box<str>, usize)>,
    unrouted: Fallback,
    invalid: Fallback,
}

/// What a type's name leads to.
struct TypeRoute {
    checks: Box<[Check]>,
    /// Rooms that take the type, in the configuration's order.
    rooms: Box<[usize]>,
}

/// What happens to an event that goes nowhere by itself.
enum Fallback {
    Reject,
    /// `unrouted = "count"`, `invalid = "warn"`.
    Let,
    /// A room's index, and its name where that is made by a template.
    Room(usize, Option<Box<str>>),
}

impl Routes {
    /// Compiles the routes. A checked configuration always compiles: `unrouted` and `invalid` name rooms that it has,
    /// static ones or such as its templates make.
    pub fn compile(config: &Config, listener: &IngestListenConfig) -> Routes {
        let mut tree = FieldTree::new();
        let type_path = Path::parse(&listener.type_field).unwrap_or_else(|| Path::top(&listener.type_field));
        let type_slot = tree.value_slot(&type_path);
        let timestamp_slot = listener.add_timestamp.then(|| tree.slot(&Path::top(TIMESTAMP)));
        let statics = config.rooms.iter().filter(|room| room.name.is_static());
        let mut statics: Vec<&str> = statics.map(|room| room.name.source()).collect();
        statics.sort_unstable();
        let rooms = config.rooms.iter().enumerate();
        let rooms = rooms.map(|room| RoomRoute::compile(&mut tree, &statics, room)).collect();
        let types = types(&mut tree, config);
        let prefixes = patterns(config)
            .filter_map(|(room, pattern)| match pattern {
                TypePattern::Prefix(prefix) => Some((prefix.as_str().into(), room)),
                TypePattern::Exact(_) => None,
            })
            .collect();
        let unrouted = match &config.ingest.unrouted {
            Unrouted::Reject => Fallback::Reject,
            Unrouted::Count => Fallback::Let,
            Unrouted::Room(name) => Fallback::to_room(config, name),
        };
        let invalid = match &config.ingest.invalid {
            Invalid::Reject => Fallback::Reject,
            Invalid::Warn => Fallback::Let,
            Invalid::Room(name) => Fallback::to_room(config, name),
        };
        Routes { tree, type_slot, timestamp_slot, rooms, types, prefixes, unrouted, invalid }
    }

    /// Parses, checks and routes one line, without its line end.
    ///
    /// `number` gives the event its daemon-wide number; it is called once for each [`Outcome::Event`], and not
    /// otherwise. The wall time of `now` is put in as `timestamp` where one is missing and wanted. White space around the object is
    /// left out of the event; everything in it stays byte for byte. A field that any room or type of the configuration
    /// looks at must not appear twice; what nobody looks at is only checked to be JSON that every reader takes, to its end.
    /// Allocates for the event only, and for strings with escapes in fields that are looked at.
    pub fn read(
        &self,
        scratch: &mut Scratch,
        line: &[u8],
        beside: &Beside,
        now: Moment,
        number: impl FnOnce() -> u64,
    ) -> Result<Outcome, Box<Rejection>> {
        let is_long = line.len() >= skeleton::SHORTEST_LINE;
        let taken = match is_long.then(|| self.read_skeleton(scratch, line, beside)).flatten() {
            Some(taken) => taken,
            None => self.read_whole(scratch, line, beside)?,
        };
        Ok(match taken {
            Taken::Event { add_timestamp, of_type } => {
                let object = line.trim_ascii();
                let object_start = object.as_ptr().addr() - line.as_ptr().addr();
                let mut digits = itoa::Buffer::new();
                let timestamp = digits.format(now.wall_ms).as_bytes();
                // An object with a type is not empty, so that a comma is right.
                let (begin, rest) = object.split_at(1);
                let stamped: [&[u8]; 5] = [begin, TIMESTAMP_NAME, timestamp, b",", rest];
                let json = if add_timestamp { &stamped[..] } else { &[object] };
                let put_in = json.iter().map(|piece| piece.len()).sum::<usize>() - object.len();
                let of_type = TypeSpan::new(of_type.start - object_start, of_type.len()).moved_by(put_in);
                let numbers = (number(), now.log_ms);
                Outcome::Event(Event::typed(numbers, json, of_type, beside.json(), &mut scratch.bytes))
            }
            Taken::Unrouted => Outcome::Unrouted,
            Taken::NameTooLong => Outcome::NameTooLong,
        })
    }

    #[inline]
    fn read_whole(
        &self,
        scratch: &mut Scratch,
        line: &[u8],
        beside: &Beside,
    ) -> Result<Taken, Box<Rejection>> {
        scratch.clear();
        let text = std::str::from_utf8(line).map_err(|error| fault::bad_utf8(line, error))?;
        // A form feed, which this trims as well, is refused by the parser.
        if !text.trim_ascii().starts_with('{') {
            return Err(fault::not_an_object(text).into());
        }
        let look = json::look(text);
        if let Some(column) = look.too_deep(text) {
            return Err(fault::too_deep(column).into());
        }
        let mut values = self.values(scratch);
        let parsed = self.parse(text, look, &mut values);
        let taken = parsed.and_then(|()| self.route(scratch, (text, line), beside, &mut values));
        scratch.values = recycled(values);
        taken
    }

    /// Reads a line by its skeleton. None if it has none, and where anything is to be said of it: that is for
    /// [`read_whole`](Self::read_whole), which knows the columns. Apart from short lines' way, which it would make longer.
    #[inline(never)]
    fn read_skeleton(&self, scratch: &mut Scratch, line: &[u8], beside: &Beside) -> Option<Taken> {
        if !line.trim_ascii().starts_with(b"{") {
            return None;
        }
        scratch.clear();
        let mut skeleton = std::mem::take(&mut scratch.skeleton);
        let taken =
            if skeleton.make(line) { self.route_skeleton(scratch, &skeleton, line, beside) } else { None };
        scratch.skeleton = skeleton;
        taken
    }

    fn route_skeleton(
        &self,
        scratch: &mut Scratch,
        skeleton: &Skeleton,
        line: &[u8],
        beside: &Beside,
    ) -> Option<Taken> {
        let text = skeleton.text()?;
        let look = json::look(text);
        if look.too_deep(text).is_some() {
            return None;
        }
        let mut values = self.values(scratch);
        let parsed =
            self.parse(text, look, &mut values).ok().and_then(|()| skeleton.restore(line, &mut values));
        let taken = parsed.and_then(|()| self.route(scratch, (text, line), beside, &mut values).ok());
        scratch.values = recycled(values);
        taken.filter(|_| scratch.warning.is_none())
    }

    /// Values of a line, all absent, in the memory that the scratch has for them.
    #[inline]
    fn values<'a>(&self, scratch: &mut Scratch) -> Vec<Value<'a>> {
        let mut values = recycled(std::mem::take(&mut scratch.values));
        values.resize_with(self.tree.len(), Value::default);
        values
    }

    #[inline]
    fn parse<'a>(
        &self,
        text: &'a str,
        look: json::Look,
        values: &mut [Value<'a>],
    ) -> Result<(), Box<Rejection>> {
        let read = self.tree.read(Deserializer::from_str(text), values);
        let doubled = read.map_err(|error| fault::bad_json(text, &error))?;
        if look.may_be_flawed {
            refuse_flawed(text)?;
        }
        match doubled {
            None => Ok(()),
            Some(doubled) => Err(fault::duplicate_field(text, &self.tree.names_of(doubled)).into()),
        }
    }

    /// Checks a line's values, and puts its rooms into the scratch. `text` is what was parsed: the line, or its skeleton.
    #[inline]
    fn route<'a>(
        &self,
        scratch: &mut Scratch,
        (text, line): (&str, &[u8]),
        beside: &'a Beside,
        values: &mut [Value<'a>],
    ) -> Result<Taken, Box<Rejection>> {
        let event_type = match &values[self.type_slot] {
            Value::String(event_type) if !event_type.is_empty() => event_type,
            other => {
                let is_absent = *other == Value::Absent;
                return Err(fault::bad_type(text, &self.tree.names_of(self.type_slot), is_absent).into());
            }
        };
        let of_type = self.type_in((text, line), &values[self.type_slot]);
        let known = self.types.get(&**event_type);
        let failed = known.and_then(|known| check::failed(&known.checks, values));
        // Own fields only: what is beside an event is not in it.
        let add_timestamp = self.timestamp_slot.is_some_and(|slot| values[slot] == Value::Absent);
        if let Some(failed) = failed {
            let rejection = Box::new(failed.rejection(text, event_type, values));
            match &self.invalid {
                Fallback::Reject => return Err(rejection),
                Fallback::Let => {}
                Fallback::Room(room, name) => {
                    self.add_fallback(scratch, values, *room, name.as_deref());
                    scratch.warning = Some(rejection);
                    return Ok(Taken::Event { add_timestamp: false, of_type });
                }
            }
            scratch.warning = Some(rejection);
        }
        for (name, value) in beside.fields() {
            if let Some(slot) = self.tree.top(name).filter(|slot| values[*slot] == Value::Absent) {
                values[slot] = Value::from_json(value);
            }
        }
        self.add_destinations(scratch, known, values);
        if !scratch.destinations.is_empty() {
            return Ok(Taken::Event { add_timestamp, of_type });
        }
        if scratch.names_too_long > 0 {
            return Ok(Taken::NameTooLong);
        }
        self.no_room(scratch, text, values, (add_timestamp, of_type))
    }

    /// Where the type is in the line, with its quotes.
    fn type_in(&self, (text, line): (&str, &[u8]), event_type: &Value<'_>) -> Range<usize> {
        match event_type {
            // What is borrowed is a piece of the line between two quotes.
            Value::String(Cow::Borrowed(text)) => {
                let start = text.as_ptr().addr() - line.as_ptr().addr();
                start - 1..start + text.len() + 1
            }
            // It was written with escapes, and the line was parsed itself.
            _ => {
                let column = json::column_of(text, &self.tree.names_of(self.type_slot));
                column - 1..column - 1 + json::value_at(text, column).len()
            }
        }
    }

    fn add_destinations(&self, scratch: &mut Scratch, known: Option<&TypeRoute>, values: &[Value<'_>]) {
        if let Some(known) = known {
            for room in &known.rooms {
                self.rooms[*room].add(scratch, values);
            }
            return;
        }
        let Value::String(event_type) = &values[self.type_slot] else { return };
        let mut last = None;
        for (prefix, room) in &self.prefixes {
            // A room's patterns stand side by side; it takes an event once.
            if event_type.starts_with(&**prefix) && last != Some(*room) {
                last = Some(*room);
                self.rooms[*room].add(scratch, values);
            }
        }
    }

    fn no_room(
        &self,
        scratch: &mut Scratch,
        line: &str,
        values: &[Value<'_>],
        (add_timestamp, of_type): (bool, Range<usize>),
    ) -> Result<Taken, Box<Rejection>> {
        match &self.unrouted {
            Fallback::Let => Ok(Taken::Unrouted),
            Fallback::Room(room, name) => {
                self.add_fallback(scratch, values, *room, name.as_deref());
                Ok(Taken::Event { add_timestamp, of_type })
            }
            Fallback::Reject => {
                scratch.warning = None;
                let Value::String(event_type) = &values[self.type_slot] else { return Ok(Taken::Unrouted) };
                Err(fault::unrouted(line, &self.tree.names_of(self.type_slot), event_type).into())
            }
        }
    }

    fn add_fallback(&self, scratch: &mut Scratch, values: &[Value<'_>], room: usize, name: Option<&str>) {
        let start = scratch.text.len();
        scratch.text.push_str(name.unwrap_or(""));
        let name = start..scratch.text.len();
        self.rooms[room].add_named(scratch, values, name);
    }
}

/// What a line that is not refused becomes.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Event {
        add_timestamp: bool,
        /// Where its type is in the line.
        of_type: Range<usize>,
    },
    Unrouted,
    NameTooLong,
}

impl Fallback {
    fn to_room(config: &Config, name: &str) -> Fallback {
        let is_static =
            |room: &crate::config::RoomConfig| room.name.is_static() && room.name.source() == name;
        let made =
            || config.rooms.iter().position(|room| !room.name.is_static() && room.name.could_make(name));
        match config.rooms.iter().position(is_static) {
            Some(room) => Fallback::Room(room, None),
            None => made().map_or(Fallback::Reject, |room| Fallback::Room(room, Some(name.into()))),
        }
    }
}

/// Every pattern of every room, with the room's index.
fn patterns(config: &Config) -> impl Iterator<Item = (usize, &TypePattern)> {
    config
        .rooms
        .iter()
        .enumerate()
        .flat_map(|(room, config)| config.types.iter().map(move |types| (room, types)))
}

fn types(tree: &mut FieldTree, config: &Config) -> HashMap<Box<str>, TypeRoute> {
    let mut checks: HashMap<Box<str>, Box<[Check]>> = HashMap::new();
    for (name, built_in) in check::built_in(tree) {
        checks.insert(name.into(), built_in);
    }
    for config in &config.types {
        checks.insert(config.name.as_str().into(), check::of_config(tree, config));
    }
    for (_, pattern) in patterns(config) {
        if let TypePattern::Exact(name) = pattern {
            checks.entry(name.as_str().into()).or_default();
        }
    }
    let rooms = RoomsByType::new(config);
    let route = |(name, checks): (Box<str>, _)| {
        let rooms = rooms.of(&name).into();
        (name, TypeRoute { checks, rooms })
    };
    checks.into_iter().map(route).collect()
}

/// Rooms by the types they take, found without a look at every room: there may be as many types as rooms.
struct RoomsByType<'c> {
    exact: HashMap<&'c str, Vec<usize>>,
    prefix: HashMap<&'c str, Vec<usize>>,
}

impl<'c> RoomsByType<'c> {
    fn new(config: &'c Config) -> RoomsByType<'c> {
        let mut by_type = RoomsByType { exact: HashMap::new(), prefix: HashMap::new() };
        for (room, pattern) in patterns(config) {
            let (rooms, text) = match pattern {
                TypePattern::Exact(name) => (&mut by_type.exact, name),
                TypePattern::Prefix(prefix) => (&mut by_type.prefix, prefix),
            };
            rooms.entry(text.as_str()).or_default().push(room);
        }
        by_type
    }

    /// In the configuration's order, each once.
    fn of(&self, name: &str) -> Vec<usize> {
        let begins = (0..=name.len()).filter_map(|end| self.prefix.get(name.get(..end)?));
        let mut rooms: Vec<usize> =
            self.exact.get(name).into_iter().chain(begins).flatten().copied().collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }
}

/// Refuses what the parser has skipped where nobody looks. Apart from the way of nearly every line, which it would make longer.
#[cold]
#[inline(never)]
fn refuse_flawed(text: &str) -> Result<(), Box<Rejection>> {
    flaw::find(text).map_or(Ok(()), |found| Err(fault::flawed(found).into()))
}

/// An empty vector of the same memory for values of another line. Collecting in place keeps the allocation; if it did
/// not, only speed would be lost.
fn recycled<'b>(mut values: Vec<Value<'_>>) -> Vec<Value<'b>> {
    values.clear();
    values.into_iter().map(|_| Value::Absent).collect()
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod flawed_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
