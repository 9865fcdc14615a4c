//! What clients of Socket.IO emit to subscribe and unsubscribe, as the service did that broadcastd replaces:
//! `subscribe` with `{ rooms, agentFilters?, metricFilters?, updateFrequency? }`, `unsubscribe` with a list of rooms.
//!
//! A room may be what it is in a native `subscribe` as well: a name, or an object with `where`, `every`, `from` and so on.

#![expect(clippy::unnecessary_box_returns, reason = "an error is seldom, and large beside what is read")]

use super::message::{quote, refuse};
use super::{ClientMessage, ErrorCode, MessageError, SubscribeRoom, parse_message};
use crate::pattern::{Condition, ConditionError};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// More often than that, nothing is gained over being sent everything at once.
const SHORTEST_MS: f64 = 250.0;
/// Who wants to know less often is told as often.
const LONGEST_MS: f64 = 60_000.0;

const ROOMS_HINT: &str = r#"emit { rooms: ["agent_states", "agent:42"] }, a list of names, or one name"#;

/// The rooms of one message, each for itself.
type Rooms = Vec<Result<SubscribeRoom, MessageError>>;

/// A `subscribe` that was read.
pub struct JoinRooms {
    /// The rooms as they are written.
    pub rooms: Rooms,
    condition: Option<String>,
    every: Option<Duration>,
}

impl JoinRooms {
    /// The rooms with what the whole message says beside them. A short message may name many rooms, and filters that are long
    /// to compile: whoever limits rooms does so before.
    pub fn narrowed(self) -> Rooms {
        let JoinRooms { rooms, condition, every } = self;
        let alone = condition.as_deref().map(Condition::parse);
        rooms.into_iter().map(|room| narrowed(room?, condition.as_deref(), alone.as_ref(), every)).collect()
    }
}

/// The one argument of a `subscribe`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Join<'a> {
    #[serde(borrow)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow)]
    agent_filters: Option<&'a RawValue>,
    #[serde(borrow)]
    metric_filters: Option<&'a RawValue>,
    #[serde(borrow)]
    update_frequency: Option<&'a RawValue>,
}

/// Reads the arguments of a `subscribe`: each room for itself, or what is wrong with all of it.
pub fn parse_join(args: &[Box<RawValue>]) -> Result<JoinRooms, Box<MessageError>> {
    let Some(first) = args.first() else { return Err(bad("`rooms` is missing".to_owned(), ROOMS_HINT)) };
    let nothing = Join { rooms: None, agent_filters: None, metric_filters: None, update_frequency: None };
    let join = match first.get().as_bytes().first() {
        Some(b'{') => serde_json::from_str(first.get())
            .map_err(|error| bad(format!("`subscribe` cannot be read: {error}"), ROOMS_HINT))?,
        _ => Join { rooms: Some(first), ..nothing },
    };
    let rooms = join.rooms.ok_or_else(|| bad("`rooms` is missing".to_owned(), ROOMS_HINT))?;
    let every = join.update_frequency.map_or(Ok(None), update_frequency)?;
    let agents = filters("agentFilters", join.agent_filters)?;
    let metrics = filters("metricFilters", join.metric_filters)?;
    let condition = condition_of(&agents, &metrics);
    match native("subscribe", rooms.get())? {
        ClientMessage::Subscribe { rooms, .. } => Ok(JoinRooms { rooms, condition, every }),
        _ => Err(bad("`rooms` cannot be read".to_owned(), ROOMS_HINT)),
    }
}

/// Reads the arguments of an `unsubscribe`: names of rooms, each for itself.
pub fn parse_leave(args: &[Box<RawValue>]) -> Result<Vec<Result<String, MessageError>>, Box<MessageError>> {
    #[derive(Deserialize)]
    struct Leave<'a> {
        #[serde(borrow)]
        rooms: Option<&'a RawValue>,
    }
    let missing = || bad("the rooms to leave are missing".to_owned(), ROOMS_HINT);
    let first = args.first().ok_or_else(missing)?;
    let rooms = match first.get().as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Leave<'_>>(first.get()).ok().and_then(|leave| leave.rooms),
        _ => Some(&**first),
    };
    let rooms = rooms.ok_or_else(missing)?.get();
    if serde_json::from_str::<[(); 0]>(rooms).is_ok() {
        return Ok(Vec::new());
    }
    match native("unsubscribe", rooms)? {
        ClientMessage::Unsubscribe { rooms, .. } => Ok(rooms),
        _ => Err(missing()),
    }
}

/// Rooms as a native message has them; one alone is as good as a list of one.
fn native(kind: &str, json: &str) -> Result<ClientMessage, Box<MessageError>> {
    let rooms = if json.starts_with('[') { json.to_owned() } else { format!("[{json}]") };
    parse_message(&format!(r#"{{"type":"{kind}","rooms":{rooms}}}"#))
}

/// A room with what the whole message says beside it, `alone` compiled. What a room says itself goes before that.
fn narrowed(
    room: SubscribeRoom,
    condition: Option<&str>,
    alone: Option<&Result<Condition, ConditionError>>,
    every: Option<Duration>,
) -> Result<SubscribeRoom, MessageError> {
    let every = room.every.or(every);
    let joined = match (&room.condition, condition, alone) {
        (Some(own), Some(condition), _) => Condition::parse(&format!("({}) && {condition}", own.source())),
        (None, _, Some(alone)) => alone.clone(),
        _ => return Ok(SubscribeRoom { every, ..room }),
    };
    match joined {
        Ok(condition) => Ok(SubscribeRoom { condition: Some(condition), every, ..room }),
        Err(error) => {
            let message = format!("the filters make no condition: {error}");
            let hint = Some("fewer filters, or a room that holds what you want".to_owned());
            Err(MessageError::of_room(room.room, ErrorCode::BadWhere, message, hint))
        }
    }
}

/// The condition that filters are: an event without the field passes, since it is about no agent, or is no metric.
fn condition_of(agents: &[String], metrics: &[String]) -> Option<String> {
    let mut parts = Vec::new();
    if !agents.is_empty() {
        let list = agents.join(", ");
        parts.push(format!("(!has(agentId) || agentId in [{list}])"));
    }
    if !metrics.is_empty() {
        let list = metrics.join(", ");
        parts.push(format!("(!has(metricName) || metricName in [{list}] || category in [{list}])"));
    }
    (!parts.is_empty()).then(|| parts.join(" && "))
}

/// A list of strings and numbers as a condition has them, in one order, so that clients who want the same share a view.
fn filters(name: &str, json: Option<&RawValue>) -> Result<Vec<String>, Box<MessageError>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(serde_json::Value),
        Several(Vec<serde_json::Value>),
    }
    let Some(json) = json else { return Ok(Vec::new()) };
    let wrong = || bad(format!("`{name}` cannot be {}", quote(json.get())), "a list of strings");
    let several: Result<Vec<serde_json::Value>, _> = serde_json::from_str(json.get());
    let values = match several.map(Given::Several).or_else(|_| serde_json::from_str(json.get())) {
        Ok(Given::One(serde_json::Value::Null)) => Vec::new(),
        Ok(Given::One(value)) => vec![value],
        Ok(Given::Several(values)) => values,
        Err(_) => return Err(wrong()),
    };
    let is_plain = |value: &serde_json::Value| value.is_string() || value.is_i64() || value.is_u64();
    if !values.iter().all(is_plain) {
        return Err(wrong());
    }
    let mut values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

/// Milliseconds between two sendings. So few that nothing is gained: everything at once.
fn update_frequency(json: &RawValue) -> Result<Option<Duration>, Box<MessageError>> {
    if json.get() == "null" {
        return Ok(None);
    }
    match serde_json::from_str::<f64>(json.get()) {
        Ok(ms) if ms >= SHORTEST_MS => Ok(Some(Duration::from_millis(ms.min(LONGEST_MS) as u64))),
        Ok(ms) if ms >= 0.0 => Ok(None),
        _ => Err(bad(
            format!("`updateFrequency` cannot be {}", quote(json.get())),
            "milliseconds between two sendings, such as 2000",
        )),
    }
}

fn bad(message: String, hint: &str) -> Box<MessageError> {
    refuse(ErrorCode::BadField, message, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(json: &str) -> Vec<Box<RawValue>> {
        serde_json::from_str(json).unwrap()
    }

    fn joined(json: &str) -> Vec<SubscribeRoom> {
        parse_join(&args(json)).unwrap().narrowed().into_iter().map(Result::unwrap).collect()
    }

    fn names(rooms: &[SubscribeRoom]) -> Vec<&str> {
        rooms.iter().map(|room| room.room.as_str()).collect()
    }

    #[test]
    fn rooms_are_named_in_several_ways() {
        for (json, expected) in [
            (r#"[{"rooms":["a","b:1"]}]"#, &["a", "b:1"][..]),
            (r#"[{"rooms":"a","somethingElse":1}]"#, &["a"]),
            (r#"[["a","b"],7]"#, &["a", "b"]),
            (r#"["a"]"#, &["a"]),
            (r#"[{"rooms":[{"room":"a","every":"2s"},"b"]}]"#, &["a", "b"]),
        ] {
            assert_eq!(names(&joined(json)), expected, "{json}");
        }
    }

    #[test]
    fn filters_are_conditions_that_clients_share() {
        for (json, expected) in [
            (
                r#"[{"rooms":"a","agentFilters":["b","a","b"]}]"#,
                r#"(!has(agentId) || agentId in ["a", "b"])"#,
            ),
            (r#"[{"rooms":"a","agentFilters":"a\"b"}]"#, r#"(!has(agentId) || agentId in ["a\"b"])"#),
            (r#"[{"rooms":"a","agentFilters":[7]}]"#, "(!has(agentId) || agentId in [7])"),
            (
                r#"[{"rooms":"a","agentFilters":["x"],"metricFilters":["cpu"]}]"#,
                r#"(!has(agentId) || agentId in ["x"]) && (!has(metricName) || metricName in ["cpu"] || category in ["cpu"])"#,
            ),
            (
                r#"[{"rooms":{"room":"a","where":"value > 1 || ok"},"agentFilters":["x"]}]"#,
                r#"(value > 1 || ok) && (!has(agentId) || agentId in ["x"])"#,
            ),
        ] {
            let rooms = joined(json);
            let source = rooms[0].condition.as_ref().map(Condition::source);
            assert_eq!(source, Some(expected), "{json}");
        }
        for json in [r#"[{"rooms":"a","agentFilters":null}]"#, r#"[{"rooms":"a","metricFilters":[]}]"#] {
            assert!(joined(json)[0].condition.is_none(), "{json}");
        }
    }

    #[test]
    fn a_frequency_is_a_pace() {
        for (frequency, expected_ms) in [
            ("2000", Some(2000)),
            ("100", None),
            ("0", None),
            ("null", None),
            ("1e9", Some(60_000)),
            ("250.7", Some(250)),
        ] {
            let rooms = joined(&format!(r#"[{{"rooms":"a","updateFrequency":{frequency}}}]"#));
            assert_eq!(rooms[0].every, expected_ms.map(Duration::from_millis), "{frequency}");
        }
        let rooms = joined(r#"[{"rooms":[{"room":"a","every":"5s"}],"updateFrequency":2000}]"#);
        assert_eq!(rooms[0].every, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, code, part) in [
            ("[]", ErrorCode::BadField, "`rooms` is missing"),
            (r#"[{"rooms":[]}]"#, ErrorCode::BadField, "`rooms` is empty"),
            ("[{}]", ErrorCode::BadField, "`rooms` is missing"),
            (r#"[{"rooms":"a","agentFilters":{}}]"#, ErrorCode::BadField, "agentFilters"),
            (r#"[{"rooms":"a","agentFilters":[true]}]"#, ErrorCode::BadField, "agentFilters"),
            (r#"[{"rooms":"a","updateFrequency":"fast"}]"#, ErrorCode::BadField, "updateFrequency"),
            (r#"[{"rooms":"a","updateFrequency":-1}]"#, ErrorCode::BadField, "updateFrequency"),
        ] {
            let error = parse_join(&args(json)).err().expect(json);
            assert_eq!(error.code, code, "{json}");
            assert!(error.message.contains(part), "{json}: {}", error.message);
        }
        let many: Vec<String> = (0..300).map(|n| format!("\"{n}\"")).collect();
        let json = format!(r#"[{{"rooms":["a"],"agentFilters":[{}]}}]"#, many.join(","));
        let results = parse_join(&args(&json)).unwrap().narrowed();
        let error = results[0].as_ref().unwrap_err();
        assert_eq!((error.code, error.room.as_deref()), (ErrorCode::BadWhere, Some("a")));
    }

    #[test]
    fn rooms_are_left_in_several_ways() {
        for (json, expected) in [
            (r#"[["a","b"]]"#, &["a", "b"][..]),
            (r#"["a"]"#, &["a"]),
            (r#"[{"rooms":["a"]}]"#, &["a"]),
            (r#"[{"rooms":"a"}]"#, &["a"]),
            ("[[]]", &[]),
        ] {
            let rooms: Vec<String> =
                parse_leave(&args(json)).unwrap().into_iter().map(Result::unwrap).collect();
            assert_eq!(rooms, expected, "{json}");
        }
        for json in ["[]", "[{}]"] {
            assert_eq!(parse_leave(&args(json)).expect_err(json).code, ErrorCode::BadField);
        }
    }

    #[test]
    fn an_element_that_names_no_room_does_not_take_the_others_with_it() {
        for json in [r#"[["a",null,"c"]]"#, r#"[{"rooms":["a",null,"c"],"agentFilters":["x"]}]"#] {
            let rooms = parse_join(&args(json)).unwrap().narrowed();
            let places = rooms.iter().map(|room| room.as_ref().err().and_then(|error| error.index));
            assert_eq!(places.collect::<Vec<_>>(), [None, Some(1), None], "{json}");
            let rooms = parse_leave(&args(json)).unwrap();
            assert_eq!(rooms[1].as_ref().map_err(|error| error.index), Err(Some(1)), "{json}");
        }
        for json in ["[null]", "[7]", "[[7]]"] {
            assert_eq!(parse_join(&args(json)).unwrap().rooms[0].as_ref().unwrap_err().index, Some(0));
            assert_eq!(parse_leave(&args(json)).unwrap()[0].as_ref().unwrap_err().index, Some(0));
        }
    }
}
