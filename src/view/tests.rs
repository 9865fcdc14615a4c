//! What clients of each wire read, frame by frame.

use super::*;
use crate::config::{BufferConfig, Config, Namespace, RoomConfig};
use crate::event::{Batch, Entry, Event, Filter, KeyId, TypeSpan};
use crate::pattern::Condition;
use crate::wire::{Epoch, Naming, SocketIo, Sse, Transfer, Wire};
use std::time::Duration;

const LINES: Wire = Wire::Lines { bare: false, transfer: Transfer::Plain };
const BARE_LINES: Wire = Wire::Lines { bare: true, transfer: Transfer::Plain };
const SSE: Wire = Wire::Sse(Sse { bare: true, naming: Naming::None, transfer: Transfer::Plain });

fn socketio(tells_positions: bool) -> Wire {
    Wire::SocketIo(SocketIo::new(Namespace::main(), tells_positions))
}

/// Event `n` of the type `tick`, with the number 100 + `n`.
fn entry(n: u64, batch: Batch) -> Entry {
    let json = format!(r#"{{"type":"tick","n":{n}}}"#);
    let span = TypeSpan::new(8, 6);
    let event = Event::typed((100 + n, 0), &[json.as_bytes()], span, b"", &mut Vec::new());
    Entry { event, batch, key: KeyId::NONE }
}

/// Entries from 1 on: `s` stands alone, `m` has more of its batch behind it, `l` is its batch's last.
fn entries(batches: &str) -> Vec<Entry> {
    let batch = |letter| match letter {
        's' => Batch::Single,
        'm' => Batch::More,
        _ => Batch::Last,
    };
    (1..).zip(batches.chars()).map(|(n, letter)| entry(n, batch(letter))).collect()
}

fn numbered(list: &[u64]) -> Vec<(u64, Entry)> {
    list.iter().map(|n| (*n, entry(*n, Batch::Single))).collect()
}

fn filter(condition: &str) -> Filter {
    Filter::new(Condition::parse(condition).unwrap())
}

fn encoder<'a>(wire: Wire, filter: Option<&'a Filter>, room: Option<&'a RoomConfig>) -> Encoder<'a> {
    Encoder { wire, room_json: b"\"r\"", epoch: Epoch(0xa), filter, emit: Emit::of(room) }
}

fn room(emitted_as: Option<&str>, has_buffer: bool) -> RoomConfig {
    let mut room = Config::default().rooms.remove(0);
    room.emitted_as = emitted_as.map(Into::into);
    room.buffer = has_buffer.then(|| BufferConfig {
        events: None,
        flush_interval: Duration::from_secs(1),
        group_by: None,
        keep_newest: false,
    });
    room
}

/// `FIRST-LAST xEVENTS TEXT` of each frame. WebSocket frames are shown without their header.
fn frames(chunk: &Chunk) -> Vec<String> {
    let shown = |frame: &Frame| {
        let bytes = chunk.bytes_of(frame);
        let payload = match bytes {
            [0x81, 126, _, _, payload @ ..] | [0x81, _, payload @ ..] => payload,
            other => other,
        };
        let text = String::from_utf8(payload.to_vec()).unwrap().replace(r#""type":"tick","#, "");
        format!("{}-{} x{} {}", frame.first, frame.last, frame.events, text.trim_end())
    };
    chunk.frames.iter().map(shown).collect()
}

/// The frames of live entries, and how many were left out after the last of them.
fn live(encoder: &Encoder<'_>, batches: &str, skipped: u64) -> (Vec<String>, u64) {
    let mut chunk = Chunk::default();
    let left_out = encoder.live(&mut chunk, &entries(batches), 1, skipped);
    (frames(&chunk), left_out)
}

fn page(encoder: &Encoder<'_>, batches: &str, skipped: u64) -> (Vec<String>, u64) {
    let mut chunk = Chunk::default();
    let left_out = encoder.page(&mut chunk, &entries(batches), 1, skipped);
    (frames(&chunk), left_out)
}

#[test]
fn live_events_come_alone_or_in_the_batches_they_were_flushed_in() {
    let (shown, left_out) = live(&encoder(LINES, None, None), "smmls", 0);
    let expected = [
        r#"1-1 x1 {"type":"event","room":"r","offset":1,"seq":101,"data":{"n":1}}"#,
        r#"2-4 x3 {"type":"batch","room":"r","offset":4,"seqs":[102,103,104],"data":[{"n":2},{"n":3},{"n":4}]}"#,
        r#"5-5 x1 {"type":"event","room":"r","offset":5,"seq":105,"data":{"n":5}}"#,
    ];
    assert_eq!((shown, left_out), (expected.map(str::to_owned).to_vec(), 0));
}

#[test]
fn the_next_frame_tells_what_a_filter_left_out() {
    let check = |condition, batches, skipped, expected: &[&str], left_out| {
        let filter = filter(condition);
        let found = live(&encoder(LINES, Some(&filter), None), batches, skipped);
        assert_eq!(
            found,
            (expected.iter().map(|frame| (*frame).to_owned()).collect(), left_out),
            "{condition}"
        );
    };
    check(
        "n > 2",
        "sssss",
        3,
        &[
            r#"3-3 x1 {"type":"event","room":"r","offset":3,"seq":103,"skipped":5,"data":{"n":3}}"#,
            r#"4-4 x1 {"type":"event","room":"r","offset":4,"seq":104,"data":{"n":4}}"#,
            r#"5-5 x1 {"type":"event","room":"r","offset":5,"seq":105,"data":{"n":5}}"#,
        ],
        0,
    );
    check(
        "n in [2, 3]",
        "mmmml",
        1,
        &[
            r#"2-3 x2 {"type":"batch","room":"r","offset":3,"seqs":[102,103],"skipped":2,"data":[{"n":2},{"n":3}]}"#,
        ],
        2,
    );
    check(
        "n in [1, 4]",
        "mmmls",
        0,
        &[
            r#"1-4 x2 {"type":"batch","room":"r","offset":4,"seqs":[101,104],"offsets":[1,4],"skipped":2,"data":[{"n":1},{"n":4}]}"#,
        ],
        1,
    );
    check("n > 9", "smmls", 2, &[], 7);
}

#[test]
fn a_page_of_the_log_is_one_batch_that_leads_to_its_end() {
    let filter = filter("n in [2, 3]");
    let (shown, left_out) = page(&encoder(LINES, Some(&filter), None), "smlss", 1);
    let expected = r#"2-3 x2 {"type":"batch","room":"r","offset":5,"seqs":[102,103],"offsets":[2,3],"skipped":4,"replay":true,"data":[{"n":2},{"n":3}]}"#;
    assert_eq!((shown, left_out), (vec![expected.to_owned()], 0));
    let (shown, left_out) = page(&encoder(BARE_LINES, Some(&filter), None), "smlss", 1);
    assert_eq!((shown, left_out), (vec![r#"2-2 x1 {"n":2}"#.to_owned(), r#"3-3 x1 {"n":3}"#.to_owned()], 2));
    let (shown, _) = page(&encoder(socketio(true), Some(&filter), Some(&room(None, true))), "smlss", 0);
    assert_eq!(shown, [r#"2-3 x2 42["r",[{"n":2},{"n":3}],"a:3"]"#]);
}

#[test]
fn a_frame_never_holds_more_events_than_a_batch_may_have() {
    let encoder = encoder(LINES, None, None);
    let mut chunk = Chunk::default();
    encoder.live(&mut chunk, &entries(&"m".repeat(150)), 1, 0);
    let sizes: Vec<(u64, u64, u32)> =
        chunk.frames.iter().map(|frame| (frame.first, frame.last, frame.events)).collect();
    assert_eq!(sizes, [(1, 64, 64), (65, 128, 64), (129, 150, 22)]);
}

#[test]
fn a_bare_stream_has_events_one_by_one() {
    let filter = filter("n != 2");
    for (wire, expected) in [(BARE_LINES, r#"1-1 x1 {"n":1}"#), (SSE, "1-1 x1 id: a:1\ndata: {\"n\":1}")] {
        let (shown, left_out) = live(&encoder(wire, Some(&filter), None), "mmlss", 0);
        assert_eq!((shown.len(), shown[0].as_str(), left_out), (4, expected, 0), "{shown:?}");
    }
}

#[test]
fn socketio_events_are_emitted_as_their_type_or_as_the_room_says() {
    let plain = room(None, false);
    let named = room(Some("\"news\""), false);
    let filter = filter("n > 1");
    let (shown, left_out) = live(&encoder(socketio(true), Some(&filter), Some(&plain)), "ml", 4);
    assert_eq!((shown, left_out), (vec![r#"2-2 x1 42["tick",{"n":2},"a:2"]"#.to_owned()], 0));
    let (shown, _) = live(&encoder(socketio(false), None, Some(&named)), "s", 0);
    assert_eq!(shown, [r#"1-1 x1 42["news",{"n":1}]"#]);
    let untyped = Entry::single(Event::new(1, 0, &[b"{}"], b"", &mut Vec::new()), KeyId::NONE);
    let mut chunk = Chunk::default();
    encoder(socketio(false), None, None).live(&mut chunk, &[untyped], 1, 0);
    assert_eq!(frames(&chunk), [r#"1-1 x1 42["event",{}]"#]);
}

#[test]
fn socketio_events_of_a_room_with_a_buffer_come_in_arrays() {
    let buffered = room(None, true);
    let (shown, left_out) = live(&encoder(socketio(true), None, Some(&buffered)), "smms", 0);
    let expected = [r#"1-1 x1 42["r",[{"n":1}],"a:1"]"#, r#"2-4 x3 42["r",[{"n":2},{"n":3},{"n":4}],"a:4"]"#];
    assert_eq!((shown, left_out), (expected.map(str::to_owned).to_vec(), 0));
    let filter = filter("n in [2, 3]");
    let (shown, left_out) = live(&encoder(socketio(true), Some(&filter), Some(&buffered)), "mmmml", 9);
    assert_eq!((shown, left_out), (vec![r#"2-3 x2 42["r",[{"n":2},{"n":3}],"a:3"]"#.to_owned()], 2));
    let none = self::filter("n > 9");
    let (shown, left_out) = live(&encoder(socketio(true), Some(&none), Some(&buffered)), "ml", 9);
    assert_eq!((shown, left_out), (Vec::new(), 11));
    let reserved = room(Some("\"gap\""), true);
    let (shown, _) = live(&encoder(socketio(false), None, Some(&reserved)), "s", 0);
    assert_eq!(shown, [r#"1-1 x1 42["event",[{"n":1}]]"#]);
}

#[test]
fn reduced_events_lead_to_the_end_of_what_they_stand_for() {
    let filter = filter("n > 100");
    let reduced = |wire, room: Option<&RoomConfig>, list: &[u64], skipped| {
        let mut chunk = Chunk::default();
        let encoder = encoder(wire, Some(&filter), room);
        let left_out = encoder.reduced(&mut chunk, &numbered(list), (3, 9), skipped, false);
        (frames(&chunk), left_out)
    };
    let batch = r#"5-9 x2 {"type":"batch","room":"r","offset":9,"seqs":[105,108],"offsets":[5,8],"skipped":6,"data":[{"n":5},{"n":8}]}"#;
    assert_eq!(reduced(LINES, None, &[5, 8], 2), (vec![batch.to_owned()], 0));
    assert_eq!(reduced(LINES, None, &[], 2), (Vec::new(), 8));
    let bare = [r#"5-5 x1 {"n":5}"#, r#"8-8 x1 {"n":8}"#].map(str::to_owned);
    assert_eq!(reduced(BARE_LINES, None, &[5, 8], 2), (bare.to_vec(), 0));
    let array = r#"5-9 x2 42["r",[{"n":5},{"n":8}],"a:9"]"#;
    let buffered = room(None, true);
    assert_eq!(reduced(socketio(true), Some(&buffered), &[5, 8], 2), (vec![array.to_owned()], 0));
}

#[test]
fn a_snapshot_tells_its_position_with_the_last_page() {
    let filter = filter("n != 4");
    let snapshot = |wire, room: Option<&RoomConfig>, list: &[u64], last| {
        let mut chunk = Chunk::default();
        encoder(wire, Some(&filter), room).snapshot(&mut chunk, &numbered(list), last);
        frames(&chunk)
    };
    let none: [&str; 0] = [];
    let page = r#"2-6 x2 {"type":"snapshot","room":"r","more":true,"data":[{"n":2},{"n":6}]}"#;
    assert_eq!(snapshot(LINES, None, &[2, 4, 6], None), [page]);
    let page = r#"2-9 x1 {"type":"snapshot","room":"r","offset":9,"data":[{"n":2}]}"#;
    assert_eq!(snapshot(LINES, None, &[2], Some(9)), [page]);
    assert_eq!(snapshot(LINES, None, &[4], None), none);
    let page = r#"0-9 x0 {"type":"snapshot","room":"r","offset":9,"data":[]}"#;
    assert_eq!(snapshot(LINES, None, &[4], Some(9)), [page]);
    let page = "2-6 x2 data: {\"n\":2}\n\ndata: {\"n\":6}";
    assert_eq!(snapshot(SSE, None, &[2, 4, 6], None), [page]);
    assert_eq!(snapshot(SSE, None, &[4], None), none);
    assert_eq!(snapshot(SSE, None, &[2], Some(9))[0], "2-9 x1 data: {\"n\":2}");
    assert!(snapshot(SSE, None, &[4], Some(9))[0].starts_with("0-9 x0 id: a:9\n"));
    let (plain, buffered) = (room(None, false), room(None, true));
    let own = r#"42["position",{"type":"position","room":"r","offset":9},"a:9"]"#;
    let shown = snapshot(socketio(true), Some(&plain), &[2], Some(9));
    assert_eq!(shown, [r#"2-9 x1 42["tick",{"n":2}]"#.to_owned(), format!("2-9 x0 {own}")]);
    assert_eq!(
        snapshot(socketio(true), Some(&buffered), &[2, 3], None),
        [r#"2-3 x2 42["r",[{"n":2},{"n":3}]]"#]
    );
    assert_eq!(snapshot(socketio(false), Some(&plain), &[2], Some(9)).len(), 2);
    assert_eq!(snapshot(socketio(false), Some(&plain), &[4], Some(9)), ["0-9 x0 "]);
    assert_eq!(snapshot(socketio(false), Some(&plain), &[4], None), none);
}

#[test]
fn buffers_are_kept_for_reuse_within_a_bound() {
    let with = |bytes| Chunk { bytes: Vec::with_capacity(bytes), ..Chunk::default() };
    let mut pool = Pool::default();
    let mut used = with(100);
    used.bytes.extend([1; 10]);
    used.push_frame(1, 1, 1);
    pool.give(used);
    let again = pool.take();
    assert_eq!((again.bytes.capacity(), again.bytes.len(), again.frames.len()), (100, 0, 0));
    assert_eq!(pool.take().bytes.capacity(), 0, "it was taken out");
    pool.give(with(2 * CHUNK_BYTES));
    pool.give(with(2 * CHUNK_BYTES + 1));
    assert_eq!([pool.take().bytes.capacity(), pool.take().bytes.capacity()], [2 * CHUNK_BYTES, 0]);
    // Eight of the largest are all that is kept, again and again.
    for _ in 0..3 {
        (0..20).for_each(|_| pool.give(with(2 * CHUNK_BYTES)));
        let kept = (0..20).filter(|_| pool.take().bytes.capacity() > 0).count();
        assert_eq!(kept, 8);
    }
}

#[test]
fn chunks_are_let_go_oldest_first() {
    let mut kept = Kept::default();
    let mut pool = Pool::default();
    for (offset, len) in [(1, 30), (2, 40), (3, 50)] {
        let mut chunk = Chunk { bytes: vec![0; len], ..Chunk::default() };
        chunk.push_frame(offset, offset, 1);
        kept.push(chunk, offset - 1);
    }
    assert_eq!((kept.bytes(), kept.chunk(1).from, kept.last().map(|last| last.from)), (120, 1, Some(2)));
    kept.drop_oldest(&mut pool);
    assert_eq!((kept.bytes(), kept.place(0), kept.place(1)), (90, Place::Older, Place::Frame(0, 0)));
    assert!(pool.take().bytes.capacity() >= 30);
    kept.clear(&mut pool);
    assert_eq!((kept.bytes(), kept.chunks().len(), kept.last().is_none()), (0, 0, true));
    assert!(pool.take().bytes.capacity() >= 50, "it is there to be used again");
}
