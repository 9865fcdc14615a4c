//! Messages from clients (`broadcastd.v1`, docs/protocol.md).

#![expect(clippy::unnecessary_box_returns, reason = "an error is seldom, and large beside what is read")]

use super::from::parse_from;
use super::{ErrorCode, Position};
use crate::pattern::{Condition, ConditionError};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

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
        /// Names of rooms.
        rooms: Vec<String>,
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
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Why a message, or one room of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// The message's `id`, where it could be read; for one room, its message's.
    pub id: Option<Box<str>>,
    /// The room it is about, where it is about one.
    pub room: Option<String>,
    /// Closed set.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
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
/// A room that is refused is refused alone: its error names it, and the other rooms stand. The whole message is refused
/// when it is no JSON object, its type is unknown, or `rooms` is no list of rooms.
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
            let rooms = entries(envelope.rooms, "subscribe")?;
            let mut read = Vec::with_capacity(rooms.len());
            for (index, room) in rooms.into_iter().enumerate() {
                read.push(read_room(index, room)?.map_err(|mut error| {
                    error.id.clone_from(&id);
                    *error
                }));
            }
            Ok(ClientMessage::Subscribe { id, rooms: read })
        }
        "unsubscribe" => {
            let rooms = entries(envelope.rooms, "unsubscribe")?.into_iter().enumerate();
            let rooms = rooms.map(|(index, room)| string(room).ok_or_else(|| bad_room(index, room)));
            Ok(ClientMessage::Unsubscribe { id, rooms: rooms.collect::<Result<_, _>>()? })
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

/// The outer error is one of the message, since it concerns no room that has a name.
type RoomResult = Result<Result<SubscribeRoom, Box<MessageError>>, Box<MessageError>>;

fn read_room(index: usize, entry: &RawValue) -> RoomResult {
    if let Some(room) = string(entry) {
        return Ok(check_name(&room)
            .map(|()| SubscribeRoom { room: room.clone(), from: From::Now, condition: None })
            .map_err(|error| about(error, room)));
    }
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(entry.get()).map_err(|_| bad_room(index, entry))?;
    let Some(room) = fields.get("room").and_then(|name| string(name)) else {
        return Err(bad_room(index, entry));
    };
    Ok(read_room_fields(&room, &fields).map_err(|error| about(error, room)))
}

fn read_room_fields(
    room: &str,
    fields: &BTreeMap<String, &RawValue>,
) -> Result<SubscribeRoom, Box<MessageError>> {
    check_name(room)?;
    if let Some(unknown) = fields.keys().find(|field| !ROOM_FIELDS.contains(&field.as_str())) {
        let hint = did_you_mean(unknown, &ROOM_FIELDS)
            .unwrap_or_else(|| "a room has the fields room, from and where".to_owned());
        let message = format!("no field {} in a room of a subscribe", quote(unknown));
        return Err(refuse(ErrorCode::BadField, message, Some(&hint)));
    }
    let field = |name: &str| fields.get(name).map(|value| value.get()).filter(|value| *value != "null");
    if field("every").is_some() {
        let hint = "leave `every` out: every event is sent as it comes";
        return Err(refuse(ErrorCode::Unsupported, "`every` is not served".to_owned(), Some(hint)));
    }
    if field("snapshot").is_some_and(|value| value != "false") {
        let hint = "leave `snapshot` out; \"from\":\"start\" begins with the oldest event that is kept";
        return Err(refuse(ErrorCode::Unsupported, "`snapshot` is not served".to_owned(), Some(hint)));
    }
    let from = field("from").map_or(Ok(From::Now), parse_from)?;
    let condition = field("where").map(parse_where).transpose()?;
    Ok(SubscribeRoom { room: room.to_owned(), from, condition })
}

fn check_name(room: &str) -> Result<(), Box<MessageError>> {
    match room.len() {
        0 => Err(refuse(ErrorCode::BadField, "a room's name is empty".to_owned(), None)),
        1..=MAX_ROOM_BYTES => Ok(()),
        long => {
            let message = format!("a room's name is {long} bytes long, and may be {MAX_ROOM_BYTES}");
            Err(refuse(ErrorCode::BadField, message, None))
        }
    }
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
    refuse(ErrorCode::BadField, message, Some(r#"for example "agent_states" or {"room":"agent_states"}"#))
}

fn about(mut error: Box<MessageError>, room: String) -> Box<MessageError> {
    error.room = Some(room);
    error
}

pub(super) fn refuse(code: ErrorCode, message: String, hint: Option<&str>) -> Box<MessageError> {
    Box::new(MessageError { id: None, room: None, code, message, hint: hint.map(str::to_owned) })
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
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: ClientMessage) {
        assert_eq!(parse_message(text), Ok(expected), "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, code: ErrorCode, message: &str, hint: Option<&str>) {
        let error = parse_message(text).expect_err(text);
        assert_eq!(error.code, code, "{text}: {}", error.message);
        assert!(error.message.contains(message), "{text}: {}", error.message);
        match (hint, &error.hint) {
            (None, None) => {}
            (Some(expected), Some(hint)) if hint.contains(expected) => {}
            (_, hint) => panic!("{text}: {hint:?}"),
        }
        assert!(error.message.len() < 300, "errors are short");
    }

    /// One room of a `subscribe`, refused alone.
    #[track_caller]
    fn check_room_refused(room: &str, code: ErrorCode, message: &str, hint: &str) {
        let text = format!(r#"{{"type":"subscribe","id":9,"rooms":["good",{room}]}}"#);
        let Ok(ClientMessage::Subscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
        assert_eq!(rooms[0].as_ref().map(|room| room.room.as_str()), Ok("good"));
        let error = rooms[1].as_ref().expect_err(&text);
        assert_eq!(error.code, code, "{}", error.message);
        assert_eq!(error.id.as_deref(), Some("9"));
        assert!(error.room.is_some(), "an error of one room names it");
        assert!(error.message.contains(message), "{}", error.message);
        assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{:?}", error.hint);
    }

    fn now(room: &str) -> SubscribeRoom {
        SubscribeRoom { room: room.to_owned(), from: From::Now, condition: None }
    }

    #[test]
    fn messages_are_read() {
        check(
            r#"{"type":"subscribe","rooms":["a","b\n"],"later":{"deep":[1]}}"#,
            ClientMessage::Subscribe { id: None, rooms: vec![Ok(now("a")), Ok(now("b\n"))] },
        );
        check(
            "\n { \"rooms\" : \"a\" , \"id\" : \"x\\u0041\" , \"type\" : \"subscribe\" } ",
            ClientMessage::Subscribe { id: Some(r#""x\u0041""#.into()), rooms: vec![Ok(now("a"))] },
        );
        check(
            r#"{"type":"subscribe","id":1.50e1,"rooms":{"room":"a","from":null,"where":null,"every":null,"snapshot":false}}"#,
            ClientMessage::Subscribe { id: Some("1.50e1".into()), rooms: vec![Ok(now("a"))] },
        );
        check(
            r#"{"type":"subscribe","rooms":[{"room":"a","from":"start"}]}"#,
            ClientMessage::Subscribe {
                id: None,
                rooms: vec![Ok(SubscribeRoom { room: "a".into(), from: From::Start, condition: None })],
            },
        );
        check(
            r#"{"type":"unsubscribe","id":null,"rooms":["a"]}"#,
            ClientMessage::Unsubscribe { id: None, rooms: vec!["a".into()] },
        );
        check(r#"{"type":"ping","id":-1}"#, ClientMessage::Ping { id: Some("-1".into()) });
        check(r#"{"type":"ping"}"#, ClientMessage::Ping { id: None });
    }

    #[test]
    fn what_is_no_message_is_refused() {
        use ErrorCode::{BadField, BadMessage, Limit, UnknownType, Unsupported};
        check_refused("", BadMessage, "expected a JSON object", Some("subscribe"));
        check_refused("hello", BadMessage, "`hello`", Some("subscribe"));
        check_refused(r#"["subscribe",1,["a"]]"#, BadMessage, "object", Some("subscribe"));
        check_refused(r#"{"type":"ping""#, BadMessage, "EOF", None);
        check_refused(r#"{"type":"ping"} x"#, BadMessage, "trailing", None);
        check_refused(r#"{"type":"ping","type":"ping"}"#, BadMessage, "duplicate", None);
        check_refused("{}", BadField, "`type` is missing", Some("subscribe, unsubscribe"));
        check_refused(r#"{"type":1}"#, BadField, "`type` must be a string", None);
        check_refused(r#"{"type":"subscibe"}"#, UnknownType, "`subscibe`", Some("did you mean `subscribe`?"));
        check_refused(r#"{"type":"Ping"}"#, UnknownType, "`Ping`", Some("did you mean `ping`?"));
        check_refused(r#"{"type":"publish"}"#, UnknownType, "`publish`", Some("clients send"));
        let long = format!(r#"{{"type":"{}"}}"#, "é".repeat(5000));
        check_refused(&long, UnknownType, "…", Some("clients send"));
        check_refused(r#"{"type":"auth","token":"t"}"#, Unsupported, "`auth`", Some("no authentication"));
        check_refused(r#"{"type":"subscribe"}"#, BadField, "`rooms` is missing", Some("for example"));
        check_refused(r#"{"type":"subscribe","room":"a"}"#, BadField, "`rooms` is missing", Some("rooms"));
        check_refused(r#"{"type":"subscribe","rooms":[]}"#, BadField, "empty", Some("for example"));
        check_refused(r#"{"type":"subscribe","rooms":7}"#, BadField, "must be a list", Some("for example"));
        check_refused(r#"{"type":"subscribe","rooms":["a",7]}"#, BadField, "rooms[1]", Some("{\"room\""));
        check_refused(r#"{"type":"subscribe","rooms":[{"name":"a"}]}"#, BadField, "rooms[0]", Some("room"));
        check_refused(r#"{"type":"subscribe","rooms":[["a"]]}"#, BadField, "rooms[0]", Some("room"));
        check_refused(r#"{"type":"unsubscribe","rooms":[{}]}"#, BadField, "rooms[0]", Some("room"));
        let many = format!(r#"{{"type":"subscribe","rooms":["a"{}]}}"#, r#","a""#.repeat(MAX_ROOMS));
        check_refused(&many, Limit, "1025 entries", Some("several"));
    }

    #[test]
    fn an_id_is_a_short_string_or_number() {
        use ErrorCode::BadField;
        for id in ["true", "[]", "{}"] {
            check_refused(&format!(r#"{{"type":"ping","id":{id}}}"#), BadField, "`id` must be", None);
        }
        let id = "1".repeat(MAX_ID_BYTES);
        assert!(parse_message(&format!(r#"{{"type":"ping","id":{id}}}"#)).is_ok());
        check_refused(&format!(r#"{{"type":"ping","id":{id}0}}"#), BadField, "65 bytes", None);
        let error = parse_message(r#"{"type":"nope","id":"q7"}"#).unwrap_err();
        assert_eq!(error.id.as_deref(), Some(r#""q7""#), "an error carries its message's id");
    }

    #[test]
    fn a_room_is_refused_alone() {
        use ErrorCode::{BadField, BadWhere, Unsupported};
        check_room_refused(r#""""#, BadField, "empty", "");
        check_room_refused(&format!("\"{}\"", "x".repeat(201)), BadField, "201 bytes", "");
        check_room_refused(r#"{"room":"x","form":"start"}"#, BadField, "`form`", "did you mean `from`?");
        check_room_refused(r#"{"room":"x","limit":3}"#, BadField, "`limit`", "room, from and where");
        check_room_refused(r#"{"room":"x","every":"1s"}"#, Unsupported, "`every`", "leave");
        check_room_refused(r#"{"room":"x","snapshot":true}"#, Unsupported, "`snapshot`", "start");
        check_room_refused(r#"{"room":"x","from":"strat"}"#, BadField, "`strat`", "did you mean `start`?");
        check_room_refused(r#"{"room":"x","where":7}"#, BadWhere, "string or an object", "severity");
        let long = format!(r#"{{"room":"x","where":"{}"}}"#, "a".repeat(MAX_WHERE_BYTES));
        check_room_refused(&long, BadWhere, "4098 bytes", "");
    }

    #[test]
    fn a_where_is_text_or_an_object() {
        for condition in [r#""severity == \"error\"""#, r#"{"severity":"error"}"#, r#"{"agentId":["a","b"]}"#]
        {
            let text = format!(r#"{{"type":"subscribe","rooms":{{"room":"a","where":{condition}}}}}"#);
            let Ok(ClientMessage::Subscribe { rooms, .. }) = parse_message(&text) else { panic!("{text}") };
            assert!(rooms[0].as_ref().is_ok_and(|room| room.condition.is_some()), "{:?}", rooms[0]);
        }
        let bad = r#"{"room":"x","where":"severity = \"error\""}"#;
        check_room_refused(bad, ErrorCode::BadWhere, "column 10", "");
        check_room_refused(r#"{"room":"x","where":""}"#, ErrorCode::BadWhere, "`where`", "");
        check_room_refused(r#"{"room":"x","where":{"a":{}}}"#, ErrorCode::BadWhere, "`where`", "");
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(parse_message(&deep), Ok(ClientMessage::Ping { id: None }));
        let rooms =
            format!(r#"{{"type":"subscribe","rooms":[{}{}]}}"#, "[".repeat(50_000), "]".repeat(50_000));
        assert!(parse_message(&rooms).is_err());
        let from = format!(
            r#"{{"type":"subscribe","rooms":[{{"room":"x","from":{}{}}}]}}"#,
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        assert!(
            matches!(parse_message(&from), Ok(ClientMessage::Subscribe { rooms, .. }) if rooms[0].is_err())
        );
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

        #[test]
        fn no_text_makes_it_panic(
            text in r#"\{("(type|id|rooms|from|room|x)":("subscribe"|"ping"|[0-9]|\["a"\]|null|\{|\}|\[|\])[,:]?){0,6}\}?"#
        ) {
            let _ = parse_message(&text);
        }
    }
}
