//! Tests of the frame reader with raw bytes: every rule of RFC 6455 that a client can break, at every cut.

use super::{FrameReader, Incoming, Partial, ReadError};
use proptest::prelude::*;

const MAX: usize = 1000;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;
const TEXT_BEGIN: u8 = 0x01;
const BINARY: u8 = 0x82;
const BINARY_BEGIN: u8 = 0x02;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A masked frame with the shortest length that fits.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 0x7e);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 0x7f);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What came in, as text that is easy to compare.
fn describe(incoming: &Incoming<'_>) -> String {
    match incoming {
        Incoming::Text(text) => format!("text {text}"),
        Incoming::Binary(bytes) => format!("binary {bytes:?}"),
        Incoming::Ping(bytes) => format!("ping {bytes:?}"),
        Incoming::Pong(bytes) => format!("pong {bytes:?}"),
        Incoming::Close(code, reason) => format!("close {code} {reason}"),
    }
}

/// Feeds pieces until the end, a close frame or an error, and checks what is held in between.
fn feed<'p>(
    reader: &mut FrameReader,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<String>, Option<ReadError>, Option<Box<Partial>>) {
    let (mut seen, mut partial) = (Vec::new(), None);
    for piece in pieces {
        let mut closed = false;
        let fed = reader.feed(&mut partial, piece, MAX, |incoming| {
            assert!(!closed, "nothing comes after a close frame");
            closed = matches!(incoming, Incoming::Close(..));
            seen.push(describe(&incoming));
            true
        });
        let held = partial.as_ref().map_or(0, |partial| partial.bytes());
        assert!(held <= 2 * MAX + 14, "{held} bytes are held");
        if fed.is_err() || closed {
            assert!(partial.is_none(), "nothing is kept for a connection that ends");
            return (seen, fed.err(), partial);
        }
    }
    (seen, None, partial)
}

/// Whole, byte by byte, and cut once at every place: always the same messages, then the same error.
#[track_caller]
fn check(stream: &[u8], messages: &[&str], code: Option<u16>) {
    let mut reader = FrameReader::new();
    let mut ways: Vec<Vec<&[u8]>> = vec![vec![stream], stream.chunks(1).collect()];
    ways.extend((0..stream.len()).map(|at| vec![&stream[..at], &stream[at..]]));
    for pieces in ways {
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        let (seen, error, _) = feed(&mut reader, pieces);
        assert_eq!(seen, messages, "pieces of {sizes:?}");
        assert_eq!(error.map(|error| error.code), code, "pieces of {sizes:?}");
    }
}

#[test]
fn whole_messages_are_handed_out() {
    check(&frame(TEXT, b""), &["text "], None);
    check(&frame(TEXT, "h\u{e9}llo".as_bytes()), &["text h\u{e9}llo"], None);
    check(&frame(BINARY, &[0, 255]), &["binary [0, 255]"], None);
    check(&frame(PING, b""), &["ping []"], None);
    check(&frame(PONG, &[1, 2]), &["pong [1, 2]"], None);
    for len in [125, 126, 127, MAX] {
        let text = "x".repeat(len);
        check(&frame(TEXT, text.as_bytes()), &[&format!("text {text}")], None);
    }
    check(&frame(PING, &[7; 125]), &[&format!("ping {:?}", [7; 125])], None);
    let two = [frame(TEXT, b"a"), frame(TEXT, b"b")].concat();
    check(&two, &["text a", "text b"], None);
}

#[test]
fn fragments_are_joined_and_control_frames_pass_between_them() {
    let stream =
        [frame(TEXT_BEGIN, b"a\xc3"), frame(PING, b"p"), frame(MORE, b""), frame(LAST, b"\xa9b")].concat();
    check(&stream, &["ping [112]", "text a\u{e9}b"], None);
    let stream = [frame(BINARY_BEGIN, b""), frame(LAST, b"\xff"), frame(TEXT, b"t")].concat();
    check(&stream, &["binary [255]", "text t"], None);
    let stream =
        [frame(TEXT_BEGIN, &[b'x'; 400]), frame(MORE, &[b'x'; 300]), frame(LAST, &[b'x'; 300])].concat();
    check(&stream, &[&format!("text {}", "x".repeat(1000))], None);
}

#[test]
fn what_breaks_the_protocol_is_1002() {
    let good = frame(TEXT, b"ok");
    let broken: Vec<(&str, Vec<u8>)> = vec![
        ("not masked", vec![TEXT, 2, b'h', b'i']),
        ("rsv1", frame(TEXT | 0x40, b"x")),
        ("rsv2", frame(TEXT | 0x20, b"x")),
        ("rsv3", frame(TEXT | 0x10, b"x")),
        ("ping with rsv1", frame(PING | 0x40, b"")),
        ("opcode 3", frame(0x83, b"")),
        ("opcode 7", frame(0x87, b"")),
        ("opcode 11", frame(0x8b, b"")),
        ("opcode 15", frame(0x8f, b"")),
        ("fragmented ping", frame(0x09, b"")),
        ("fragmented pong", frame(0x0a, b"")),
        ("fragmented close", frame(0x08, b"")),
        ("ping of 126", frame(PING, &[0; 126])),
        ("pong of 126", frame(PONG, &[0; 126])),
        ("close of 126", frame(CLOSE, &[0; 126])),
        ("continuation of nothing", frame(MORE, b"x")),
        ("end of nothing", frame(LAST, b"x")),
        ("text within text", [frame(TEXT_BEGIN, b"x"), frame(TEXT, b"y")].concat()),
        ("fragment within text", [frame(TEXT_BEGIN, b"x"), frame(TEXT_BEGIN, b"y")].concat()),
        ("binary within text", [frame(TEXT_BEGIN, b"x"), frame(BINARY, b"y")].concat()),
        ("5 bytes with a length of two bytes", vec![TEXT, 0xfe, 0, 5]),
        ("5 bytes with a length of eight bytes", vec![TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 5]),
        ("a length with the top bit", vec![TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("close of one byte", frame(CLOSE, b"x")),
    ];
    for (name, bytes) in broken {
        println!("{name}");
        check(&[good.clone(), bytes].concat(), &["text ok"], Some(1002));
    }
}

#[test]
fn close_codes_are_those_that_may_be_sent() {
    check(&frame(CLOSE, b""), &["close 1005 "], None);
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
    {
        let payload = [&code.to_be_bytes()[..], b"bye"].concat();
        check(&frame(CLOSE, &payload), &[&format!("close {code} bye")], None);
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check(&frame(CLOSE, &code.to_be_bytes()), &[], Some(1002));
    }
    check(&frame(CLOSE, b"\x03\xe8\xff"), &[], Some(1007));
    check(
        &frame(CLOSE, &[&[0x03, 0xe8][..], &[b'r'; 123]].concat()),
        &[&format!("close 1000 {}", "r".repeat(123))],
        None,
    );
    let after = [frame(CLOSE, b""), frame(TEXT, b"late"), vec![0xff; 9]].concat();
    check(&after, &["close 1005 "], None);
}

#[test]
fn text_that_is_not_utf8_is_1007() {
    for bad in [
        &b"\xff"[..],
        b"a\xc3",
        b"\xc3(",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xf8\x88\x80\x80\x80",
    ] {
        check(&frame(TEXT, bad), &[], Some(1007));
        check(&[frame(TEXT_BEGIN, bad), frame(LAST, b"")].concat(), &[], Some(1007));
        check(&[frame(TEXT_BEGIN, b""), frame(LAST, bad)].concat(), &[], Some(1007));
    }
    check(&frame(BINARY, b"\xff"), &["binary [255]"], None);
}

#[test]
fn too_big_is_known_from_the_header_alone() {
    let over = (MAX + 1) as u16;
    check(&[&[TEXT, 0xfe][..], &over.to_be_bytes()].concat(), &[], Some(1009));
    check(&[&[BINARY, 0xff][..], &(1_u64 << 40).to_be_bytes()].concat(), &[], Some(1009));
    let mut fragments = frame(TEXT_BEGIN, &[b'x'; 600]);
    fragments.extend_from_slice(&[MORE, 0xfe, 401_u16.to_be_bytes()[0], 401_u16.to_be_bytes()[1]]);
    check(&fragments, &[], Some(1009));
}

#[test]
fn nothing_is_held_between_messages_and_nothing_is_reserved_ahead() {
    let mut reader = FrameReader::new();
    let (_, _, partial) = feed(&mut reader, [&frame(TEXT, b"whole")[..], &frame(PING, b"")]);
    assert!(partial.is_none());
    let long = frame(TEXT, &[b'x'; MAX]);
    let (_, _, partial) = feed(&mut reader, [&long[..10]]);
    assert!(partial.expect("a pending frame").bytes() <= 20, "10 bytes have arrived");
    let rest = frame(LAST, &[b'x'; MAX - 300]);
    let (_, _, partial) = feed(&mut reader, [&frame(TEXT_BEGIN, &[b'x'; 300])[..], &rest[..8]]);
    assert!((308..2 * 308 + 14).contains(&partial.expect("both are pending").bytes()));
    let (seen, _, partial) = feed(&mut reader, long.chunks(7));
    assert_eq!((seen.len(), partial.is_none()), (1, true));
    let (_, _, partial) = feed(&mut reader, [&frame(TEXT_BEGIN, b"")[..]]);
    assert!(partial.is_some(), "an empty first fragment is pending all the same");
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_seldom_moved() {
    let (mut reader, mut partial, mut sizes) = (FrameReader::new(), None, std::collections::BTreeSet::new());
    let stream = [frame(TEXT_BEGIN, &[b'x'; 500]), frame(LAST, &[b'x'; 500])].concat();
    for piece in stream.chunks(1) {
        reader.feed(&mut partial, piece, MAX, |_| true).unwrap();
        sizes.extend(partial.as_ref().map(|partial| partial.bytes()));
    }
    assert!(sizes.len() < 40, "{sizes:?}");
}

#[test]
fn one_reader_serves_connections_whose_frames_interleave() {
    let mut reader = FrameReader::new();
    let streams = [frame(TEXT, b"first"), frame(TEXT, b"second"), frame(0x8b, b"")];
    let mut partials = [const { None }; 3];
    let mut seen = Vec::new();
    for at in 0..streams.iter().map(Vec::len).max().unwrap() {
        for (index, stream) in streams.iter().enumerate() {
            let piece = stream.get(at..=at).unwrap_or(&[]);
            let _ = reader.feed(&mut partials[index], piece, MAX, |incoming| {
                seen.push((index, describe(&incoming)));
                true
            });
        }
    }
    assert_eq!(seen, [(0, "text first".to_owned()), (1, "text second".to_owned())]);
}

#[test]
fn the_sink_can_stop() {
    let stream = [frame(TEXT, b"a"), frame(TEXT, b"b"), frame(TEXT, b"c")[..3].to_vec()].concat();
    let (mut seen, mut partial) = (0, None);
    let fed = FrameReader::new().feed(&mut partial, &stream, MAX, |_| {
        seen += 1;
        false
    });
    assert_eq!((fed, seen, partial.is_none()), (Ok(()), 1, true));
}

#[test]
fn a_reader_can_move_to_its_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    is_send(FrameReader::new());
    is_send(Some(Box::new(Partial::default())));
}

/// A valid stream: messages in fragments with control frames between them, and what they say.
fn valid_stream() -> impl Strategy<Value = (Vec<u8>, Vec<String>)> {
    let fragment = proptest::collection::vec(any::<char>(), 0..40);
    let message = (proptest::collection::vec(fragment, 1..4), any::<bool>(), any::<bool>());
    proptest::collection::vec(message, 0..6).prop_map(|messages| {
        let (mut stream, mut seen) = (Vec::new(), Vec::new());
        for (fragments, is_text, pings) in messages {
            let mut whole = String::new();
            for (index, characters) in fragments.iter().enumerate() {
                let text: String = characters.iter().collect();
                let fin = if index + 1 == fragments.len() { LAST } else { MORE };
                let opcode = match (index, is_text) {
                    (0, true) => TEXT_BEGIN,
                    (0, false) => BINARY_BEGIN,
                    _ => MORE,
                };
                if pings {
                    stream.extend(frame(PING, &text.as_bytes()[..text.len().min(125)]));
                    seen.push(describe(&Incoming::Ping(&text.as_bytes()[..text.len().min(125)])));
                }
                stream.extend(frame(fin | opcode, text.as_bytes()));
                whole.push_str(&text);
            }
            let incoming = if is_text { Incoming::Text(&whole) } else { Incoming::Binary(whole.as_bytes()) };
            seen.push(describe(&incoming));
        }
        (stream, seen)
    })
}

/// Cuts a stream into pieces of these lengths, over and over.
fn cut<'s>(stream: &'s [u8], lengths: &[usize]) -> Vec<&'s [u8]> {
    let (mut rest, mut pieces) = (stream, Vec::new());
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_cut_of_a_valid_stream_gives_the_same_messages(
        (stream, expected) in valid_stream(),
        lengths in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        let mut reader = FrameReader::new();
        let (seen, error, partial) = feed(&mut reader, cut(&stream, &lengths));
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(error, None);
        prop_assert!(partial.is_none());
    }

    /// Bytes changed, taken out and put in: the same outcome whatever the cut, no panic, bounded memory (`feed` checks
    /// it after every piece), and the reader still serves the next connection.
    #[test]
    fn a_damaged_stream_ends_the_same_way_at_any_cut(
        (mut stream, _) in valid_stream(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0_u8..3), 1..5),
        lengths in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        for (index, byte, kind) in damage {
            let at = index.index(stream.len() + 1);
            match kind {
                0 if at < stream.len() => stream[at] = byte,
                1 if at < stream.len() => { stream.remove(at); }
                _ => stream.insert(at, byte),
            }
        }
        let mut reader = FrameReader::new();
        let (whole, error, _) = feed(&mut reader, [&stream[..]]);
        let (cut_up, cut_error, _) = feed(&mut reader, cut(&stream, &lengths));
        prop_assert_eq!(whole, cut_up);
        prop_assert_eq!(error, cut_error);
        let (after, error, _) = feed(&mut reader, [&frame(TEXT, b"next")[..]]);
        prop_assert_eq!((after, error), (vec!["text next".to_owned()], None));
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        feed(&mut FrameReader::new(), [&bytes[..]]);
    }
}
