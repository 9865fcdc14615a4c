//! What clients ask for: messages of `broadcastd.v1`, what clients of Socket.IO emit to subscribe, and conditions. Nothing
//! panics, what is read says the same when it is read again, and what is said of mistakes is short.

#![no_main]

use broadcastd::event::{Event, Filter};
use broadcastd::pattern::Condition;
use broadcastd::wire::{ClientMessage, MessageError, SubscribeRoom, parse_join, parse_leave, parse_message};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

/// Rooms of one message.
const MOST_ROOMS: usize = 1024;
/// What is said of a mistake.
const WORDS_BYTES: usize = 1000;
const EVENT: &str =
    r#"{"type":"agent_state","agentId":"42","value":12.5,"tags":["a","é"],"at":{"deep":[1,null]}}"#;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_message(text) {
        Ok(ClientMessage::Subscribe { rooms, .. }) => check_rooms(&rooms),
        Ok(ClientMessage::Unsubscribe { rooms, .. }) => assert!(rooms.len() <= MOST_ROOMS),
        Ok(ClientMessage::Ping { .. }) => {}
        Err(error) => check_error(&error),
    }
    condition(text);
    let Ok(args) = serde_json::from_str::<Vec<Box<RawValue>>>(text) else { return };
    match parse_join(&args) {
        Ok(join) => check_rooms(&join.narrowed()),
        Err(error) => check_error(&error),
    }
    match parse_leave(&args) {
        Ok(rooms) => assert!(rooms.len() <= MOST_ROOMS),
        Err(error) => check_error(&error),
    }
});

fn check_rooms(rooms: &[Result<SubscribeRoom, MessageError>]) {
    assert!(rooms.len() <= MOST_ROOMS);
    for room in rooms {
        match room {
            Ok(room) => {
                if let Some(condition) = &room.condition {
                    check_condition(condition);
                }
            }
            Err(error) => check_error(error),
        }
    }
}

fn check_error(error: &MessageError) {
    assert!(error.message.len() <= WORDS_BYTES, "{}", error.message);
    assert!(error.hint.as_ref().is_none_or(|hint| hint.len() <= WORDS_BYTES), "{:?}", error.hint);
}

fn condition(text: &str) {
    if let Ok(condition) = Condition::parse(text) {
        check_condition(&condition);
    }
}

/// A condition is what its text says, again and again, and can be asked about any event.
fn check_condition(condition: &Condition) {
    let again = Condition::parse(condition.source()).expect("a condition's text is a condition");
    assert_eq!((again.source(), again.paths()), (condition.source(), condition.paths()));
    let event = Event::new(1, 2, &[EVENT.as_bytes()], &[], &mut Vec::new());
    assert_eq!(Filter::new(condition.clone()).passes(&event), Filter::new(again).passes(&event));
}
