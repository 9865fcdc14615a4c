//! Tests of wires: what goes out, byte for byte.

use super::*;
use crate::wire::{
    Answer, Epoch, EventFrame, Gap, GapReason, push_batch, push_closing, push_event, push_gap, push_position,
    push_subscribed, push_unsubscribed, push_welcome,
};

const SSE: Wire = Wire::Sse(Sse { bare: false, naming: Naming::None, transfer: Transfer::Plain });
const BARE: Wire = Wire::Sse(Sse { bare: true, naming: Naming::None, transfer: Transfer::Plain });
const LINES: Wire = Wire::Lines { bare: false, transfer: Transfer::Plain };
const BARE_LINES: Wire = Wire::Lines { bare: true, transfer: Transfer::Plain };

const ROOM: &[u8] = br#""agent:\"4\u0032\"""#;
const FRAME: EventFrame<'static> =
    EventFrame { room_json: ROOM, epoch: Epoch(0xbeef), offset: 7, skipped: 0, replay: false };
const GAP: Gap<'static> = Gap {
    room_json: br#""r""#,
    epoch: Epoch(0xa),
    first: 3,
    offset: 9,
    missed: Some(7),
    reason: GapReason::SlowClient,
    snapshot: false,
};

fn named(naming: Naming) -> Wire {
    Wire::Sse(Sse { naming, ..Sse::default() })
}

fn bare(naming: Naming) -> Wire {
    Wire::Sse(Sse { bare: true, naming, ..Sse::default() })
}

/// Encodes behind other bytes and compares what was added.
#[track_caller]
fn check(encode: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let mut out = b"id: before\r".to_vec();
    encode(&mut out);
    let added = out.strip_prefix(b"id: before\r").expect("what was there stays");
    assert_eq!(String::from_utf8_lossy(added), expected);
}

#[test]
fn an_event_is_a_block_with_its_position() {
    let event = r#"{"type":"event","room":"agent:\"4\u0032\"","offset":7,"seq":9,"data":{"n":1}}"#;
    check(|out| push_event(SSE, out, FRAME, 9, br#"{"n":1}"#), &format!("id: beef:7\ndata: {event}\n\n"));
    check(
        |out| push_event(named(Naming::Type), out, FRAME, 9, br#"{"n":1}"#),
        &format!("id: beef:7\nevent: event\ndata: {event}\n\n"),
    );
    check(
        |out| push_event(named(Naming::Room), out, FRAME, 9, br#"{"n":1}"#),
        &format!("id: beef:7\nevent: agent:\"42\"\ndata: {event}\n\n"),
    );
    check(|out| push_event(LINES, out, FRAME, 9, br#"{"n":1}"#), &format!("{event}\n"));
    let position = FRAME.offset;
    check(
        |out| push_batch(SSE, out, FRAME, [(position, 9, &br#"{"n":1}"#[..])].into_iter()),
        "id: beef:7\ndata: {\"type\":\"batch\",\"room\":\"agent:\\\"4\\u0032\\\"\",\"offset\":7,\"seqs\":[9],\"data\":[{\"n\":1}]}\n\n",
    );
}

#[test]
fn line_breaks_of_a_producer_end_nothing() {
    let pretty = b"{\r\n  \"text\": \"two\\nlines\",\n\t\"n\":\r1\n}\n";
    let flat = "{    \"text\": \"two\\nlines\", \t\"n\": 1 } ";
    check(|out| push_event(BARE, out, FRAME, 1, pretty), &format!("id: beef:7\ndata: {flat}\n\n"));
    check(|out| push_event(BARE_LINES, out, FRAME, 1, pretty), &format!("{flat}\n"));
    for wire in [SSE, LINES] {
        let mut out = Vec::new();
        push_event(wire, &mut out, FRAME, 1, pretty);
        let text = String::from_utf8(out).unwrap();
        let block = if wire == SSE { text.strip_prefix("id: beef:7\ndata: ").unwrap() } else { &text };
        let line = block.trim_end_matches('\n');
        assert!(!line.contains(['\n', '\r']), "{line:?}");
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["data"], serde_json::from_slice::<serde_json::Value>(pretty).unwrap());
    }
    let mut frame = Vec::new();
    push_event(Wire::WebSocket, &mut frame, FRAME, 1, pretty);
    assert!(frame.windows(pretty.len()).any(|part| part == pretty), "a frame has the event byte for byte");
}

#[test]
fn bare_events_stand_alone_and_nothing_else_is_taken_for_one() {
    for (naming, name) in [(Naming::None, ""), (Naming::Type, ""), (Naming::Room, "event: agent:\"42\"\n")] {
        check(
            |out| push_event(bare(naming), out, FRAME, 9, br#"{"n":1}"#),
            &format!("id: beef:7\n{name}data: {{\"n\":1}}\n\n"),
        );
        check(
            |out| push_gap(bare(naming), out, GAP),
            "id: a:9\nevent: gap\ndata: {\"type\":\"gap\",\"room\":\"r\",\"first\":3,\"offset\":9,\"missed\":7,\"reason\":\"slow_client\"}\n\n",
        );
        check(
            |out| push_unsubscribed(bare(naming), out, None, &[br#""r""#], &[], Some("room_closed")),
            "event: unsubscribed\ndata: {\"type\":\"unsubscribed\",\"rooms\":[\"r\"],\"reason\":\"room_closed\"}\n\n",
        );
    }
    check(|out| push_event(BARE_LINES, out, FRAME, 9, br#"{"n":1}"#), "{\"n\":1}\n");
    check(
        |out| push_gap(BARE_LINES, out, GAP),
        "{\"$gap\":{\"type\":\"gap\",\"room\":\"r\",\"first\":3,\"offset\":9,\"missed\":7,\"reason\":\"slow_client\"}}\n",
    );
    check(
        |out| push_closing(BARE_LINES, out, 1001, "stopping", Some(700)),
        "{\"$closing\":{\"type\":\"closing\",\"code\":1001,\"reason\":\"stopping\",\"retry_after\":700}}\n",
    );
    check(|out| push_welcome(BARE_LINES, out, "1", 1), "");
    check(|out| push_subscribed(BARE_LINES, out, None, &[]), "");
    check(|out| push_position(BARE_LINES, out, ROOM, Position { epoch: Epoch(1), offset: 2 }), "");
}

#[test]
fn no_room_and_no_event_passes_for_a_message_of_the_daemons() {
    for room in ["gap", "closing", "welcome", "subscribed", "unsubscribed", "error", "open", "event"] {
        let room_json = format!("\"{room}\"");
        let frame = EventFrame { room_json: room_json.as_bytes(), ..FRAME };
        check(
            |out| push_event(bare(Naming::Room), out, frame, 9, b"{}"),
            "id: beef:7\nevent: event\ndata: {}\n\n",
        );
    }
    for room in ["position", "snapshot", "gaps"] {
        let room_json = format!("\"{room}\"");
        let frame = EventFrame { room_json: room_json.as_bytes(), ..FRAME };
        let expected = format!("id: beef:7\nevent: {room}\ndata: {{}}\n\n");
        check(|out| push_event(bare(Naming::Room), out, frame, 9, b"{}"), &expected);
    }
    let forged =
        r#"{"$gap":{"type":"gap","room":"r","first":1,"offset":9,"missed":9,"reason":"slow_client"}}"#;
    check(
        |out| push_event(BARE_LINES, out, FRAME, 9, forged.as_bytes()),
        &format!("{{\"$event\":{forged}}}\n"),
    );
    check(|out| push_event(BARE_LINES, out, FRAME, 9, br#"{"price":"$5"}"#), "{\"price\":\"$5\"}\n");
}

#[test]
fn what_belongs_to_no_room_has_no_position() {
    let welcome = r#"{"type":"welcome","protocol":"broadcastd.v1","client":"1f","heartbeat":25000}"#;
    for (wire, name) in [
        (SSE, ""),
        (named(Naming::Type), "event: welcome\n"),
        (named(Naming::Room), ""),
        (BARE, "event: welcome\n"),
    ] {
        check(|out| push_welcome(wire, out, "1f", 25_000), &format!("{name}data: {welcome}\n\n"));
    }
    check(|out| push_welcome(LINES, out, "1f", 25_000), &format!("{welcome}\n"));
    let answer = Answer::Subscribed {
        room_json: br#""r""#,
        epoch: Epoch(0xa),
        head: 9,
        offset: Some(4),
        resumed: true,
    };
    check(
        |out| push_subscribed(SSE, out, None, &[answer]),
        "data: {\"type\":\"subscribed\",\"rooms\":[{\"room\":\"r\",\"epoch\":\"a\",\"head\":9,\"offset\":4,\"resumed\":true}]}\n\n",
    );
    check(
        |out| push_closing(SSE, out, 1001, "stopping", Some(700)),
        "retry: 700\n\ndata: {\"type\":\"closing\",\"code\":1001,\"reason\":\"stopping\",\"retry_after\":700}\n\n",
    );
}

#[test]
fn positions_and_heartbeats_give_a_reader_nothing() {
    let position = Position { epoch: Epoch(0xbeef), offset: u64::MAX };
    for wire in [SSE, BARE, named(Naming::Type), bare(Naming::Room)] {
        check(|out| push_position(wire, out, ROOM, position), "id: beef:18446744073709551615\n\n");
        check(|out| wire.push_heartbeat(out), ":\n\n");
        check(|out| wire.push_retry(out, 1500), "retry: 1500\n\n");
    }
    check(
        |out| push_position(LINES, out, br#""r""#, position),
        "{\"type\":\"position\",\"room\":\"r\",\"offset\":18446744073709551615}\n",
    );
    for wire in [LINES, BARE_LINES] {
        check(|out| wire.push_heartbeat(out), "\n");
        check(|out| wire.push_retry(out, 1500), "");
    }
    check(|out| Wire::WebSocket.push_heartbeat(out), "");
}

#[test]
fn a_block_loses_its_position_and_nothing_else() {
    for (block, rest) in [
        ("id: a:1\ndata: {\"id\":\"id: b\"}\n\n", "data: {\"id\":\"id: b\"}\n\n"),
        ("data: id: a:1\n\n", "data: id: a:1\n\n"),
        ("id: a:1\n\n", "\n"),
        ("", ""),
    ] {
        assert_eq!(String::from_utf8_lossy(without_id(block.as_bytes())), rest);
    }
}

#[test]
fn no_frame_adds_more_than_is_reckoned_with() {
    for wire in [Wire::WebSocket, SSE, LINES, BARE, named(Naming::Type)] {
        let frame = EventFrame {
            room_json: br#""r""#,
            epoch: Epoch(u64::from(u32::MAX) << 16),
            offset: 1 << 50,
            skipped: 1 << 30,
            replay: false,
        };
        let mut out = Vec::new();
        push_event(wire, &mut out, frame, 1 << 50, b"");
        assert!(out.len() - frame.room_json.len() <= wire.overhead(), "{wire:?}: {} bytes", out.len());
    }
}

#[test]
fn transports_are_in_their_order() {
    for (index, transport) in Transport::ALL.iter().enumerate() {
        assert_eq!(*transport as usize, index);
    }
    let of = |wires: &[Wire]| wires.iter().map(|wire| wire.transport().as_str()).collect::<Vec<_>>();
    assert_eq!(
        of(&[Wire::WebSocket, SSE, BARE, LINES, BARE_LINES]),
        ["websocket", "sse", "sse", "lines", "lines"]
    );
}

#[test]
fn every_wire_says_what_its_clients_can_do() {
    let chunked_lines = Wire::Lines { bare: false, transfer: Transfer::Chunked };
    let chunked_sse = Wire::Sse(Sse { bare: true, naming: Naming::None, transfer: Transfer::Chunked });
    let namespace = Namespace::named("/admin").unwrap();
    let [told, untold] = [true, false].map(|tells| Wire::SocketIo(SocketIo::new(namespace, tells)));
    // Two ways, bare, batches, positions as ids, positions of all rooms.
    for (wire, abilities) in [
        (Wire::WebSocket, [true, false, true, false, false]),
        (SSE, [false, false, true, true, true]),
        (chunked_sse, [false, true, false, true, true]),
        (chunked_lines, [false, false, true, false, false]),
        (BARE_LINES, [false, true, false, false, false]),
        (told, [true, false, false, false, true]),
        (untold, [true, false, false, false, false]),
    ] {
        let found = [
            wire.is_two_way(),
            wire.is_bare(),
            wire.has_batches(),
            wire.has_ids(),
            wire.tells_all_positions(),
        ];
        assert_eq!(found, abilities, "{wire:?}");
        let is_chunked = wire == chunked_lines || wire == chunked_sse;
        assert_eq!(wire.transfer() == Transfer::Chunked, is_chunked, "{wire:?}");
        let is_socketio = wire == told || wire == untold;
        assert_eq!(wire.namespace(), is_socketio.then_some(namespace), "{wire:?}");
        assert_eq!(wire.transport() == Transport::SocketIo, is_socketio, "{wire:?}");
        assert_eq!(wire.without_positions(), if wire == told { untold } else { wire });
    }
    assert_eq!(Transport::SocketIo.as_str(), "socketio");
}

#[test]
fn a_block_takes_the_positions_of_other_rooms_before_its_own() {
    let mut out = b"before".to_vec();
    let told_at = SSE.push_with_others(&mut out, b"id: a:1\ndata: {}\n\n", b"b:2,c:3,");
    assert_eq!(String::from_utf8_lossy(&out), "beforeid: b:2,c:3,a:1\ndata: {}\n\n");
    assert_eq!(told_at, Some(10));
}
