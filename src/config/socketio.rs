//! The section about clients that speak Socket.IO.

use super::own_event::{is_library_event, is_reserved_event};
use super::problem::Code;
use super::reader::{Item, Reader, Section, join};
use super::sections::put;
use super::{Config, Namespace};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Namespaces of one configuration.
const MOST_NAMESPACES: usize = 16;

/// `[socketio]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketIoConfig {
    /// Whether it is served.
    pub enabled: bool,
    /// Where, with the slash at its end.
    pub path: String,
    /// What clients may connect to.
    pub namespaces: Vec<Namespace>,
    /// Between two pings of one client.
    pub ping_interval: Duration,
    /// How long a client may take to answer one.
    pub ping_timeout: Duration,
    /// How long a client may take to connect to a namespace.
    pub connect_timeout: Duration,
    /// For how long a client that has lost its connection is remembered; none: not at all.
    pub recovery: Option<Duration>,
    /// The event with which a client subscribes to rooms.
    pub join: String,
    /// The event with which it unsubscribes.
    pub leave: String,
    /// Rooms that every client is in from the beginning.
    pub auto_join: Arc<[String]>,
    /// What becomes of other events that clients emit.
    pub unknown_emit: UnknownEmit,
    /// What rooms' events are emitted as, by the rooms' names as they are declared.
    pub names: Vec<(String, String)>,
}

/// What becomes of an event that a Socket.IO client emits and nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownEmit {
    /// It is answered with an error.
    Error,
    /// It is counted.
    Ignore,
}

impl Default for SocketIoConfig {
    fn default() -> SocketIoConfig {
        SocketIoConfig {
            enabled: true,
            path: "/socket.io/".to_owned(),
            namespaces: vec![Namespace::main()],
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(45),
            recovery: Some(Duration::from_secs(120)),
            join: "subscribe".to_owned(),
            leave: "unsubscribe".to_owned(),
            auto_join: Arc::default(),
            unknown_emit: UnknownEmit::Error,
            names: vec![("performance_metrics".to_owned(), "performance_metrics_batch".to_owned())],
        }
    }
}

pub(super) fn socketio(reader: &mut Reader, mut section: Section<'_>, config: &mut SocketIoConfig) {
    put(&mut config.enabled, section.get(reader, "enabled").and_then(|item| reader.boolean(&item)));
    put(&mut config.path, section.get(reader, "path").and_then(|item| path(reader, &item)));
    if let Some(items) =
        section.get(reader, "namespaces").and_then(|item| reader.list(&item, "a list of namespaces"))
    {
        config.namespaces = items.iter().filter_map(|item| namespace(reader, item)).collect();
        config.namespaces.dedup();
        if let (Some(item), true) = (items.get(MOST_NAMESPACES), items.len() > MOST_NAMESPACES) {
            reader.wrong(item, &format!("one of {MOST_NAMESPACES} at most"), None);
        }
    }
    let duration = |reader: &mut Reader, section: &mut Section<'_>, key, least| {
        section.get(reader, key).and_then(|item| reader.duration(&item, least, HOUR))
    };
    put(&mut config.ping_interval, duration(reader, &mut section, "ping_interval", 100 * MS));
    put(&mut config.ping_timeout, duration(reader, &mut section, "ping_timeout", 100 * MS));
    put(&mut config.connect_timeout, duration(reader, &mut section, "connect_timeout", 100 * MS));
    if let Some(item) = section.get(reader, "recovery") {
        reader.duration_or_off(&item, (1000 * MS, HOUR), &mut config.recovery);
    }
    put(&mut config.join, section.get(reader, "join").and_then(|item| event_name(reader, &item)));
    put(&mut config.leave, section.get(reader, "leave").and_then(|item| event_name(reader, &item)));
    if let Some(items) =
        section.get(reader, "auto_join").and_then(|item| reader.list(&item, "a list of rooms' names"))
    {
        let name = |item: &Item<'_>| reader.string(item, "a room's name").map(str::to_owned);
        config.auto_join = items.iter().filter_map(name).collect();
    }
    let words = [("error", UnknownEmit::Error), ("ignore", UnknownEmit::Ignore)];
    let unknown = section.get(reader, "unknown_emit").and_then(|item| reader.word(&item, &words));
    put(&mut config.unknown_emit, unknown);
    if let Some(section) = section.get(reader, "names").and_then(|item| reader.table(&item)) {
        config.names = names(reader, &section);
    }
    section.end(reader, |key| match key {
        "cors" | "origins" | "allowed_origins" => Some("origins are those of [server]".to_owned()),
        "max_payload" | "max_http_buffer_size" => Some("it is limits.client.message_size".to_owned()),
        _ => None,
    });
}

/// Rooms' names and what their events are emitted as, in the file's order.
fn names(reader: &mut Reader, section: &Section<'_>) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (room, entry) in section.names() {
        let item = Item { node: &entry.node, path: join(&section.path, room) };
        reader.given.insert(item.path.clone(), entry.node.place.clone());
        names.extend(emitted_name(reader, &item).map(|name| (room.clone(), name)));
    }
    names
}

/// Rooms that are named must be there; each room learns what it is emitted as.
pub(super) fn apply(reader: &mut Reader, config: &mut Config) {
    let Config { socketio, rooms, .. } = config;
    let places = rooms.iter().enumerate().map(|(place, room)| (room.name.source().to_owned(), place));
    let places: HashMap<String, usize> = places.collect();
    socketio.names.retain(|(name, emitted)| {
        let room = places.get(name).map(|place| &mut rooms[*place]);
        let path = join("socketio.names", name);
        match (room, reader.given.get(&path).cloned()) {
            (Some(room), _) => {
                room.emitted_as = Some(serde_json::Value::from(emitted.as_str()).to_string().into());
            }
            (None, Some(place)) => {
                let hint = Some("write the name as it stands in [rooms.…]".to_owned());
                reader.problem(
                    Code::UnknownRoom,
                    &place,
                    format!("`{path}` names no room"),
                    "no such room".to_owned(),
                    hint,
                );
            }
            // A default for a room that this configuration does not have.
            (None, None) => return false,
        }
        true
    });
    for name in config.socketio.auto_join.iter() {
        let is_there = |room: &super::RoomConfig| {
            if room.name.is_static() { room.name.source() == name } else { room.name.could_make(name) }
        };
        if !config.rooms.iter().any(is_there)
            && let Some(place) = reader.given.get("socketio.auto_join").cloned()
        {
            let message = "`socketio.auto_join` names no room".to_owned();
            let meant = config.rooms.iter().find_map(|room| room.name.encoded(name));
            let hint = meant.map_or_else(
                || "rooms are declared as [rooms.NAME]".to_owned(),
                |meant| format!("did you mean \"{meant}\"?"),
            );
            reader.problem(Code::UnknownRoom, &place, message, format!("\"{name}\""), Some(hint));
        }
    }
}

fn path(reader: &mut Reader, item: &Item<'_>) -> Option<String> {
    let expected = "a path such as \"/socket.io/\"";
    let text = reader.string(item, expected)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let taken = ["/", "/ws/", "/sse/", "/metrics/", "/api/"];
    let path = format!("{}/", text.trim_end_matches('/'));
    if !path.starts_with('/') || path.len() > 200 || !path.chars().all(is_plain) || taken.contains(&&*path) {
        reader.wrong(item, expected, None);
        return None;
    }
    Some(path)
}

fn namespace(reader: &mut Reader, item: &Item<'_>) -> Option<Namespace> {
    let expected = "a namespace such as \"/\" or \"/admin\"";
    let text = reader.string(item, expected)?;
    let is_plain = |c: char| !c.is_control() && !",?#\"\\".contains(c);
    if !text.starts_with('/') || text.len() > 64 || !text.chars().all(is_plain) {
        reader.wrong(item, expected, None);
        return None;
    }
    let namespace = Namespace::named(text);
    if namespace.is_none() {
        let message = format!("`{}` is one namespace too many", item.path);
        let hint = Some("restart the daemon: it remembers every namespace that it ever had".to_owned());
        reader.problem(Code::Limit, &item.node.place, message, format!("\"{text}\""), hint);
    }
    namespace
}

/// A name that clients emit.
fn event_name(reader: &mut Reader, item: &Item<'_>) -> Option<String> {
    let expected = "an event's name that Socket.IO does not keep for itself";
    name_but_for(reader, item, expected, is_library_event)
}

/// A name that events of producers are emitted under.
fn emitted_name(reader: &mut Reader, item: &Item<'_>) -> Option<String> {
    let expected = "an event's name that neither Socket.IO nor the daemon uses itself";
    name_but_for(reader, item, expected, is_reserved_event)
}

fn name_but_for(
    reader: &mut Reader,
    item: &Item<'_>,
    expected: &str,
    is_taken: fn(&[u8]) -> bool,
) -> Option<String> {
    let text = reader.string(item, "an event's name")?;
    if text.is_empty() || text.len() > 200 || is_taken(text.as_bytes()) {
        reader.wrong(item, expected, None);
        return None;
    }
    Some(text.to_owned())
}
