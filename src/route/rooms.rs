//! One room of the configuration as a route.

use super::{Destination, Scratch};
use crate::config::RoomConfig;
use crate::event::FieldTree;
use crate::pattern::{Condition, MAX_NAME_BYTES, Segment, Template, Value, push_encoded};
use std::fmt::Write as _;
use std::ops::Range;

/// Between the parts of a key: no string of a sane producer has it.
const KEY_SEPARATOR: char = '\u{1f}';

/// What a room asks of an event, and what it takes from it.
#[derive(Debug)]
pub(super) struct RoomRoute {
    room: usize,
    /// Empty for a static room.
    name: Box<[NamePart]>,
    /// Names that the template could make and that static rooms have: those decide themselves what they take.
    taken_names: Box<[Box<str>]>,
    condition: Option<Test>,
    urgent: Option<Test>,
    /// Empty in a room without a key.
    key: Box<[usize]>,
    group: Option<usize>,
}

#[derive(Debug)]
enum NamePart {
    Literal(Box<str>),
    Field(usize),
}

/// A condition and the slots of its paths.
#[derive(Debug)]
struct Test {
    condition: Condition,
    slots: Box<[usize]>,
}

impl Test {
    fn new(tree: &mut FieldTree, condition: &Condition) -> Test {
        let slots = condition.paths().iter().map(|path| tree.value_slot(path)).collect();
        Test { condition: condition.clone(), slots }
    }

    fn holds(&self, values: &[Value<'_>]) -> bool {
        self.condition.matches(|index| &values[self.slots[index]])
    }
}

impl RoomRoute {
    /// Compiles a room at its place among all. `statics` are the names of the static ones, sorted.
    pub(super) fn compile(
        tree: &mut FieldTree,
        statics: &[&str],
        (room, config): (usize, &RoomConfig),
    ) -> RoomRoute {
        let is_template = !config.name.is_static();
        let buffer = config.buffer.as_ref();
        let part = |segment: &Segment| match segment {
            Segment::Literal(text) => NamePart::Literal(text.as_str().into()),
            Segment::Field(path) => NamePart::Field(tree.value_slot(path)),
        };
        RoomRoute {
            room,
            name: config.name.segments().iter().filter(|_| is_template).map(part).collect(),
            taken_names: taken_names(&config.name, statics),
            condition: config.condition.as_ref().map(|condition| Test::new(tree, condition)),
            urgent: config.urgent.as_ref().map(|condition| Test::new(tree, condition)),
            key: config.key.iter().map(|path| tree.value_slot(path)).collect(),
            group: buffer.and_then(|buffer| buffer.group_by.as_ref()).map(|path| tree.value_slot(path)),
        }
    }

    /// Adds the room to the destinations if it takes the event.
    #[inline]
    pub(super) fn add(&self, scratch: &mut Scratch, values: &[Value<'_>]) {
        if self.condition.as_ref().is_some_and(|condition| !condition.holds(values)) {
            return;
        }
        if let Some(name) = self.push_name(scratch, values) {
            self.add_named(scratch, values, name);
        }
    }

    /// Adds the room under a name that is in the scratch text already; empty for a static room.
    pub(super) fn add_named(&self, scratch: &mut Scratch, values: &[Value<'_>], name: Range<usize>) {
        let text = &mut scratch.text;
        let destination = Destination {
            room: self.room,
            name,
            key: if self.key.is_empty() { 0..0 } else { push_key(text, &self.key, values) },
            group: self.group.map_or(0..0, |slot| push_key(text, &[slot], values)),
            urgent: self.urgent.as_ref().is_some_and(|urgent| urgent.holds(values)),
        };
        scratch.destinations.push(destination);
    }

    /// Makes the room's name, if the event has its fields and no other destination has that name.
    fn push_name(&self, scratch: &mut Scratch, values: &[Value<'_>]) -> Option<Range<usize>> {
        if self.name.is_empty() {
            return Some(0..0);
        }
        // Most events lack the fields of most templates.
        let lacks = |part: &NamePart| matches!(part, NamePart::Field(slot) if values[*slot] == Value::Absent);
        if self.name.iter().any(lacks) {
            return None;
        }
        let text = &mut scratch.text;
        let start = text.len();
        let is_whole = self.name.iter().all(|part| match part {
            NamePart::Literal(literal) => {
                text.push_str(literal);
                true
            }
            NamePart::Field(slot) => push_encoded(text, &values[*slot]),
        });
        let name = &text[start..];
        let is_too_long = is_whole && name.len() > MAX_NAME_BYTES;
        scratch.names_too_long += usize::from(is_too_long);
        // Two templates can make the same name: the first in the configuration has it.
        let is_taken = self.taken_names.iter().any(|taken| **taken == *name)
            || scratch
                .destinations
                .iter()
                .any(|other| !other.name.is_empty() && text[other.name.clone()] == *name);
        if is_whole && !is_too_long && !is_taken {
            return Some(start..text.len());
        }
        text.truncate(start);
        None
    }
}

/// Appends the values of a key; nothing when the event has none of its fields.
fn push_key(text: &mut String, slots: &[usize], values: &[Value<'_>]) -> Range<usize> {
    let start = text.len();
    let mut has_any = false;
    for (index, slot) in slots.iter().enumerate() {
        if index > 0 {
            text.push(KEY_SEPARATOR);
        }
        has_any |= push_plain(text, &values[*slot]);
    }
    if !has_any {
        text.truncate(start);
    }
    start..text.len()
}

/// Appends a value as a part of a key: strings, numbers and booleans count, everything else is no value.
fn push_plain(text: &mut String, value: &Value<'_>) -> bool {
    match value {
        Value::String(value) => text.push_str(value),
        Value::Integer(value) => text.push_str(itoa::Buffer::new().format(*value)),
        Value::Unsigned(value) => text.push_str(itoa::Buffer::new().format(*value)),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        // Writing into a String cannot fail.
        Value::Float(value) => drop(write!(text, "{value}")),
        Value::Absent | Value::Null | Value::Array { .. } | Value::Object => return false,
    }
    true
}

/// Names of static rooms that a template could make, and must not. `statics` are sorted: names that begin as the template does
/// lie side by side.
fn taken_names(template: &Template, statics: &[&str]) -> Box<[Box<str>]> {
    if template.is_static() {
        return Box::default();
    }
    let begin = match template.segments().first() {
        Some(Segment::Literal(text)) => text.as_str(),
        _ => "",
    };
    let first = statics.partition_point(|name| *name < begin);
    let alike = statics[first..].iter().take_while(|name| name.starts_with(begin));
    alike.filter(|name| template.could_make(name)).map(|name| Box::from(*name)).collect()
}
