//! Tests of the encoders: every message, byte for byte.

use super::*;
use crate::wire::Transfer;
use crate::wire::frame::frame_len;

/// Encodes behind other bytes and compares the payload.
#[track_caller]
fn check(encode: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let mut out = b"before".to_vec();
    encode(&mut out);
    let frame = out.strip_prefix(b"before").expect("what was there stays");
    assert_eq!(frame_len(frame), Some(frame.len()), "one whole frame");
    let header = frame.len() - expected.len().min(frame.len());
    assert_eq!(String::from_utf8_lossy(&frame[header..]), expected);
    assert!(serde_json::from_str::<serde_json::Value>(expected).is_ok());
}

const WS: Wire = Wire::WebSocket;

const FRAME: EventFrame<'static> =
    EventFrame { room_json: br#""agent:42""#, epoch: Epoch(0xbeef), offset: 7, skipped: 0, replay: false };

fn error(room: Option<&str>, hint: Option<&str>) -> MessageError {
    let error =
        MessageError::new(ErrorCode::UnknownRoom, "no room \"x\"".to_owned(), hint.map(str::to_owned));
    MessageError { id: Some("\"q\"".into()), room: room.map(str::to_owned), ..error }
}

#[test]
fn every_message_has_its_fields() {
    check(
        |out| push_welcome(WS, out, "a\"b", 25_000),
        r#"{"type":"welcome","protocol":"broadcastd.v1","client":"a\"b","heartbeat":25000}"#,
    );
    check(|out| push_pong(WS, out, None), r#"{"type":"pong"}"#);
    check(|out| push_pong(WS, out, Some("1e3")), r#"{"type":"pong","id":1e3}"#);
    check(
        |out| push_position(WS, out, br#""r""#, Position { epoch: Epoch(1), offset: u64::MAX }),
        r#"{"type":"position","room":"r","offset":18446744073709551615}"#,
    );
    check(
        |out| push_closing(WS, out, 1001, "stopping", Some(1500)),
        r#"{"type":"closing","code":1001,"reason":"stopping","retry_after":1500}"#,
    );
    check(
        |out| push_closing(WS, out, 4001, "slow_client", None),
        r#"{"type":"closing","code":4001,"reason":"slow_client"}"#,
    );
    check(
        |out| push_error(WS, out, &error(Some("x"), Some("did you mean \"y\"?"))),
        r#"{"type":"error","id":"q","room":"x","code":"unknown_room","message":"no room \"x\"","hint":"did you mean \"y\"?"}"#,
    );
    check(
        |out| push_unsubscribed(WS, out, Some("1"), &[br#""a""#, br#""b""#], &[], None),
        r#"{"type":"unsubscribed","id":1,"rooms":["a","b"]}"#,
    );
    check(
        |out| push_unsubscribed(WS, out, None, &[br#""a""#], &[], Some("room_removed")),
        r#"{"type":"unsubscribed","rooms":["a"],"reason":"room_removed"}"#,
    );
    let nameless = MessageError { index: Some(1), ..error(None, None) };
    let too_fast = MessageError { retry_after_ms: Some(20), ..error(None, None) };
    let refused: [(&[u8], &MessageError); 2] = [(b"null", &nameless), (br#""b""#, &too_fast)];
    check(
        |out| push_unsubscribed(WS, out, None, &[], &refused, None),
        concat!(
            r#"{"type":"unsubscribed","rooms":[],"refused":["#,
            r#"{"room":null,"index":1,"error":{"code":"unknown_room","message":"no room \"x\""}},"#,
            r#"{"room":"b","error":{"code":"unknown_room","message":"no room \"x\"","retry_after":20}}]}"#,
        ),
    );
}

#[test]
fn a_subscribe_is_answered_room_by_room() {
    let refused = error(None, None);
    let answers = [
        Answer::Subscribed {
            room_json: br#""a""#,
            epoch: Epoch(0xbeef),
            head: 9,
            offset: Some(7),
            resumed: true,
        },
        Answer::Subscribed {
            room_json: br#""b""#,
            epoch: Epoch(1),
            head: 0,
            offset: Some(0),
            resumed: false,
        },
        Answer::Subscribed { room_json: br#""c""#, epoch: Epoch(1), head: 9, offset: None, resumed: false },
        Answer::Refused { room_json: br#""x""#, error: &refused },
    ];
    check(
        |out| push_subscribed(WS, out, Some("5"), &answers),
        concat!(
            r#"{"type":"subscribed","id":5,"rooms":[{"room":"a","epoch":"beef","head":9,"offset":7,"resumed":true},"#,
            r#"{"room":"b","epoch":"1","head":0,"offset":0},{"room":"c","epoch":"1","head":9,"snapshot":true},"#,
            r#"{"room":"x","error":{"code":"unknown_room","message":"no room \"x\""}}]}"#
        ),
    );
    check(|out| push_subscribed(WS, out, None, &[]), r#"{"type":"subscribed","rooms":[]}"#);
}

#[test]
fn events_say_what_was_left_out_only_when_something_was() {
    check(
        |out| push_event(WS, out, FRAME, 3, b"{}"),
        r#"{"type":"event","room":"agent:42","offset":7,"seq":3,"data":{}}"#,
    );
    check(
        |out| push_event(WS, out, EventFrame { skipped: 2, replay: true, ..FRAME }, 3, b"{}"),
        r#"{"type":"event","room":"agent:42","offset":7,"seq":3,"skipped":2,"replay":true,"data":{}}"#,
    );
}

#[test]
fn a_batch_gives_offsets_unless_they_follow_from_the_last() {
    let batch = |out: &mut Vec<u8>, frame, offsets: &[u64]| {
        push_batch(WS, out, frame, offsets.iter().map(|offset| (*offset, offset + 10, &b"{}"[..])));
    };
    check(
        |out| batch(out, FRAME, &[5, 6, 7]),
        r#"{"type":"batch","room":"agent:42","offset":7,"seqs":[15,16,17],"data":[{},{},{}]}"#,
    );
    check(
        |out| batch(out, EventFrame { skipped: 1, replay: true, ..FRAME }, &[5, 7]),
        r#"{"type":"batch","room":"agent:42","offset":7,"seqs":[15,17],"offsets":[5,7],"skipped":1,"replay":true,"data":[{},{}]}"#,
    );
    check(
        |out| batch(out, FRAME, &[5, 6]),
        r#"{"type":"batch","room":"agent:42","offset":7,"seqs":[15,16],"offsets":[5,6],"data":[{},{}]}"#,
    );
    check(
        |out| batch(out, FRAME, &[]),
        r#"{"type":"batch","room":"agent:42","offset":7,"seqs":[],"data":[]}"#,
    );
}

#[test]
fn gaps_say_how_many_and_why() {
    let gap = Gap {
        room_json: br#""r""#,
        epoch: Epoch(255),
        first: 3,
        offset: 9,
        missed: Some(7),
        reason: GapReason::HistoryExpired,
        snapshot: false,
    };
    check(
        |out| push_gap(WS, out, gap),
        r#"{"type":"gap","room":"r","first":3,"offset":9,"missed":7,"reason":"history_expired"}"#,
    );
    check(
        |out| {
            push_gap(
                WS,
                out,
                Gap { first: 1, offset: 0, missed: None, reason: GapReason::EpochChanged, ..gap },
            );
        },
        r#"{"type":"gap","room":"r","first":1,"offset":0,"missed":null,"reason":"epoch_changed","epoch":"ff"}"#,
    );
    check(
        |out| push_gap(WS, out, Gap { snapshot: true, ..gap }),
        r#"{"type":"gap","room":"r","first":3,"last":9,"missed":7,"reason":"history_expired","snapshot":true}"#,
    );
}

#[test]
fn only_the_last_page_of_a_snapshot_tells_a_position() {
    let position = Position { epoch: Epoch(0xbeef), offset: 7 };
    let page = |wire: Wire, last, events: &[&'static [u8]]| {
        let mut out = Vec::new();
        push_snapshot(wire, &mut out, br#""r""#, last, events.iter().copied());
        out
    };
    let (more, last) = (
        r#"{"type":"snapshot","room":"r","more":true,"data":[{"a":1},{}]}"#,
        r#"{"type":"snapshot","room":"r","offset":7,"data":[]}"#,
    );
    check(|out| out.extend(page(WS, None, &[br#"{"a":1}"#, b"{}"])), more);
    check(|out| out.extend(page(WS, Some(position), &[])), last);
    let sse = Wire::Sse(crate::wire::Sse::default());
    let blocks = [page(sse, None, &[br#"{"a":1}"#, b"{}"]), page(sse, Some(position), &[])].concat();
    assert_eq!(String::from_utf8(blocks).unwrap(), format!("data: {more}\n\nid: beef:7\ndata: {last}\n\n"));
    let mut bare = Vec::new();
    let wire = Wire::Sse(crate::wire::Sse { bare: true, ..Default::default() });
    push_snapshot_event(wire, &mut bare, br#""r""#, b"{}");
    push_snapshot_event(Wire::Lines { bare: true, transfer: Transfer::Plain }, &mut bare, br#""r""#, b"{}");
    assert_eq!(String::from_utf8(bare).unwrap(), "data: {}\n\n{}\n");
}
