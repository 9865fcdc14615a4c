//! The sections about rooms, types and tests.

use super::node::{Place, Value};
use super::problem::Code;
use super::reader::{Item, Reader, Section, join};
use super::sections::put;
use super::{
    BufferConfig, FieldKind, HistoryConfig, RoomConfig, SlowClient, SnapshotConfig, TestConfig, TypeConfig,
    Unrouted,
};
use crate::pattern::{Condition, Path, Template, TypePattern};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Keys are looked at once a second.
const SHORTEST_AGE: Duration = Duration::from_secs(1);
/// Types that are built in: their fields are checked as documented, whatever a file says.
const BUILT_IN_TYPES: [&str; 5] =
    ["agent_state", "performance_metric", "workflow_execution", "memory_timeline", "system_alert"];

/// As `types`: the room takes what no other one takes.
pub(super) const UNROUTED: &str = "unrouted";

/// What rooms have that say nothing else.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomDefaults {
    pub(super) history: HistoryConfig,
    pub(super) slow_client: SlowClient,
}

impl Default for RoomDefaults {
    fn default() -> RoomDefaults {
        let history = HistoryConfig { events: 1000, age: Duration::from_secs(600), bytes: 4 << 20 };
        RoomDefaults { history, slow_client: SlowClient::Replay }
    }
}

pub(super) fn room_defaults(reader: &mut Reader, mut section: Section<'_>) -> RoomDefaults {
    let mut defaults = RoomDefaults::default();
    history(reader, &mut section, &mut defaults.history);
    slow_client(reader, &mut section, &mut defaults.slow_client);
    section.end(reader, |key| {
        (key == "buffer").then(|| "a buffer is a room's own: write it in [rooms.…]".to_owned())
    });
    defaults
}

/// Every `[rooms.…]`, in the file's order.
pub(super) fn rooms(
    reader: &mut Reader,
    section: &Section<'_>,
    defaults: RoomDefaults,
) -> Vec<(RoomConfig, Place)> {
    let mut rooms: Vec<(RoomConfig, Place)> = Vec::new();
    let mut for_unrouted: Option<String> = None;
    for (name, entry) in section.names() {
        let item = Item { node: &entry.node, path: join(&section.path, name) };
        let name = match Template::parse(name) {
            Ok(name) => name,
            Err(error) => {
                let place = within(&entry.key, name, error.start, error.end);
                reader.problem(
                    Code::WrongValue,
                    &place,
                    format!("\"{name}\" is not a room's name"),
                    error.message,
                    error.hint,
                );
                continue;
            }
        };
        let Some(section) = reader.table(&item) else { continue };
        let is_for_unrouted = section.holds("types", UNROUTED);
        if let (true, Some(first)) = (is_for_unrouted, &for_unrouted) {
            let message = format!("`{}.types` is \"{UNROUTED}\", as `{first}.types` is", item.path);
            let hint = Some("give one of them a list of types".to_owned());
            reader.problem(
                Code::Conflict,
                &entry.key,
                message,
                "one room can have what no other takes".to_owned(),
                hint,
            );
        }
        if is_for_unrouted {
            for_unrouted = Some(item.path.clone());
        }
        rooms.push((room(reader, section, name, defaults, &entry.key), entry.key.clone()));
    }
    rooms
}

/// Default of `ingest.unrouted`.
pub(super) fn unrouted(rooms: &[RoomConfig]) -> Unrouted {
    let room = rooms.iter().find(|room| room.types.is_empty());
    room.map_or(Unrouted::Reject, |room| Unrouted::Room(room.name.source().to_owned()))
}

fn room(
    reader: &mut Reader,
    mut section: Section<'_>,
    name: Template,
    defaults: RoomDefaults,
    key: &Place,
) -> RoomConfig {
    if section.holds("types", UNROUTED) {
        check_unrouted(reader, &section, &name, key);
    }
    let types = section.get(reader, "types");
    let mut room = RoomConfig {
        name,
        types: types.map(|item| type_patterns(reader, &item)).unwrap_or_default(),
        condition: section.get(reader, "where").and_then(|item| condition(reader, &item)),
        key: section.get(reader, "key").map(|item| paths(reader, &item)).unwrap_or_default(),
        snapshot: section
            .get(reader, "snapshot")
            .map_or(SnapshotConfig::ASKED, |item| snapshot(reader, &item)),
        buffer: None,
        urgent: section.get(reader, "urgent").and_then(|item| condition(reader, &item)),
        history: defaults.history,
        slow_client: defaults.slow_client,
        subscribers: section.get(reader, "subscribers").and_then(|item| reader.count(&item, 1)),
        emitted_as: None,
    };
    if let Some(item) = section.get(reader, "buffer") {
        room.buffer = buffer(reader, &item, !room.key.is_empty());
    }
    history(reader, &mut section, &mut room.history);
    slow_client(reader, &mut section, &mut room.slow_client);
    if section.key("types").is_none() && section.key("events").is_none() {
        let label = "types is missing".to_owned();
        let hint = Some("types = [\"*\"] takes every event that has the name's fields".to_owned());
        reader.problem(
            Code::Missing,
            key,
            format!("`{}` says nothing of what it takes", section.path),
            label,
            hint,
        );
    }
    if let (Some(place), None) = (section.key("urgent"), section.key("buffer")) {
        let label = "there is no buffer to flush".to_owned();
        let hint = Some("buffer = { flush_interval = \"1s\" }".to_owned());
        reader.problem(
            Code::Missing,
            place,
            format!("`{}.urgent` needs a buffer", section.path),
            label,
            hint,
        );
    }
    if let (Some(place), true) = (section.key("snapshot"), room.snapshot.by_default && room.key.is_empty()) {
        let label = "the newest event of which key?".to_owned();
        let hint = Some("key = \"agentId\"".to_owned());
        reader.problem(Code::Missing, place, format!("`{}.snapshot` needs a key", section.path), label, hint);
    }
    section.end(reader, |key| match key {
        "events" | "event" | "event_types" | "type" => Some("did you mean `types`?".to_owned()),
        "filter" | "if" | "when" => Some("did you mean `where`?".to_owned()),
        "flush_interval" | "group_by" | "keep" => Some(format!("`{key}` belongs into the room's buffer")),
        "age" | "bytes" => Some(format!("`{key}` belongs into the room's history")),
        _ => None,
    });
    room
}

/// What a room cannot be that takes what no other one takes.
fn check_unrouted(reader: &mut Reader, section: &Section<'_>, name: &Template, key: &Place) {
    if !name.is_static() {
        let message =
            format!("`{}` has fields in its name, and cannot take what no other room takes", section.path);
        let hint = Some(format!("[rooms.events] with types = \"{UNROUTED}\""));
        reader.problem(Code::Conflict, key, message, "a template".to_owned(), hint);
    }
    if let Some(place) = section.key("where") {
        let message =
            format!("`{}.where` has no effect: the room takes what no other room takes", section.path);
        let hint = Some("types = [\"*\"] takes every type, under a condition".to_owned());
        reader.problem(Code::Conflict, place, message, format!("types are \"{UNROUTED}\""), hint);
    }
}

/// Every `[types.…]`.
pub(super) fn types(reader: &mut Reader, section: &Section<'_>) -> Vec<TypeConfig> {
    let mut types = Vec::new();
    for (name, entry) in section.names() {
        let item = Item { node: &entry.node, path: join(&section.path, name) };
        if BUILT_IN_TYPES.contains(&name.as_str()) {
            let hint =
                Some("give it another name, or leave it out: its fields are checked already".to_owned());
            reader.problem(
                Code::Conflict,
                &entry.key,
                format!("`{name}` is a type that is built in"),
                "cannot be changed".to_owned(),
                hint,
            );
        }
        let Some(mut section) = reader.table(&item) else { continue };
        let required = section.get(reader, "required").map(|item| fields(reader, &item)).unwrap_or_default();
        let optional = section.get(reader, "optional").map(|item| fields(reader, &item)).unwrap_or_default();
        section.end(reader, |_| Some("`required` and `optional` hold the fields".to_owned()));
        types.push(TypeConfig { name: name.clone(), required, optional });
    }
    types
}

fn fields(reader: &mut Reader, item: &Item<'_>) -> Vec<(Path, FieldKind)> {
    let Some(section) = reader.table(item) else { return Vec::new() };
    let mut fields = Vec::new();
    for (name, entry) in section.names() {
        let item = Item { node: &entry.node, path: join(&section.path, name) };
        let path = Path::parse(name);
        if path.is_none() {
            reader.problem(
                Code::WrongValue,
                &entry.key,
                format!("\"{name}\" is not a field"),
                "names joined by dots".to_owned(),
                None,
            );
        }
        fields.extend(path.zip(field_kind(reader, &item)));
    }
    fields
}

fn field_kind(reader: &mut Reader, item: &Item<'_>) -> Option<FieldKind> {
    if matches!(item.node.value, Value::Array(_)) {
        let words = reader.list(item, "a list of strings")?;
        return Some(FieldKind::OneOf(
            words.iter().filter_map(|word| reader.string(word, "a string").map(str::to_owned)).collect(),
        ));
    }
    let kinds = [
        ("string", FieldKind::String),
        ("number", FieldKind::Number),
        ("percent", FieldKind::Percent),
        ("boolean", FieldKind::Boolean),
        ("object", FieldKind::Object),
        ("array", FieldKind::Array),
        ("strings", FieldKind::Strings),
        ("any", FieldKind::Any),
    ];
    let indexes: Vec<(&str, usize)> =
        kinds.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
    reader.word(item, &indexes).map(|index| kinds[index].1.clone())
}

/// Every `[[test]]`.
pub(super) fn tests(reader: &mut Reader, item: &Item<'_>) -> Vec<TestConfig> {
    let Some(items) = reader.list(item, "[[test]] blocks") else { return Vec::new() };
    let mut tests = Vec::new();
    for item in items {
        let Some(mut section) = reader.table(&item) else { continue };
        let line = section
            .get(reader, "line")
            .and_then(|item| reader.string(&item, "a line as a producer writes it"));
        let rooms = section.get(reader, "rooms").and_then(|item| reader.list(&item, "a list of rooms"));
        let rooms: Vec<String> = rooms
            .unwrap_or_default()
            .iter()
            .filter_map(|item| reader.string(item, "a room's name").map(str::to_owned))
            .collect();
        let mut with = Vec::new();
        if let Some(fields) = section.get(reader, "with").and_then(|item| reader.table(&item)) {
            for (name, entry) in fields.names() {
                let item = Item { node: &entry.node, path: join(&fields.path, name) };
                with.extend(reader.string(&item, "a string").map(|value| (name.clone(), value.to_owned())));
            }
        }
        if section.key("line").is_none() {
            let label = "line is missing".to_owned();
            let message = format!("`{}` has no line to test", item.path);
            let hint = Some("line = '{\"type\":\"agent_state\"}'".to_owned());
            reader.problem(Code::Missing, &item.node.place, message, label, hint);
        }
        section.end(reader, |_| None);
        if let Some(line) = line {
            // Tests of --set stand in no file.
            let span = if item.node.place.source == 0 { item.node.place.span.clone() } else { 0..0 };
            tests.push(TestConfig { line: line.to_owned(), rooms, with, span });
        }
    }
    tests
}

/// None for the room that takes what no other one takes.
fn type_patterns(reader: &mut Reader, item: &Item<'_>) -> Vec<TypePattern> {
    if item.node.is(UNROUTED) {
        return Vec::new();
    }
    let Some(items) = reader.list(item, "a list of types such as [\"agent_state\"] or [\"RUN_*\"]") else {
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for item in &items {
        let Some(text) = reader.string(item, "a type's name") else { continue };
        match TypePattern::parse(text) {
            Some(pattern) => patterns.push(pattern),
            None => {
                let message = format!("`{}` is not a type or a prefix of types", item.path);
                let hint = Some("* stands only at the end: \"RUN_*\"".to_owned());
                reader.problem(Code::WrongValue, &item.node.place, message, format!("\"{text}\""), hint);
            }
        }
    }
    if items.is_empty() {
        let hint = Some(format!("[\"*\"] takes every type; types = \"{UNROUTED}\" what no other room takes"));
        reader.problem(
            Code::WrongValue,
            &item.node.place,
            format!("`{}` is empty", item.path),
            "takes nothing".to_owned(),
            hint,
        );
    }
    patterns
}

fn condition(reader: &mut Reader, item: &Item<'_>) -> Option<Condition> {
    let text = reader.string(item, "a condition such as 'severity == \"error\"'")?;
    match Condition::parse(text) {
        Ok(condition) => Some(condition),
        Err(error) => {
            let place = within(&item.node.place, text, error.start, error.end);
            reader.problem(
                Code::WrongValue,
                &place,
                format!("`{}` is not a condition", item.path),
                error.message,
                error.hint,
            );
            None
        }
    }
}

/// A field's path, or a list of them.
fn paths(reader: &mut Reader, item: &Item<'_>) -> Vec<Path> {
    let items = match &item.node.value {
        Value::String(_) => vec![item.clone()],
        _ => reader.list(item, "a field's name, or a list of them").unwrap_or_default(),
    };
    items.iter().filter_map(|item| path(reader, item)).collect()
}

fn path(reader: &mut Reader, item: &Item<'_>) -> Option<Path> {
    let text = reader.string(item, "a field's name")?;
    let path = Path::parse(text);
    if path.is_none() {
        let message = format!("`{}` is not a field", item.path);
        let hint = Some("names joined by dots: \"resourceUsage.cpu\"".to_owned());
        reader.problem(Code::WrongValue, &item.node.place, message, format!("\"{text}\""), hint);
    }
    path
}

/// `true`, `false`, or a table, which means `true`.
fn snapshot(reader: &mut Reader, item: &Item<'_>) -> SnapshotConfig {
    let mut config = SnapshotConfig { by_default: true, ..SnapshotConfig::ASKED };
    if !matches!(item.node.value, Value::Table(_)) {
        put(&mut config.by_default, reader.boolean(item));
        return config;
    }
    let Some(mut section) = reader.table(item) else { return config };
    put(
        &mut config.age,
        section.get(reader, "age").and_then(|item| reader.duration(&item, SHORTEST_AGE, 365 * DAY)),
    );
    section.end(reader, |key| match key {
        "keys" => Some("how many keys a room has is bounded by limits.keys".to_owned()),
        _ => None,
    });
    config
}

fn history(reader: &mut Reader, section: &mut Section<'_>, config: &mut HistoryConfig) {
    let Some(item) = section.get(reader, "history") else { return };
    let Some(mut section) = reader.table(&item) else { return };
    let events =
        section.get(reader, "events").and_then(|item| reader.integer(&item, 0..=u64::from(u32::MAX)));
    put(&mut config.events, events.map(|events| events as usize));
    put(
        &mut config.age,
        section.get(reader, "age").and_then(|item| reader.duration(&item, Duration::ZERO, 365 * DAY)),
    );
    put(&mut config.bytes, section.get(reader, "bytes").and_then(|item| reader.size(&item, 0)));
    section.end(reader, |_| None);
}

fn slow_client(reader: &mut Reader, section: &mut Section<'_>, config: &mut SlowClient) {
    let words =
        [("replay", SlowClient::Replay), ("skip", SlowClient::Skip), ("disconnect", SlowClient::Disconnect)];
    put(config, section.get(reader, "slow_client").and_then(|item| reader.word(&item, &words)));
}

fn buffer(reader: &mut Reader, item: &Item<'_>, keyed: bool) -> Option<BufferConfig> {
    let mut section = reader.table(item)?;
    let events = section.get(reader, "events").and_then(|item| reader.integer(&item, 1..=100_000));
    let interval = section.get(reader, "flush_interval");
    let given = interval.is_some();
    let interval = interval.and_then(|item| reader.duration(&item, Duration::from_millis(1), DAY));
    let group_by = section.get(reader, "group_by").and_then(|item| path(reader, &item));
    let keep = section.get(reader, "keep").and_then(|item| reader.word(&item, &[("newest", ())]));
    if !given {
        let hint = Some("flush_interval = \"1s\"".to_owned());
        let message = format!("`{}` has no flush_interval", item.path);
        reader.problem(
            Code::Missing,
            &item.node.place,
            message,
            "events could wait for ever".to_owned(),
            hint,
        );
    }
    if let (Some(place), Some(()), false) = (section.key("keep"), keep, keyed) {
        let hint = Some("give the room a key: key = \"agentId\"".to_owned());
        let message = format!("`{}.keep` needs the room's key", item.path);
        reader.problem(Code::Missing, place, message, "the newest of what?".to_owned(), hint);
    }
    section.end(reader, |_| None);
    let (events, keep_newest) = (events.map(|events| events as usize), keep.is_some());
    interval.map(|flush_interval| BufferConfig { events, flush_interval, group_by, keep_newest })
}

/// The place of a part of a string, where the string stands in the file as it is; else the place of the whole.
fn within(place: &Place, text: &str, start: usize, end: usize) -> Place {
    let quotes = place.span.len().saturating_sub(text.len());
    // One quote at each end, or three.
    let verbatim = place.variable.is_none() && matches!(quotes, 0 | 2 | 6);
    if !verbatim {
        return place.clone();
    }
    let from = place.span.start + quotes / 2;
    Place { span: from + start..from + end.max(start), ..place.clone() }
}
