//! Frames of WebSocket clients. Nothing panics, what is held of a connection is bounded, what comes out does not depend on how
//! the bytes were cut, and a reader that met nonsense still serves the next connection.

#![no_main]

use broadcastd::wire::{FrameReader, Incoming, Partial, ReadError};
use libfuzzer_sys::fuzz_target;

const MOST_BYTES: usize = 1000;
/// The longest header of a frame.
const HEADER_BYTES: usize = 14;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fuzz_target!(|data: &[u8]| {
    let [how, data @ ..] = data else { return };
    // The bytes themselves, or what they say of frames: whose headers and masks are right more often then.
    let stream = if how & 1 == 0 { data.to_vec() } else { framed(data) };
    let mut reader = FrameReader::new();
    let whole = feed(&mut reader, &[&stream]);
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(how >> 1).max(1)).collect();
    assert_eq!(feed(&mut reader, &pieces), whole, "cut every {} bytes", how >> 1);
    let next = feed(&mut reader, &[&frame(0x81, b"next")]);
    assert_eq!(next, (vec!["text next".to_owned()], None));
});

/// First bytes of frames, lengths and payloads.
fn framed(mut data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    while let [first, len, rest @ ..] = data {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        stream.extend(frame(*first, payload));
        data = rest;
    }
    stream
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 0x7e);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What comes out of pieces, up to the end or an error.
fn feed(reader: &mut FrameReader, pieces: &[&[u8]]) -> (Vec<String>, Option<ReadError>) {
    let mut seen = Vec::new();
    let mut partial: Option<Box<Partial>> = None;
    for piece in pieces {
        let mut is_closed = false;
        let fed = reader.feed(&mut partial, piece, MOST_BYTES, |incoming| {
            assert!(!is_closed, "nothing comes after a close frame");
            is_closed = matches!(incoming, Incoming::Close(..));
            seen.push(described(&incoming));
            true
        });
        let held = partial.as_ref().map_or(0, |partial| partial.bytes());
        assert!(held <= 2 * MOST_BYTES + HEADER_BYTES, "{held} bytes are held");
        if fed.is_err() || is_closed {
            assert!(partial.is_none(), "nothing is kept of a connection that ends");
            return (seen, fed.err());
        }
    }
    (seen, None)
}

fn described(incoming: &Incoming<'_>) -> String {
    let (what, len) = match incoming {
        Incoming::Text(text) => (format!("text {text}"), text.len()),
        Incoming::Binary(bytes) => (format!("binary {bytes:?}"), bytes.len()),
        Incoming::Ping(bytes) => (format!("ping {bytes:?}"), bytes.len()),
        Incoming::Pong(bytes) => (format!("pong {bytes:?}"), bytes.len()),
        Incoming::Close(code, reason) => (format!("close {code} {reason}"), reason.len()),
    };
    assert!(len <= MOST_BYTES);
    what
}
