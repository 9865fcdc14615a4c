//! Messages to clients (`broadcastd.v1`, docs/protocol.md), each appended as one text frame.
//!
//! `room_json` is always a room's name as a JSON string with its quotes, `id` a client's `id` as it was written.

use super::{Epoch, MessageError};

/// What an event frame says beside the event.
#[derive(Clone, Copy, Debug)]
pub struct EventFrame<'a> {
    /// The room's name as a JSON string.
    pub room_json: &'a [u8],
    /// Offset in the room; in a batch, of the last event.
    pub offset: u64,
    /// Events left out directly before, by a filter.
    pub skipped: u64,
    /// Whether it comes from the log, to one who catches up.
    pub replay: bool,
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
    /// A limit.
    Limit,
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
        /// The subscription's position.
        offset: u64,
        /// Whether it goes on where `from.after` said, without a gap.
        resumed: bool,
    },
    /// Refused.
    Refused {
        /// The room's name as a JSON string.
        room_json: &'a [u8],
        /// Why.
        error: &'a MessageError,
    },
}

/// Appends `welcome`.
pub fn push_welcome(_out: &mut Vec<u8>, _client: &str, _heartbeat_ms: u64) {
    todo!()
}

/// Appends `subscribed` for all rooms of one message.
pub fn push_subscribed(_out: &mut Vec<u8>, _id: Option<&str>, _rooms: &[Answer<'_>]) {
    todo!()
}

/// Appends `unsubscribed`. `rooms_json` are names as JSON strings.
pub fn push_unsubscribed(
    _out: &mut Vec<u8>,
    _id: Option<&str>,
    _rooms_json: &[&[u8]],
    _reason: Option<&str>,
) {
    todo!()
}

/// Appends an `event`.
pub fn push_event(_out: &mut Vec<u8>, _frame: EventFrame<'_>, _seq: u64, _data: &[u8]) {
    todo!()
}

/// Appends a `batch` of events, each an offset, a number and its JSON. `offsets` are written when not consecutive.
pub fn push_batch<'e, I>(_out: &mut Vec<u8>, _frame: EventFrame<'_>, _events: I)
where
    I: Iterator<Item = (u64, u64, &'e [u8])> + Clone,
{
    todo!()
}

/// Appends a `gap` from offset `first` to `offset`; `missed` is `None` when unknown, `epoch` given when it changed.
pub fn push_gap(
    _out: &mut Vec<u8>,
    _room_json: &[u8],
    _first: u64,
    _offset: u64,
    _missed: Option<u64>,
    _reason: GapReason,
    _epoch: Option<Epoch>,
) {
    todo!()
}

/// Appends a `position`.
pub fn push_position(_out: &mut Vec<u8>, _room_json: &[u8], _offset: u64) {
    todo!()
}

/// Appends an `error`.
pub fn push_error(_out: &mut Vec<u8>, _error: &MessageError) {
    todo!()
}

/// Appends a `pong`.
pub fn push_pong(_out: &mut Vec<u8>, _id: Option<&str>) {
    todo!()
}

/// Appends `closing`.
pub fn push_closing(_out: &mut Vec<u8>, _code: u16, _reason: &str, _retry_after_ms: Option<u64>) {
    todo!()
}
