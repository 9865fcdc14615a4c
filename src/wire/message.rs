//! Messages from clients (`broadcastd.v1`, docs/protocol.md).

use super::{ErrorCode, Position};
use crate::pattern::Condition;

/// A message from a client.
#[derive(Debug, PartialEq)]
pub enum ClientMessage {
    /// Subscribe, or subscribe anew.
    Subscribe {
        /// The client's number for the exchange, a JSON number or string, as written.
        id: Option<Box<str>>,
        /// Rooms, in order.
        rooms: Vec<Result<SubscribeRoom, MessageError>>,
    },
    /// Unsubscribe.
    Unsubscribe {
        /// The client's number for the exchange, as written.
        id: Option<Box<str>>,
        /// Names of rooms.
        rooms: Vec<String>,
    },
    /// Answered with a pong.
    Ping {
        /// The client's number for the exchange, as written.
        id: Option<Box<str>>,
    },
}

/// One room of a `subscribe`.
#[derive(Debug, PartialEq)]
pub struct SubscribeRoom {
    /// The room's name.
    pub room: String,
    /// Where to begin.
    pub from: From,
    /// What to leave out.
    pub condition: Option<Condition>,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the next event.
    Now,
    /// With the oldest that history has.
    Start,
    /// After a position: `"EPOCH:OFFSET"`.
    After(Position),
    /// With the newest N.
    Last(u64),
    /// With what was accepted since then, in milliseconds since the Unix epoch.
    SinceMs(u64),
    /// With what was accepted in the last so many milliseconds (`"-5m"`).
    Ago(u64),
}

/// Why a message, or one room of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// The message's `id`, where it could be read; for one room, its message's.
    pub id: Option<Box<str>>,
    /// The room it is about, where it is about one.
    pub room: Option<String>,
    /// Closed set.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// Reads a text message.
pub fn parse_message(_text: &str) -> Result<ClientMessage, Box<MessageError>> {
    todo!()
}
