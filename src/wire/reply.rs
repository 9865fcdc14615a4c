//! Messages to clients (`broadcastd.v1`, docs/protocol.md), each appended as its client's wire has it.
//!
//! `room_json` is always a room's name as a JSON string with its quotes, `id` a client's `id` as it was written.

use super::kind::Kind;
use super::wire::{Label, Wire};
use super::{Epoch, MessageError, Position};

/// The subprotocol's name, in the handshake and in `welcome`.
pub const PROTOCOL: &str = "broadcastd.v1";

/// Room for an event's envelope beside the room's name and the event: keys, and three numbers of up to 20 digits.
const ENVELOPE_BYTES: usize = 160;

/// What an event frame says beside the event.
#[derive(Clone, Copy, Debug)]
pub struct EventFrame<'a> {
    /// The room's name as a JSON string.
    pub room_json: &'a [u8],
    /// The life of the room's log.
    pub epoch: Epoch,
    /// Offset in the room; in a batch, of the last event.
    pub offset: u64,
    /// Events left out directly before, by a filter.
    pub skipped: u64,
    /// Whether it comes from the log, to one who catches up.
    pub replay: bool,
}

impl<'a> EventFrame<'a> {
    fn label(self, kind: Kind) -> Label<'a> {
        let position = Some(Position { epoch: self.epoch, offset: self.offset });
        Label { kind, room_json: Some(self.room_json), position, least: 0 }
    }
}

/// Events that cannot be given.
#[derive(Clone, Copy, Debug)]
pub struct Gap<'a> {
    /// The room's name as a JSON string.
    pub room_json: &'a [u8],
    /// The life of the room's log.
    pub epoch: Epoch,
    /// The first of their offsets.
    pub first: u64,
    /// The last of their offsets, to which the reader is taken.
    pub offset: u64,
    /// How many they are; `None` when unknown.
    pub missed: Option<u64>,
    /// Why.
    pub reason: GapReason,
    /// Whether the newest event of every key that they have follows: then the reader is at `offset` with the snapshot's last
    /// page, and not before.
    pub snapshot: bool,
}

/// Why events cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// History no longer has them.
    HistoryExpired,
    /// The room's log began anew.
    EpochChanged,
    /// The client was too slow.
    SlowClient,
    /// The configuration no longer has the room.
    RoomClosed,
}

impl GapReason {
    /// The reason as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            GapReason::HistoryExpired => "history_expired",
            GapReason::EpochChanged => "epoch_changed",
            GapReason::SlowClient => "slow_client",
            GapReason::RoomClosed => "room_closed",
        }
    }
}

/// Codes of `error` messages and of refused rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// Not JSON, or not an object.
    BadMessage,
    /// No such `type`.
    UnknownType,
    /// A field is missing or not what it must be.
    BadField,
    /// `where` does not compile.
    BadWhere,
    /// No room has that name.
    UnknownRoom,
    /// A limit of the client or of the daemon is reached.
    Limit,
    /// Too fast.
    RateLimited,
    /// Known, and not served.
    Unsupported,
    /// Text messages only.
    Binary,
}

impl ErrorCode {
    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadMessage => "bad_message",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::BadField => "bad_field",
            ErrorCode::BadWhere => "bad_where",
            ErrorCode::UnknownRoom => "unknown_room",
            ErrorCode::Limit => "limit",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::Unsupported => "unsupported",
            ErrorCode::Binary => "binary",
        }
    }
}

/// The answer for one room of a `subscribe`.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Subscribed.
    Subscribed {
        /// The room's name as a JSON string.
        room_json: &'a [u8],
        /// The life of its log.
        epoch: Epoch,
        /// Offset of its newest event.
        head: u64,
        /// The subscription's position; none where a snapshot comes first, whose last page tells it.
        offset: Option<u64>,
        /// Whether it goes on where `from.after` said, without a gap.
        resumed: bool,
    },
    /// Refused.
    Refused {
        /// The room's name as a JSON string, or null where it has none.
        room_json: &'a [u8],
        /// Why.
        error: &'a MessageError,
    },
}

/// Appends `welcome`.
pub fn push_welcome(wire: Wire, out: &mut Vec<u8>, client: &str, heartbeat_ms: u64) {
    wire.push(out, plain(Kind::Welcome), |out| {
        push(out, r#"{"type":"welcome","protocol":""#);
        push(out, PROTOCOL);
        push(out, r#"","client":"#);
        push_string(out, client);
        push(out, r#","heartbeat":"#);
        push_number(out, heartbeat_ms);
        push(out, "}");
    });
}

/// Appends `subscribed` for all rooms of one message.
pub fn push_subscribed(wire: Wire, out: &mut Vec<u8>, id: Option<&str>, rooms: &[Answer<'_>]) {
    wire.push(out, plain(Kind::Subscribed), |out| {
        push(out, r#"{"type":"subscribed""#);
        push_id(out, id);
        push(out, r#","rooms":["#);
        for (index, answer) in rooms.iter().enumerate() {
            push(out, if index == 0 { "" } else { "," });
            push_answer(out, answer);
        }
        push(out, "]}");
    });
}

fn push_answer(out: &mut Vec<u8>, answer: &Answer<'_>) {
    match *answer {
        Answer::Subscribed { room_json, epoch, head, offset, resumed } => {
            push(out, r#"{"room":"#);
            out.extend_from_slice(room_json);
            push(out, r#","epoch":"#);
            push_epoch(out, epoch);
            push(out, r#","head":"#);
            push_number(out, head);
            match offset {
                Some(offset) => {
                    push(out, r#","offset":"#);
                    push_number(out, offset);
                }
                None => push(out, r#","snapshot":true"#),
            }
            push(out, if resumed { r#","resumed":true}"# } else { "}" });
        }
        Answer::Refused { room_json, error } => push_refused(out, room_json, error),
    }
}

fn push_refused(out: &mut Vec<u8>, room_json: &[u8], error: &MessageError) {
    push(out, r#"{"room":"#);
    out.extend_from_slice(room_json);
    if let Some(index) = error.index {
        push(out, r#","index":"#);
        push_number(out, index.into());
    }
    push(out, r#","error":{"#);
    push_error_fields(out, error);
    push(out, "}}");
}

/// Appends `unsubscribed`. `rooms_json` are names as JSON strings; `refused` what could not be carried out, each with the
/// room's name, or null where it has none.
pub fn push_unsubscribed(
    wire: Wire,
    out: &mut Vec<u8>,
    id: Option<&str>,
    rooms_json: &[&[u8]],
    refused: &[(&[u8], &MessageError)],
    reason: Option<&str>,
) {
    wire.push(out, plain(Kind::Unsubscribed), |out| {
        push(out, r#"{"type":"unsubscribed""#);
        push_id(out, id);
        push(out, r#","rooms":["#);
        for (index, room_json) in rooms_json.iter().enumerate() {
            push(out, if index == 0 { "" } else { "," });
            out.extend_from_slice(room_json);
        }
        for (index, (room_json, error)) in refused.iter().enumerate() {
            push(out, if index == 0 { r#"],"refused":["# } else { "," });
            push_refused(out, room_json, error);
        }
        push(out, "]");
        if let Some(reason) = reason {
            push(out, r#","reason":"#);
            push_string(out, reason);
        }
        push(out, "}");
    });
}

/// Appends an `event`; of a bare stream, the event alone. Allocates nothing but `out`'s own growth.
pub fn push_event(wire: Wire, out: &mut Vec<u8>, frame: EventFrame<'_>, seq: u64, data: &[u8]) {
    out.reserve(ENVELOPE_BYTES + frame.room_json.len() + data.len());
    if wire.is_bare() {
        return wire.push_bare(out, frame.label(Kind::Event), data);
    }
    wire.push(out, Label { least: data.len(), ..frame.label(Kind::Event) }, |out| {
        push(out, r#"{"type":"event","room":"#);
        out.extend_from_slice(frame.room_json);
        push(out, r#","offset":"#);
        push_number(out, frame.offset);
        push(out, r#","seq":"#);
        push_number(out, seq);
        push_left_out(out, frame);
        push(out, r#","data":"#);
        out.extend_from_slice(data);
        push(out, "}");
    });
}

/// Appends a `batch` of events, each an offset, a number and its JSON, in order. Not for a bare stream, which has no
/// batches.
///
/// `frame.offset` is the last one's offset, or a later one when a filter left out what follows it. `offsets` are
/// written unless the events are the consecutive ones that end at `frame.offset`. Allocates nothing but `out`'s own
/// growth; goes over `events` up to four times.
pub fn push_batch<'e, I>(wire: Wire, out: &mut Vec<u8>, frame: EventFrame<'_>, events: I)
where
    I: Iterator<Item = (u64, u64, &'e [u8])> + Clone,
{
    wire.push(out, frame.label(Kind::Batch), |out| {
        push(out, r#"{"type":"batch","room":"#);
        out.extend_from_slice(frame.room_json);
        push(out, r#","offset":"#);
        push_number(out, frame.offset);
        push(out, r#","seqs":"#);
        push_numbers(out, events.clone().map(|(_, seq, _)| seq));
        if !are_consecutive(frame.offset, events.clone().map(|(offset, _, _)| offset)) {
            push(out, r#","offsets":"#);
            push_numbers(out, events.clone().map(|(offset, _, _)| offset));
        }
        push_left_out(out, frame);
        push(out, r#","data":["#);
        for (index, (_, _, data)) in events.enumerate() {
            push(out, if index == 0 { "" } else { "," });
            out.extend_from_slice(data);
        }
        push(out, "]}");
    });
}

/// Whether the offsets rise one by one and end at `last`.
fn are_consecutive(last: u64, mut offsets: impl Iterator<Item = u64>) -> bool {
    let Some(first) = offsets.next() else { return true };
    let end = offsets.try_fold(first, |before, offset| (offset == before + 1).then_some(offset));
    end == Some(last)
}

/// Appends a `gap`.
pub fn push_gap(wire: Wire, out: &mut Vec<u8>, gap: Gap<'_>) {
    let position = (!gap.snapshot).then_some(Position { epoch: gap.epoch, offset: gap.offset });
    let label = Label { kind: Kind::Gap, room_json: Some(gap.room_json), position, least: 0 };
    wire.push(out, label, |out| {
        push(out, r#"{"type":"gap","room":"#);
        out.extend_from_slice(gap.room_json);
        push(out, r#","first":"#);
        push_number(out, gap.first);
        // An offset beside a room is the reader's position.
        push(out, if gap.snapshot { r#","last":"# } else { r#","offset":"# });
        push_number(out, gap.offset);
        push(out, r#","missed":"#);
        match gap.missed {
            Some(missed) => push_number(out, missed),
            None => push(out, "null"),
        }
        push(out, r#","reason":""#);
        push(out, gap.reason.as_str());
        push(out, r#"""#);
        if gap.reason == GapReason::EpochChanged {
            push(out, r#","epoch":"#);
            push_epoch(out, gap.epoch);
        }
        push(out, if gap.snapshot { r#","snapshot":true}"# } else { "}" });
    });
}

/// Appends a page of a `snapshot`: events' JSON, in order. The last page tells the position that the snapshot leads to.
/// Not for a bare stream, which has only events.
pub fn push_snapshot<'e>(
    wire: Wire,
    out: &mut Vec<u8>,
    room_json: &[u8],
    last: Option<Position>,
    events: impl Iterator<Item = &'e [u8]>,
) {
    let label = Label { kind: Kind::Snapshot, room_json: Some(room_json), position: last, least: 0 };
    wire.push(out, label, |out| {
        push(out, r#"{"type":"snapshot","room":"#);
        out.extend_from_slice(room_json);
        match last {
            Some(position) => {
                push(out, r#","offset":"#);
                push_number(out, position.offset);
            }
            None => push(out, r#","more":true"#),
        }
        push(out, r#","data":["#);
        for (index, data) in events.enumerate() {
            push(out, if index == 0 { "" } else { "," });
            out.extend_from_slice(data);
        }
        push(out, "]}");
    });
}

/// Appends an event of a snapshot to a bare stream, which has no pages: the event alone, without a position.
pub fn push_snapshot_event(wire: Wire, out: &mut Vec<u8>, room_json: &[u8], data: &[u8]) {
    wire.push_bare(
        out,
        Label { kind: Kind::Event, room_json: Some(room_json), position: None, least: 0 },
        data,
    );
}

/// Appends a `position`. Of Server-Sent Events it is an `id` alone.
pub fn push_position(wire: Wire, out: &mut Vec<u8>, room_json: &[u8], position: Position) {
    if let Wire::Sse(_) = wire {
        return wire.push_id(out, position);
    }
    let label =
        Label { kind: Kind::Position, room_json: Some(room_json), position: Some(position), least: 0 };
    wire.push(out, label, |out| {
        push(out, r#"{"type":"position","room":"#);
        out.extend_from_slice(room_json);
        push(out, r#","offset":"#);
        push_number(out, position.offset);
        push(out, "}");
    });
}

/// Appends an `error`.
pub fn push_error(wire: Wire, out: &mut Vec<u8>, error: &MessageError) {
    wire.push(out, plain(Kind::Error), |out| {
        push(out, r#"{"type":"error""#);
        push_id(out, error.id.as_deref());
        if let Some(room) = &error.room {
            push(out, r#","room":"#);
            push_string(out, room);
        }
        push(out, ",");
        push_error_fields(out, error);
        push(out, "}");
    });
}

/// Appends a `pong`.
pub fn push_pong(wire: Wire, out: &mut Vec<u8>, id: Option<&str>) {
    wire.push(out, plain(Kind::Pong), |out| {
        push(out, r#"{"type":"pong""#);
        push_id(out, id);
        push(out, "}");
    });
}

/// Appends `closing`. The close frame that follows carries the same code.
pub fn push_closing(wire: Wire, out: &mut Vec<u8>, code: u16, reason: &str, retry_after_ms: Option<u64>) {
    if let Some(retry_after_ms) = retry_after_ms {
        wire.push_retry(out, retry_after_ms);
    }
    wire.push(out, plain(Kind::Closing), |out| {
        push(out, r#"{"type":"closing","code":"#);
        push_number(out, code.into());
        push(out, r#","reason":"#);
        push_string(out, reason);
        if let Some(retry_after_ms) = retry_after_ms {
            push(out, r#","retry_after":"#);
            push_number(out, retry_after_ms);
        }
        push(out, "}");
    });
}

/// Of what belongs to no room, or to several.
fn plain(kind: Kind) -> Label<'static> {
    Label { kind, room_json: None, position: None, least: 0 }
}

fn push_error_fields(out: &mut Vec<u8>, error: &MessageError) {
    push(out, r#""code":""#);
    push(out, error.code.as_str());
    push(out, r#"","message":"#);
    push_string(out, &error.message);
    if let Some(hint) = &error.hint {
        push(out, r#","hint":"#);
        push_string(out, hint);
    }
    if let Some(retry_after_ms) = error.retry_after_ms {
        push(out, r#","retry_after":"#);
        push_number(out, retry_after_ms);
    }
}

/// What an event or batch says only when it is so.
fn push_left_out(out: &mut Vec<u8>, frame: EventFrame<'_>) {
    if frame.skipped > 0 {
        push(out, r#","skipped":"#);
        push_number(out, frame.skipped);
    }
    if frame.replay {
        push(out, r#","replay":true"#);
    }
}

fn push_id(out: &mut Vec<u8>, id: Option<&str>) {
    if let Some(id) = id {
        push(out, r#","id":"#);
        push(out, id);
    }
}

fn push_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    push_string(out, &epoch.to_string());
}

fn push_numbers(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>) {
    push(out, "[");
    for (index, number) in numbers.enumerate() {
        push(out, if index == 0 { "" } else { "," });
        push_number(out, number);
    }
    push(out, "]");
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    push(out, itoa::Buffer::new().format(number));
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes every write, and a str is always a JSON string");
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
