//! What goes over a client's socket: WebSocket frames and the messages of `broadcastd.v1`, both ways.
//!
//! Pure: bytes in, bytes out. Knows no sockets, rooms or clients.

pub mod frame;
mod from;
mod header;
mod message;
mod position;
mod reader;
#[cfg(test)]
mod reader_tests;
mod reply;

pub use message::{ClientMessage, From, MessageError, SubscribeRoom, parse_message};
pub use position::{Epoch, Position};
pub use reader::{FrameReader, Incoming, Partial, ReadError};
pub use reply::{
    Answer, ErrorCode, EventFrame, GapReason, PROTOCOL, push_batch, push_closing, push_error, push_event,
    push_gap, push_pong, push_position, push_subscribed, push_unsubscribed, push_welcome,
};
