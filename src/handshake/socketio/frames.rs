//! Frames on the socket between a session and its shard: here the front is the client of a WebSocket whose other end is the
//! shard.

use crate::socketio::EnginePacket;
use crate::wire::frame::{CLOSE, TEXT, frame_len};

const BINARY: u8 = 0x2;
/// A frame that is a whole message.
const FINAL: u8 = 0x80;
/// Set by clients, whose payloads are masked. With a key of zeros that changes nothing (RFC 6455 §5.3): keys are there
/// for proxies between browsers and servers, and here is none.
const MASKED: u8 = 0x80;
const KEY: [u8; 4] = [0; 4];

/// A frame from the shard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A text packet.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// The end.
    Close,
    /// What is between the two ends of a WebSocket alone.
    Control,
}

/// The frame that `bytes` begin with, and its length; none while it is not whole. Shards send whole messages, and UTF-8
/// where it is text: what is not counts as the end.
pub(super) fn read(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let len = frame_len(bytes).filter(|len| *len <= bytes.len())?;
    let header = match bytes[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let payload = &bytes[header..len];
    let frame = match bytes[0] & 0xf {
        TEXT => std::str::from_utf8(payload).map_or(Frame::Close, Frame::Text),
        BINARY => Frame::Binary(payload),
        CLOSE => Frame::Close,
        _ => Frame::Control,
    };
    Some((frame, len))
}

/// Appends a packet as its client would have sent it over a WebSocket.
pub(super) fn push(out: &mut Vec<u8>, packet: &EnginePacket<'_>) {
    let (opcode, payload) = match packet {
        EnginePacket::Text(text, _) => (TEXT, text.as_bytes()),
        EnginePacket::Binary(message) => (BINARY, &message[..]),
    };
    out.push(FINAL | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(MASKED | len as u8),
        len @ 126..=0xffff => {
            out.push(MASKED | 0x7e);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(MASKED | 0x7f);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socketio::Received;
    use crate::wire::frame::{PING, push_close, push_control, push_text};
    use crate::wire::{FrameReader, Incoming};

    #[test]
    fn what_is_written_is_what_a_shard_reads() {
        for len in [1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let text = format!("4{}", "x".repeat(len - 1));
            let (mut out, mut read) = (Vec::new(), 0);
            push(&mut out, &EnginePacket::Text(&text, Received::Message(&text[1..])));
            push(&mut out, &EnginePacket::Binary(text.clone().into_bytes()));
            let (mut reader, mut partial) = (FrameReader::new(), None);
            let fed = reader.feed(&mut partial, &out, 100_000, |incoming| {
                read += 1;
                match incoming {
                    Incoming::Text(incoming) => incoming == text,
                    Incoming::Binary(incoming) => incoming == text.as_bytes(),
                    _ => false,
                }
            });
            assert_eq!((fed, read), (Ok(()), 2), "{len} bytes");
        }
    }

    #[test]
    fn what_a_shard_writes_is_read_once_it_is_whole() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(len);
            let mut bytes = Vec::new();
            push_text(&mut bytes, 0, |out| out.extend_from_slice(text.as_bytes()));
            let whole = bytes.len();
            push_control(&mut bytes, PING, b"");
            assert_eq!(read(&bytes[..whole - 1]), None);
            assert_eq!(read(&bytes), Some((Frame::Text(&text), whole)));
            assert_eq!(read(&bytes[whole..]), Some((Frame::Control, 2)));
        }
        let mut bytes = Vec::new();
        push_close(&mut bytes, 1000, "bye");
        assert_eq!(read(&bytes), Some((Frame::Close, 7)));
        assert_eq!(read(&[0x82, 2, 0, 255]), Some((Frame::Binary(&[0, 255]), 4)));
        assert_eq!(read(&[0x81, 1, 255]), Some((Frame::Close, 3)), "text that is none");
    }
}
