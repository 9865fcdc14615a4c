//! How messages are put into a client's stream: WebSocket frames, Server-Sent Events, lines, or packets of Socket.IO.

use super::Position;
use super::frame::push_text;
use super::kind::Kind;
use super::socketio::{SocketIo, push_with_others};
use super::transfer::Transfer;
use crate::config::Namespace;

/// What a client's stream is made of. A view's bytes are encoded once for all clients of one wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Text frames (RFC 6455).
    #[default]
    WebSocket,
    /// Server-Sent Events (HTML standard, section 9.2): a block for each message, with its position as `id`.
    Sse(Sse),
    /// A line for each message (NDJSON).
    Lines {
        /// Events alone, without the protocol around them.
        bare: bool,
        /// Framing in the HTTP answer.
        transfer: Transfer,
    },
    /// Packets of Socket.IO in text frames.
    SocketIo(SocketIo),
}

/// What operators call the ways in which clients are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket.
    WebSocket,
    /// Server-Sent Events.
    Sse,
    /// Lines of JSON.
    Lines,
    /// Socket.IO over WebSocket.
    SocketIo,
    /// Socket.IO over HTTP long polling.
    Polling,
}

impl Transport {
    /// All of them, in their order.
    pub const ALL: [Transport; 5] =
        [Transport::WebSocket, Transport::Sse, Transport::Lines, Transport::SocketIo, Transport::Polling];

    /// The word that figures and the API have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::Sse => "sse",
            Transport::Lines => "lines",
            Transport::SocketIo => "socketio",
            Transport::Polling => "polling",
        }
    }
}

/// Choices of a client of Server-Sent Events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sse {
    /// Events alone, without the protocol around them; what else there is to say has a name of its own.
    pub bare: bool,
    /// What `event:` says.
    pub naming: Naming,
    /// Framing in the HTTP answer.
    pub transfer: Transfer,
}

/// What the `event` field of Server-Sent Events says; a browser gives what has none to `onmessage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Nothing.
    #[default]
    None,
    /// The message's `type`.
    Type,
    /// The room's name, of what belongs to a room.
    Room,
}

/// What is known of a message beside its text.
#[derive(Clone, Copy)]
pub(super) struct Label<'a> {
    /// Its `type`.
    pub(super) kind: Kind,
    /// The room it belongs to, as a JSON string.
    pub(super) room_json: Option<&'a [u8]>,
    /// Where it takes its reader.
    pub(super) position: Option<Position>,
    /// Bytes that its text has at least.
    pub(super) least: usize,
}

/// With what a block begins that takes its reader to a position. In a stream of several rooms the positions of the others
/// come between this and the room's own.
pub const ID: &[u8] = b"id: ";

impl Wire {
    /// What operators call it. A Socket.IO client that is served by polling has the same wire.
    pub fn transport(self) -> Transport {
        match self {
            Wire::WebSocket => Transport::WebSocket,
            Wire::Sse(_) => Transport::Sse,
            Wire::Lines { .. } => Transport::Lines,
            Wire::SocketIo(_) => Transport::SocketIo,
        }
    }

    /// Whether its clients speak as well, and are closed with a close frame.
    pub fn is_two_way(self) -> bool {
        matches!(self, Wire::WebSocket | Wire::SocketIo(_))
    }

    /// Framing of its bytes in an HTTP answer.
    ///
    /// Messages are appended without it. It is added around as many as are sent as a whole.
    pub fn transfer(self) -> Transfer {
        match self {
            Wire::Sse(Sse { transfer, .. }) | Wire::Lines { transfer, .. } => transfer,
            Wire::WebSocket | Wire::SocketIo(_) => Transfer::Plain,
        }
    }

    /// The namespace in which it is written to; none where there are none.
    pub fn namespace(self) -> Option<Namespace> {
        match self {
            Wire::SocketIo(socketio) => Some(socketio.namespace()),
            _ => None,
        }
    }

    /// Whether events go without the protocol around them.
    pub fn is_bare(self) -> bool {
        matches!(self, Wire::Sse(Sse { bare: true, .. }) | Wire::Lines { bare: true, .. })
    }

    /// Whether several events may be one message of the protocol.
    pub fn has_batches(self) -> bool {
        !self.is_bare() && !matches!(self, Wire::SocketIo(_))
    }

    /// What a frame adds to an event at most, beside the room's name: keys, three numbers, a header.
    pub fn overhead(self) -> usize {
        match self {
            Wire::WebSocket | Wire::Lines { .. } | Wire::SocketIo(_) => 128,
            // A position, names of fields, line breaks.
            Wire::Sse(_) => 192,
        }
    }

    /// Whether positions are an `id`, of all rooms of its stream together.
    pub fn has_ids(self) -> bool {
        matches!(self, Wire::Sse(_))
    }

    /// The same for what is said beside events, where those have positions that are all a client remembers.
    #[must_use]
    pub fn without_positions(self) -> Wire {
        match self {
            Wire::SocketIo(socketio) => Wire::SocketIo(socketio.without_positions()),
            other => other,
        }
    }

    /// Whether each frame of a room tells the positions of all rooms of its stream.
    pub fn tells_all_positions(self) -> bool {
        match self {
            Wire::Sse(_) => true,
            Wire::SocketIo(socketio) => socketio.tells_positions(),
            Wire::WebSocket | Wire::Lines { .. } => false,
        }
    }

    /// Appends a message whose JSON `write` appends. The JSON is one line, but for an event as its producer wrote it.
    pub(super) fn push(self, out: &mut Vec<u8>, label: Label<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Wire::WebSocket => push_text(out, label.least, write),
            Wire::SocketIo(socketio) => {
                let Some(own) = label.kind.own_event() else { return };
                let name = [b"\"", own.name(), b"\""].concat();
                socketio.push(out, &name, label.position, label.least, write);
            }
            Wire::Sse(sse) => sse.push(out, label, write),
            Wire::Lines { bare: false, .. } => push_line(out, write),
            Wire::Lines { bare: true, .. } if label.kind.is_said_in_lines() => push_line(out, |out| {
                // Like the control lines of producers; an event that has such a field is not given bare.
                push_named(out, label.kind, write);
            }),
            Wire::Lines { bare: true, .. } => {}
        }
    }

    /// Appends an event alone. Only of a bare stream.
    pub(super) fn push_bare(self, out: &mut Vec<u8>, label: Label<'_>, data: &[u8]) {
        match self {
            Wire::Sse(sse) => {
                let named = if sse.naming == Naming::Room { Naming::Room } else { Naming::None };
                Sse { bare: false, naming: named, ..sse }.push(out, label, |out| out.extend_from_slice(data));
            }
            Wire::WebSocket | Wire::Lines { .. } | Wire::SocketIo(_) => push_line(out, |out| {
                if Kind::is_mistaken_for_a_line(data) {
                    push_named(out, Kind::Event, |out| out.extend_from_slice(data));
                } else {
                    out.extend_from_slice(data);
                }
            }),
        }
    }

    /// Appends a frame that leads somewhere, with positions of other rooms before its own, each with a comma after it. Only
    /// of a wire that tells them. Returns where the others begin in `out`; none if the frame tells no position.
    pub fn push_with_others(self, out: &mut Vec<u8>, frame: &[u8], others: &[u8]) -> Option<usize> {
        if let Wire::SocketIo(_) = self {
            return push_with_others(out, frame, others);
        }
        // A frame that leads somewhere begins so.
        out.reserve(frame.len() + others.len());
        out.extend_from_slice(ID);
        let told_at = out.len();
        out.extend_from_slice(others);
        out.extend_from_slice(&frame[ID.len()..]);
        Some(told_at)
    }

    /// Appends a block that moves its reader and gives it nothing.
    pub fn push_id(self, out: &mut Vec<u8>, position: Position) {
        if let Wire::Sse(_) = self {
            push_position(out, position);
            out.push(b'\n');
        }
    }

    /// Appends what keeps a stream open on which nothing else is sent. WebSockets have pings for that.
    pub fn push_heartbeat(self, out: &mut Vec<u8>) {
        match self {
            Wire::WebSocket | Wire::SocketIo(_) => {}
            Wire::Sse(_) => out.extend_from_slice(b":\n\n"),
            Wire::Lines { .. } => out.push(b'\n'),
        }
    }

    /// Appends how long a client that has lost its connection should wait before it comes back.
    pub fn push_retry(self, out: &mut Vec<u8>, retry_after_ms: u64) {
        if let Wire::Sse(_) = self {
            out.extend_from_slice(format!("retry: {retry_after_ms}\n\n").as_bytes());
        }
    }
}

impl Sse {
    fn push(self, out: &mut Vec<u8>, label: Label<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(position) = label.position {
            push_position(out, position);
        }
        match (self.naming, label.room_json) {
            // What is no event must not be taken for one.
            _ if self.bare => push_name(out, label.kind.as_str()),
            (Naming::None, _) | (Naming::Room, None) => {}
            (Naming::Type, _) => push_name(out, label.kind.as_str()),
            (Naming::Room, Some(json)) => {
                let name = name_of(json);
                push_name(out, if Kind::is_reserved_in_sse(&name) { Kind::Event.as_str() } else { &name });
            }
        }
        out.extend_from_slice(b"data: ");
        push_line(out, write);
        out.push(b'\n');
    }
}

/// A block without the position that it begins with, if it does.
pub fn without_id(block: &[u8]) -> &[u8] {
    let end = if block.starts_with(ID) { memchr::memchr(b'\n', block).map(|at| at + 1) } else { None };
    &block[end.unwrap_or(0)..]
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
}

fn push_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(ID);
    position.push(out);
    out.push(b'\n');
}

/// A room's name has no line break in it: configurations and templates see to that.
fn name_of(room_json: &[u8]) -> String {
    serde_json::from_slice(room_json).expect("a room's name is given as a JSON string")
}

/// Appends one line. Line breaks that an event has between its tokens become spaces: a reader of lines, and one of
/// Server-Sent Events, would take them for ends.
fn push_line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let mut from = start;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &out[from..]) {
        from += at;
        out[from] = b' ';
    }
    out.push(b'\n');
}

/// Appends what has a name of the daemon's in a bare stream of lines: `{"$gap":{…}}`.
fn push_named(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"$");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\":");
    write(out);
    out.push(b'}');
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
