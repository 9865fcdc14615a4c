//! Messages from clients (`broadcastd.v1`, docs/protocol.md).

#![expect(clippy::unnecessary_box_returns, reason = "an error is seldom, and large beside what is read")]

use super::every::{parse_every, parse_query_every};
use super::from::parse_from;
use super::{ErrorCode, Position};
use crate::pattern::{Condition, ConditionError};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rooms in one message. Far above `limits.client.rooms`, which is what bounds subscriptions; this one bounds what
/// reading a message allocates.
const MAX_ROOMS: usize = 1024;

/// Length of an `id` as written. It is sent back, so it must not be a way to have the daemon carry data.
const MAX_ID_BYTES: usize = 64;

/// Length of a `where`. Conditions are short; compiled ones are kept as long as their view.
const MAX_WHERE_BYTES: usize = 4 * 1024;

/// Length of a room's name; no event is ever put into a room with a longer one.
const MAX_ROOM_BYTES: usize = 200;

/// How much of a value is quoted in an error.
const MAX_QUOTED_CHARS: usize = 40;

/// Message types that clients send.
const TYPES: [&str; 4] = ["subscribe", "unsubscribe", "ping", "auth"];

/// Fields of a room in a `subscribe`.
const ROOM_FIELDS: [&str; 5] = ["room", "from", "where", "every", "snapshot"];

/// A message from a client.
#[derive(Debug, PartialEq)]
pub enum ClientMessage {
    /// Subscribe, or subscribe anew.
    Subscribe {
        /// The client's number for the exchange, a JSON number or string, as written.
        id: Option<Box<str>>,
        /// Rooms, in order.
        rooms: Vec<Result<SubscribeRoom, MessageError>>,
    },
    /// Unsubscribe.
    Unsubscribe {
        /// The client's number for the exchange, as written.
        id: Option<Box<str>>,
        /// Names of rooms, in order.
        rooms: Vec<Result<String, MessageError>>,
    },
    /// Answered with a pong.
    Ping {
        /// The client's number for the exchange, as written.
        id: Option<Box<str>>,
    },
}

/// One room of a `subscribe`.
#[derive(Debug, PartialEq)]
pub struct SubscribeRoom {
    /// The room's name.
    pub room: String,
    /// Where to begin.
    pub from: From,
    /// What to leave out.
    pub condition: Option<Condition>,
    /// How often at most it is sent what is new; none: at once.
    pub every: Option<Duration>,
    /// Whether it begins with the newest event of every key; none: as the room says.
    pub snapshot: Option<bool>,
}

/// What a query says of its rooms (`/sse?room=a&where=…`), each as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryFields<'q> {
    /// A condition, as text or as JSON.
    pub condition: Option<&'q str>,
    /// A duration.
    pub every: Option<&'q str>,
    /// `1` or `0`.
    pub snapshot: Option<&'q str>,
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// With the next event.
    Now,
    /// With the oldest that history has.
    Start,
    /// After a position: `"EPOCH:OFFSET"`.
    After(Position),
    /// With the newest N.
    Last(u64),
    /// With what was accepted since then, in milliseconds since the Unix epoch.
    SinceMs(u64),
    /// With what was accepted in the last so many milliseconds (`"-5m"`).
    Ago(u64),
}

impl SubscribeRoom {
    /// A subscription to everything from now on.
    pub fn to(room: String) -> SubscribeRoom {
        SubscribeRoom { room, from: From::Now, condition: None, every: None, snapshot: None }
    }
}

/// Why a message, or one room of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// The message's `id`, where it could be read; for one room, its message's.
    pub id: Option<Box<str>>,
    /// The room it is about, where it is about one.
    pub room: Option<String>,
    /// Of an element of `rooms` that names no room: which one.
    pub index: Option<u16>,
    /// Closed set.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Milliseconds after which the same succeeds, where waiting is all that is needed.
    pub retry_after_ms: Option<u64>,
}

impl MessageError {
    /// An error of a whole message.
    pub fn new(code: ErrorCode, message: String, hint: Option<String>) -> MessageError {
        MessageError { id: None, room: None, index: None, code, message, hint, retry_after_ms: None }
    }

    /// An error of one room.
    pub fn of_room(room: String, code: ErrorCode, message: String, hint: Option<String>) -> MessageError {
        MessageError { room: Some(room), ..MessageError::new(code, message, hint) }
    }
}

/// A message's envelope. What is not listed here is ignored, so that a newer client can talk to an older daemon.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rooms: Option<&'a RawValue>,
}

/// Reads a text message.
///
/// A room that is refused is refused alone: its error names it, or says which element names no room, and the other rooms
/// stand. The whole message is refused when it is no JSON object, its type is unknown, or `rooms` is no list.
pub fn parse_message(text: &str) -> Result<ClientMessage, Box<MessageError>> {
    // A derived Deserialize takes arrays as well; only an object is a message.
    if !text.trim_start().starts_with('{') {
        return Err(refuse(
            ErrorCode::BadMessage,
            format!("expected a JSON object, found {}", quote(text)),
            Some(r#"for example {"type":"subscribe","rooms":["agent_states"]}"#),
        ));
    }
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|error| refuse(ErrorCode::BadMessage, error.to_string(), None))?;
    let id = read_id(envelope.id)?;
    read_typed(&envelope, id.clone()).map_err(|mut error| {
        error.id = id;
        error
    })
}

fn read_typed(envelope: &Envelope<'_>, id: Option<Box<str>>) -> Result<ClientMessage, Box<MessageError>> {
    let Some(kind) = envelope.kind else {
        let hint = format!("add \"type\": one of {}", TYPES.join(", "));
        return Err(refuse(ErrorCode::BadField, "`type` is missing".to_owned(), Some(&hint)));
    };
    let Some(kind) = string(kind) else {
        return Err(refuse(
            ErrorCode::BadField,
            format!("`type` must be a string, not {}", quote(kind.get())),
            None,
        ));
    };
    match kind.as_str() {
        "subscribe" => {
            let rooms = entries(envelope.rooms, "subscribe")?.into_iter().enumerate();
            let rooms = rooms.map(|(index, room)| read_room(index, room).map_err(|error| *error)).collect();
            Ok(ClientMessage::Subscribe { id, rooms })
        }
        "unsubscribe" => {
            let rooms = entries(envelope.rooms, "unsubscribe")?.into_iter().enumerate();
            let rooms =
                rooms.map(|(index, room)| string(room).ok_or_else(|| *bad_room(index, room))).collect();
            Ok(ClientMessage::Unsubscribe { id, rooms })
        }
        "ping" => Ok(ClientMessage::Ping { id }),
        "auth" => Err(refuse(
            ErrorCode::Unsupported,
            "`auth` is not served".to_owned(),
            Some("this daemon asks for no authentication: subscribe at once"),
        )),
        other => {
            let hint = did_you_mean(other, &TYPES)
                .unwrap_or_else(|| "clients send subscribe, unsubscribe and ping".to_owned());
            Err(refuse(ErrorCode::UnknownType, format!("no message type {}", quote(other)), Some(&hint)))
        }
    }
}

/// A string or a number, kept as written.
fn read_id(id: Option<&RawValue>) -> Result<Option<Box<str>>, Box<MessageError>> {
    let Some(id) = id.map(RawValue::get) else { return Ok(None) };
    let is_scalar = id.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
    if !is_scalar {
        let message = format!("`id` must be a string or a number, not {}", quote(id));
        return Err(refuse(ErrorCode::BadField, message, None));
    }
    if id.len() > MAX_ID_BYTES {
        let message = format!("`id` is {} bytes long, and may be {MAX_ID_BYTES}", id.len());
        return Err(refuse(ErrorCode::BadField, message, None));
    }
    Ok(Some(id.into()))
}

/// The elements of `rooms`. One room need not be in a list.
fn entries<'a>(rooms: Option<&'a RawValue>, kind: &str) -> Result<Vec<&'a RawValue>, Box<MessageError>> {
    let hint = format!(r#"for example {{"type":"{kind}","rooms":["agent_states"]}}"#);
    let Some(rooms) = rooms else {
        return Err(refuse(ErrorCode::BadField, "`rooms` is missing".to_owned(), Some(&hint)));
    };
    let list: Vec<&RawValue> = match rooms.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(rooms.get()).map_err(|error| {
            refuse(ErrorCode::BadMessage, format!("`rooms` cannot be read: {error}"), Some(&hint))
        })?,
        Some(b'"' | b'{') => vec![rooms],
        _ => {
            let message = format!("`rooms` must be a list, not {}", quote(rooms.get()));
            return Err(refuse(ErrorCode::BadField, message, Some(&hint)));
        }
    };
    match list.len() {
        0 => Err(refuse(ErrorCode::BadField, "`rooms` is empty".to_owned(), Some(&hint))),
        1..=MAX_ROOMS => Ok(list),
        many => {
            let message = format!("`rooms` has {many} entries, and may have {MAX_ROOMS}");
            Err(refuse(ErrorCode::Limit, message, Some("send several messages")))
        }
    }
}

fn read_room(index: usize, entry: &RawValue) -> Result<SubscribeRoom, Box<MessageError>> {
    if let Some(room) = string(entry) {
        return match check_name(&room) {
            Ok(()) => Ok(SubscribeRoom::to(room)),
            Err(error) => Err(about(error, room)),
        };
    }
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(entry.get()).map_err(|_| bad_room(index, entry))?;
    let Some(room) = fields.get("room").and_then(|name| string(name)) else {
        return Err(bad_room(index, entry));
    };
    read_room_fields(&room, &fields).map_err(|error| about(error, room))
}

fn read_room_fields(
    room: &str,
    fields: &BTreeMap<String, &RawValue>,
) -> Result<SubscribeRoom, Box<MessageError>> {
    check_name(room)?;
    if let Some(unknown) = fields.keys().find(|field| !ROOM_FIELDS.contains(&field.as_str())) {
        let hint = did_you_mean(unknown, &ROOM_FIELDS)
            .unwrap_or_else(|| format!("a room has the fields {}", ROOM_FIELDS.join(", ")));
        let message = format!("no field {} in a room of a subscribe", quote(unknown));
        return Err(refuse(ErrorCode::BadField, message, Some(&hint)));
    }
    let field = |name: &str| fields.get(name).map(|value| value.get()).filter(|value| *value != "null");
    let from = field("from").map_or(Ok(From::Now), parse_from)?;
    let condition = field("where").map(parse_where).transpose()?;
    let every = field("every").map(parse_every).transpose()?;
    let snapshot = field("snapshot").map(parse_snapshot).transpose()?;
    Ok(SubscribeRoom { room: room.to_owned(), from, condition, every, snapshot })
}

fn parse_snapshot(text: &str) -> Result<bool, Box<MessageError>> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => {
            let message = format!("`snapshot` must be true or false, not {}", quote(other));
            Err(refuse(ErrorCode::BadField, message, None))
        }
    }
}

pub(super) fn check_name(room: &str) -> Result<(), Box<MessageError>> {
    match room.len() {
        0 => Err(refuse(ErrorCode::BadField, "a room's name is empty".to_owned(), None)),
        1..=MAX_ROOM_BYTES => Ok(()),
        long => {
            let message = format!("a room's name is {long} bytes long, and may be {MAX_ROOM_BYTES}");
            Err(refuse(ErrorCode::BadField, message, None))
        }
    }
}

/// Reads one room of a query: its name, and what the query says of all its rooms.
pub fn parse_query_room(
    room: &str,
    from: From,
    fields: QueryFields<'_>,
) -> Result<SubscribeRoom, Box<MessageError>> {
    check_name(room)?;
    let as_json = |text: &str| {
        let is_object = text.trim_start().starts_with('{');
        if is_object { text.to_owned() } else { serde_json::Value::from(text).to_string() }
    };
    let condition = fields.condition.map(|text| parse_where(&as_json(text))).transpose()?;
    let every = fields.every.map(parse_query_every).transpose()?;
    let snapshot = fields.snapshot.map(|text| match text {
        "1" | "" => Ok(true),
        "0" => Ok(false),
        other => parse_snapshot(other),
    });
    let snapshot = snapshot.transpose()?;
    Ok(SubscribeRoom { room: room.to_owned(), from, condition, every, snapshot })
}

/// A condition as text, or as the object that is shorthand for equalities.
fn parse_where(json: &str) -> Result<Condition, Box<MessageError>> {
    if json.len() > MAX_WHERE_BYTES {
        let message = format!("`where` is {} bytes long, and may be {MAX_WHERE_BYTES}", json.len());
        return Err(refuse(ErrorCode::BadWhere, message, None));
    }
    let value: serde_json::Value = serde_json::from_str(json)
        .map_err(|error| refuse(ErrorCode::BadWhere, format!("`where` cannot be read: {error}"), None))?;
    match &value {
        serde_json::Value::String(source) => {
            Condition::parse(source).map_err(|error| bad_where(Some(source), &error))
        }
        serde_json::Value::Object(object) => {
            Condition::from_object(object).map_err(|error| bad_where(None, &error))
        }
        _ => {
            let hint = r#"for example "severity == \"error\"" or {"severity":"error"}"#;
            let message = format!("`where` must be a string or an object, not {}", quote(json));
            Err(refuse(ErrorCode::BadWhere, message, Some(hint)))
        }
    }
}

fn bad_where(source: Option<&str>, error: &ConditionError) -> Box<MessageError> {
    let place = source.map_or_else(String::new, |source| {
        let near = source.get(error.start..error.end).filter(|near| !near.is_empty());
        let near = near.map_or_else(String::new, |near| format!(", at {}", quote(near)));
        format!(" (column {}{near})", error.start + 1)
    });
    refuse(ErrorCode::BadWhere, format!("`where`: {}{place}", error.message), error.hint.as_deref())
}

fn bad_room(index: usize, entry: &RawValue) -> Box<MessageError> {
    let message =
        format!("rooms[{index}] must be a room's name or an object with `room`, not {}", quote(entry.get()));
    let hint = r#"for example "agent_states" or {"room":"agent_states"}"#;
    let mut error = refuse(ErrorCode::BadField, message, Some(hint));
    error.index = Some(index as u16);
    error
}

fn about(mut error: Box<MessageError>, room: String) -> Box<MessageError> {
    error.room = Some(room);
    error
}

pub(super) fn refuse(code: ErrorCode, message: String, hint: Option<&str>) -> Box<MessageError> {
    Box::new(MessageError::new(code, message, hint.map(str::to_owned)))
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A value in an error's text, cut.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// A hint with the word that was probably meant.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    // A third of the letters may be wrong; comparing long words costs their product and cannot succeed.
    const LONGEST: usize = 32;
    let word = Some(word).filter(|word| word.len() <= LONGEST)?.to_ascii_lowercase();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&word, known);
    let best = known.iter().min_by_key(distance)?;
    (distance(&best) <= best.len().div_ceil(3)).then(|| format!("did you mean `{best}`?"))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
