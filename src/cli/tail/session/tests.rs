//! What a session makes of messages.

use super::*;
use crate::cli::args::{Cli, Command};
use clap::Parser;

fn session(arguments: &[&str]) -> Session {
    let Some(Command::Tail(args)) = Cli::parse_from(["broadcastd", "tail"].iter().chain(arguments)).command
    else {
        panic!("it is tail")
    };
    Session::new(&args)
}

fn asked(session: &Session) -> Value {
    serde_json::from_str::<Value>(&session.subscribe()).unwrap()["rooms"].clone()
}

/// Takes a message, and shows what it is.
fn take(session: &mut Session, message: &Value) -> String {
    format!("{:?}", session.take(message.to_string().as_bytes()))
}

fn subscribed(room: &str, head: u64, offset: u64) -> Value {
    json!({ "type": "subscribed", "rooms": [{ "room": room, "epoch": "e1", "head": head, "offset": offset }] })
}

#[test]
fn a_subscription_says_what_was_asked_for() {
    for (arguments, from) in [
        (&["a"][..], json!("now")),
        (&["a", "-n", "5"], json!({ "last": 5 })),
        (&["a", "--since", "-5m"], json!({ "since": "-5m" })),
        (&["a", "--since", "1700000000000"], json!({ "since": 1_700_000_000_000_u64 })),
        (&["a", "--no-follow"], json!("start")),
        (&["a", "--start"], json!("start")),
        (&["a", "--no-follow", "-n", "5"], json!({ "last": 5 })),
    ] {
        assert_eq!(
            asked(&session(arguments)),
            json!([{ "room": "a", "from": from, "snapshot": false }]),
            "{arguments:?}"
        );
    }
    let options = asked(&session(&["a", "b", "a", "--where", "x == 1", "--every", "2s"]));
    assert_eq!(
        options,
        json!([{ "room": "a", "from": "now", "snapshot": false, "where": "x == 1", "every": "2s" },
               { "room": "b", "from": "now", "snapshot": false, "where": "x == 1", "every": "2s" }])
    );
}

#[test]
fn every_offset_beside_a_room_is_where_it_goes_on() {
    let mut session = session(&["a", "b"]);
    take(&mut session, &subscribed("a", 9, 4));
    let at = |session: &Session| asked(session)[0]["from"]["after"].as_str().map(str::to_owned);
    assert_eq!(at(&session).as_deref(), Some("e1:4"));
    for (message, after) in [
        (json!({ "type": "event", "room": "a", "offset": 5, "data": {} }), "e1:5"),
        (json!({ "type": "batch", "room": "a", "offset": 8, "data": [{}, {}] }), "e1:8"),
        (json!({ "type": "event", "room": "c", "offset": 50, "data": {} }), "e1:8"),
        (json!({ "type": "gap", "room": "a", "first": 9, "offset": 9, "missed": 1, "reason": "x" }), "e1:9"),
        (json!({ "type": "position", "room": "a", "offset": 11 }), "e1:11"),
        (json!({ "type": "unheard_of", "room": "a", "offset": 12 }), "e1:12"),
        (
            json!({ "type": "gap", "room": "a", "first": 1, "offset": 0, "missed": null,
                    "reason": "epoch_changed", "epoch": "e2" }),
            "e2:0",
        ),
    ] {
        take(&mut session, &message);
        assert_eq!(at(&session).as_deref(), Some(after), "{message}");
    }
    assert_eq!(asked(&session)[1]["from"], "now");
}

#[test]
fn all_there_was_is_read_to_the_head_of_every_room() {
    let mut session = session(&["a", "b", "--no-follow"]);
    assert!(!session.has_all());
    take(&mut session, &subscribed("a", 2, 0));
    take(&mut session, &subscribed("b", 0, 0));
    assert!(!session.has_all());
    take(&mut session, &json!({ "type": "event", "room": "a", "offset": 2, "data": {} }));
    assert!(session.has_all());
    let mut session = self::session(&["a", "--no-follow"]);
    take(&mut session, &subscribed("a", 200, 0));
    take(
        &mut session,
        &json!({ "type": "subscribed", "rooms": [{ "room": "a", "epoch": "e2", "head": 3, "offset": 0 }] }),
    );
    take(&mut session, &json!({ "type": "event", "room": "a", "offset": 3, "data": {} }));
    assert!(session.has_all(), "another log is shorter");
}

#[test]
fn events_are_given_byte_for_byte() {
    let mut session = session(&["a"]);
    let Seen::Events(events) = session
        .take(br#"{"type":"batch","room":"a","offset":2,"seqs":[1,2],"data":[{"n": 1.0},{"n":"\u0041"}]}"#)
    else {
        panic!("a batch is events")
    };
    assert_eq!(
        events.iter().map(|event| event.get()).collect::<Vec<_>>(),
        [r#"{"n": 1.0}"#, r#"{"n":"\u0041"}"#]
    );
    assert!(matches!(session.take(b"no JSON"), Seen::Other));
}

#[test]
fn rooms_end_by_refusal_and_by_removal() {
    let mut session = session(&["a", "b"]);
    let error = json!({ "code": "unknown_room", "message": "no room has this name", "hint": "did you mean" });
    let refused = json!({ "type": "subscribed", "rooms": [{ "room": "a", "error": error }] });
    let Seen::Subscribed(list) = session.take(refused.to_string().as_bytes()) else {
        panic!("it is refused")
    };
    assert_eq!((&*list[0].room, &*list[0].code), ("a", "unknown_room"));
    assert!(!session.is_over());
    assert_eq!(asked(&session).as_array().unwrap().len(), 1);
    let note =
        take(&mut session, &json!({ "type": "unsubscribed", "rooms": ["b"], "reason": "room_closed" }));
    assert!(note.contains("b has ended: room_closed"), "{note}");
    assert!(session.is_over());
}

#[test]
fn gaps_are_told_in_words() {
    let mut session = session(&["a"]);
    take(&mut session, &subscribed("a", 9, 4));
    let gap = |first: u64, offset: u64, missed: Value, reason: &str| json!({ "type": "gap", "room": "a", "first": first, "offset": offset, "missed": missed, "reason": reason });
    for (message, words) in [
        (
            gap(5, 34, json!(30), "history_expired"),
            "a: 30 events (5 to 34) are missing: history no longer has them",
        ),
        (gap(35, 35, json!(1), "slow_client"), "a: event 35 is missing: they were read too slowly"),
        (
            gap(36, 0, json!(null), "epoch_changed"),
            "a: what came after event 35 may be missing: the room's log began anew",
        ),
    ] {
        assert_eq!(take(&mut session, &message), format!("Note({words:?})"));
    }
}
