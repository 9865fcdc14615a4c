//! Events as packets of Socket.IO (protocol revision 5, over Engine.IO revision 4), in text frames of a WebSocket:
//! `42["agent_state",{…},"EPOCH:OFFSET"]`.
//!
//! The position at the end is what a client of version 4.6 or later tells when it comes back (connection state recovery).

use super::Position;
use super::frame::{LONGEST_HEADER, push_text, push_text_header};
use crate::config::Namespace;

/// What a packet has before its JSON: a message of Engine.IO (`4`) that is an event of Socket.IO (`2`).
const EVENT: &[u8] = b"42";

/// How a client of Socket.IO is written to. One byte, since views and clients have it: the namespace, and a bit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SocketIo(u8);

const TELLS_POSITIONS: u8 = 0x80;

impl SocketIo {
    /// In a namespace; events end with the position that they lead to, if it is told.
    pub fn new(namespace: Namespace, tells_positions: bool) -> SocketIo {
        SocketIo(namespace.to_bits() | if tells_positions { TELLS_POSITIONS } else { 0 })
    }

    /// The namespace.
    pub fn namespace(self) -> Namespace {
        Namespace::from_bits(self.0)
    }

    /// Whether events end with the position that they lead to.
    pub fn tells_positions(self) -> bool {
        self.0 & TELLS_POSITIONS > 0
    }

    /// The same without positions.
    #[must_use]
    pub fn without_positions(self) -> SocketIo {
        SocketIo::new(self.namespace(), false)
    }

    /// Appends an event of a name, a JSON string, with one argument, JSON that `write` appends, of `least` bytes at least, and
    /// the position that it leads to.
    pub fn push(
        self,
        out: &mut Vec<u8>,
        name_json: &[u8],
        position: Option<Position>,
        least: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        push_text(out, least, |out| {
            out.extend_from_slice(EVENT);
            self.push_namespace(out);
            out.push(b'[');
            out.extend_from_slice(name_json);
            out.push(b',');
            write(out);
            if let Some(position) = position.filter(|_| self.tells_positions()) {
                out.extend_from_slice(b",\"");
                position.push(out);
                out.push(b'"');
            }
            out.push(b']');
        });
    }

    /// Appends the namespace as packets have it: nothing for the main one.
    pub fn push_namespace(self, out: &mut Vec<u8>) {
        if self.namespace().as_str() != "/" {
            out.extend_from_slice(self.namespace().as_str().as_bytes());
            out.push(b',');
        }
    }
}

impl std::fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let positions = if self.tells_positions() { " with positions" } else { "" };
        write!(f, "SocketIo({}{positions})", self.namespace().as_str())
    }
}

/// Appends a frame that ends with a position, with other positions before that one, each with a comma after it; a frame
/// that ends with an event as it is. Returns where the others begin in `out`.
pub(super) fn push_with_others(out: &mut Vec<u8>, frame: &[u8], others: &[u8]) -> Option<usize> {
    let payload = match frame[1] {
        126 => &frame[4..],
        127 => &frame[10..],
        _ => &frame[2..],
    };
    let Some(before) = payload.strip_suffix(b"\"]") else {
        out.extend_from_slice(frame);
        return None;
    };
    // A position has no quotes in it: it begins after the last one.
    let own = memchr::memrchr(b'"', before).map_or(before.len(), |at| at + 1);
    out.reserve(frame.len() + LONGEST_HEADER + others.len());
    push_text_header(out, payload.len() + others.len());
    out.extend_from_slice(&payload[..own]);
    let told_at = out.len();
    out.extend_from_slice(others);
    out.extend_from_slice(&payload[own..]);
    Some(told_at)
}

#[cfg(test)]
mod tests {
    use super::super::Epoch;
    use super::*;

    fn payload(frame: &[u8]) -> &str {
        let start = if frame[1] == 126 { 4 } else { 2 };
        std::str::from_utf8(&frame[start..]).unwrap()
    }

    #[test]
    fn an_event_is_a_packet_with_its_position() {
        let position = Some(Position { epoch: Epoch(0xa), offset: 3 });
        let namespaces = ["/", "/admin"].map(|name| Namespace::named(name).unwrap());
        for (namespace, tells_positions, expected) in [
            (namespaces[0], true, r#"42["x",{"n":1},"a:3"]"#),
            (namespaces[0], false, r#"42["x",{"n":1}]"#),
            (namespaces[1], true, r#"42/admin,["x",{"n":1},"a:3"]"#),
        ] {
            let mut out = Vec::new();
            let wire = SocketIo::new(namespace, tells_positions);
            wire.push(&mut out, b"\"x\"", position, 0, |out| out.extend_from_slice(b"{\"n\":1}"));
            assert_eq!(payload(&out), expected);
        }
    }

    #[test]
    fn other_positions_are_put_before_its_own() {
        for filling in [1, 100, 200] {
            let data = format!("{{\"n\":\"{}\"}}", "x".repeat(filling));
            let position = Some(Position { epoch: Epoch(0xa), offset: 3 });
            let wire = SocketIo::new(Namespace::main(), true);
            let (mut frame, mut composed) = (Vec::new(), Vec::new());
            wire.push(&mut frame, b"\"x\"", position, 0, |out| out.extend_from_slice(data.as_bytes()));
            push_with_others(&mut composed, &frame, b"b:1,c:2,");
            assert_eq!(payload(&composed), format!("42[\"x\",{data},\"b:1,c:2,a:3\"]"));
        }
    }

    #[test]
    fn frames_of_every_length_say_where_the_other_positions_are() {
        for filling in [1, 90, 96, 97, 98, 99, 110, 120, 65_500, 65_507, 65_510, 65_520, 70_000] {
            let data = format!("\"{}\"", "x".repeat(filling));
            let position = Some(Position { epoch: Epoch(0xa), offset: 3 });
            let wire = SocketIo::new(Namespace::main(), true);
            let (mut frame, mut out, mut expected) = (Vec::new(), b"before".to_vec(), b"before".to_vec());
            wire.push(&mut frame, b"\"x\"", position, 0, |out| out.extend_from_slice(data.as_bytes()));
            let told_at = push_with_others(&mut out, &frame, b"b:1,c:2,").unwrap();
            let text = format!("42[\"x\",{data},\"b:1,c:2,a:3\"]");
            push_text(&mut expected, 0, |out| out.extend_from_slice(text.as_bytes()));
            assert!(out == expected, "{filling}");
            assert!(out[told_at..].starts_with(b"b:1,c:2,a:3"), "{filling}");
        }
    }

    #[test]
    fn a_frame_that_tells_no_position_stays_as_it_is() {
        let wire = SocketIo::new(Namespace::main(), false);
        for filling in [1, 200, 70_000] {
            let (mut frame, mut out) = (Vec::new(), b"before".to_vec());
            wire.push(&mut frame, b"\"x\"", None, 0, |out| out.extend(vec![b'1'; filling]));
            assert_eq!(push_with_others(&mut out, &frame, b"b:1,"), None);
            assert!(out.strip_prefix(b"before") == Some(&frame[..]));
        }
    }
}
