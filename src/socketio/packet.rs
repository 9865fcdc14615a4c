//! Packets of Socket.IO, revision 5 of its protocol, as they stand in messages of Engine.IO:
//! `TYPE[ATTACHMENTS-][NAMESPACE,][ACK][JSON]`.
//!
//! Strict where the official server closes the connection, and in a few places where it guesses: a number has digits only,
//! nothing stands between a number and its JSON, and what has no acknowledgement has no number.

use serde_json::value::RawValue;

/// Attachments of one packet: what the official server takes unless it is told otherwise.
pub const MOST_ATTACHMENTS: u32 = 10;
/// How deep a payload may be nested. More than people write, and few enough for readers that recurse.
pub const MOST_DEPTH: usize = 128;
/// Characters of a client's own words in a fault.
const QUOTED: usize = 40;

/// The first character of a message of Engine.IO.
const MESSAGE: u8 = b'4';
const CONNECT: u8 = b'0';
const DISCONNECT: u8 = b'1';
const EVENT: u8 = b'2';
const ACK: u8 = b'3';
const CONNECT_ERROR: u8 = b'4';
const BINARY_EVENT: u8 = b'5';
const BINARY_ACK: u8 = b'6';

/// What a client says in one message. Namespaces begin with a slash and have no comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// It wants to be in a namespace.
    Connect {
        /// Where.
        namespace: &'a str,
        /// What it shows for it: the text of a JSON object.
        auth: Option<&'a str>,
    },
    /// It leaves a namespace.
    Disconnect {
        /// Which one.
        namespace: &'a str,
    },
    /// It emits an event.
    Event {
        /// Where.
        namespace: &'a str,
        /// The number under which it waits for an answer.
        ack: Option<u64>,
        /// The text of a JSON array whose first element is a string, the event's name.
        data: &'a str,
        /// How many messages with bytes follow; their places in `data` are objects such as
        /// `{"_placeholder":true,"num":0}`, which are not looked at.
        attachments: u32,
    },
    /// It answers an event.
    Ack {
        /// Where.
        namespace: &'a str,
        /// The number that the event had.
        ack: u64,
        /// The text of a JSON array.
        data: &'a str,
        /// As an event's.
        attachments: u32,
    },
}

/// Why what a client sent is no packet, or none that it may send now. Its connection ends with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing in it.
    #[error("a packet without a type")]
    Empty,
    /// No such type.
    #[error("no type of packet is `{0}`")]
    UnknownType(char),
    /// What servers send.
    #[error("a client sends no CONNECT_ERROR")]
    ConnectError,
    /// A binary packet that does not say how many attachments it has.
    #[error("a binary packet begins with the number of its attachments, from 1, and `-`")]
    Attachments,
    /// More attachments than are taken.
    #[error("a packet has {MOST_ATTACHMENTS} attachments at most")]
    TooManyAttachments,
    /// An answer that does not say to what.
    #[error("an ACK has the number of its event")]
    AckMissing,
    /// A number that none has given.
    #[error("the number of an acknowledgement is beyond 64 bits")]
    AckTooLarge,
    /// What follows is of another kind.
    #[error("the payload of {packet} is {expected}, not `{found}`")]
    Payload {
        /// The packet's type.
        packet: &'static str,
        /// What it ought to be.
        expected: &'static str,
        /// How it begins.
        found: String,
    },
    /// The payload cannot be read.
    #[error("the payload is not JSON: {0}")]
    Json(String),
    /// The payload is nested too deep.
    #[error("the payload is nested more than {MOST_DEPTH} deep")]
    TooDeep,
    /// A packet for a namespace that the client is not in.
    #[error("a packet for the namespace `{0}`, which the client is not connected to")]
    NotConnected(String),
    /// More namespaces than anybody configures.
    #[error("a client is in {max} namespaces at most", max = super::MOST_NAMESPACES)]
    TooManyNamespaces,
    /// Another packet in the middle of one.
    #[error("text came where {0} more attachments were due")]
    AttachmentsDue(usize),
    /// Bytes that belong to nothing.
    #[error("bytes came that no packet announced")]
    NoPacket,
    /// A packet and its attachments together.
    #[error("a packet with its attachments is longer than {0} bytes")]
    TooLarge(usize),
}

/// Reads the text of a message, without the `4` of Engine.IO. Allocates only for a fault.
pub fn parse(text: &str) -> Result<Packet<'_>, Fault> {
    let first = text.chars().next().ok_or(Fault::Empty)?;
    let kind = u8::try_from(first).map_err(|_| Fault::UnknownType(first))?;
    let rest = &text[first.len_utf8()..];
    let (attachments, rest) = match kind {
        BINARY_EVENT | BINARY_ACK => split_attachments(rest)?,
        _ => (0, rest),
    };
    let (namespace, rest) = split_namespace(rest);
    match kind {
        CONNECT => {
            let auth =
                if rest.is_empty() { None } else { Some(json("CONNECT", "a JSON object", '{', rest)?) };
            Ok(Packet::Connect { namespace, auth })
        }
        DISCONNECT if rest.is_empty() => Ok(Packet::Disconnect { namespace }),
        DISCONNECT => Err(payload("DISCONNECT", "nothing", rest)),
        EVENT | BINARY_EVENT => {
            let (ack, rest) = split_ack(rest)?;
            let expected = "a JSON array that begins with the event's name";
            let data = json("EVENT", expected, '[', rest)?;
            if !data[1..].trim_start_matches(is_space).starts_with('"') {
                return Err(payload("EVENT", expected, data));
            }
            Ok(Packet::Event { namespace, ack, data, attachments })
        }
        ACK | BINARY_ACK => {
            let (ack, rest) = split_ack(rest)?;
            let ack = ack.ok_or(Fault::AckMissing)?;
            let data = json("ACK", "a JSON array", '[', rest)?;
            Ok(Packet::Ack { namespace, ack, data, attachments })
        }
        CONNECT_ERROR => Err(Fault::ConnectError),
        _ => Err(Fault::UnknownType(first)),
    }
}

/// `2-…` is 2 and what follows.
fn split_attachments(text: &str) -> Result<(u32, &str), Fault> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix('-').ok_or(Fault::Attachments)?;
    if digits.is_empty() {
        return Err(Fault::Attachments);
    }
    match digits.parse() {
        Ok(0) => Err(Fault::Attachments),
        Ok(attachments @ 1..=MOST_ATTACHMENTS) => Ok((attachments, rest)),
        _ => Err(Fault::TooManyAttachments),
    }
}

/// `/admin,…` is `/admin` and what follows its comma; without a comma it is all namespace.
fn split_namespace(text: &str) -> (&str, &str) {
    if text.starts_with('/') { text.split_once(',').unwrap_or((text, "")) } else { ("/", text) }
}

fn split_ack(text: &str) -> Result<(Option<u64>, &str), Fault> {
    let (digits, rest) = split_digits(text);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    digits.parse().map(|ack| (Some(ack), rest)).map_err(|_| Fault::AckTooLarge)
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A payload as it was written, without space after it.
fn json<'a>(
    packet: &'static str,
    expected: &'static str,
    begins: char,
    text: &'a str,
) -> Result<&'a str, Fault> {
    if !text.starts_with(begins) {
        return Err(payload(packet, expected, text));
    }
    // A raw value is checked and not taken apart: numbers of any size and halves of surrogate pairs, which JavaScript
    // writes, pass as they are.
    let checked: &RawValue = serde_json::from_str(text).map_err(|error| Fault::Json(error.to_string()))?;
    if depth(checked.get()) > MOST_DEPTH { Err(Fault::TooDeep) } else { Ok(checked.get()) }
}

fn payload(packet: &'static str, expected: &'static str, found: &str) -> Fault {
    Fault::Payload { packet, expected, found: quoted(found) }
}

/// A client's words, short enough for a log.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What JSON takes for space.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// How deep valid JSON is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Appends that the client is in a namespace, under `sid`. Where its connection can be recovered, `pid` is what it will
/// say when it comes back.
pub fn push_connect(out: &mut Vec<u8>, namespace: &str, sid: &str, pid: Option<&str>) {
    push_head(out, CONNECT, 0, namespace);
    out.extend_from_slice(b"{\"sid\":");
    push_string(out, sid);
    if let Some(pid) = pid {
        out.extend_from_slice(b",\"pid\":");
        push_string(out, pid);
    }
    out.push(b'}');
}

/// Appends that the client is not let into a namespace, and why.
pub fn push_connect_error(out: &mut Vec<u8>, namespace: &str, message: &str) {
    push_head(out, CONNECT_ERROR, 0, namespace);
    out.extend_from_slice(b"{\"message\":");
    push_string(out, message);
    out.push(b'}');
}

/// Appends that the client is in a namespace no longer.
pub fn push_disconnect(out: &mut Vec<u8>, namespace: &str) {
    push_head(out, DISCONNECT, 0, namespace);
}

/// Appends an event; `data` appends the JSON array that begins with its name. Whoever announces attachments sends that
/// many messages with bytes right after it.
pub fn push_event(
    out: &mut Vec<u8>,
    namespace: &str,
    ack: Option<u64>,
    attachments: u32,
    data: impl FnOnce(&mut Vec<u8>),
) {
    push_head(out, if attachments > 0 { BINARY_EVENT } else { EVENT }, attachments, namespace);
    if let Some(ack) = ack {
        push_number(out, ack);
    }
    data(out);
}

/// Appends the answer to the event that had this number; `data` appends a JSON array. Attachments as with an event.
pub fn push_ack(
    out: &mut Vec<u8>,
    namespace: &str,
    ack: u64,
    attachments: u32,
    data: impl FnOnce(&mut Vec<u8>),
) {
    push_head(out, if attachments > 0 { BINARY_ACK } else { ACK }, attachments, namespace);
    push_number(out, ack);
    data(out);
}

fn push_head(out: &mut Vec<u8>, kind: u8, attachments: u32, namespace: &str) {
    debug_assert!(!namespace.contains(','), "a comma would end it");
    out.extend_from_slice(&[MESSAGE, kind]);
    if attachments > 0 {
        push_number(out, attachments.into());
        out.push(b'-');
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can be written to memory");
}
