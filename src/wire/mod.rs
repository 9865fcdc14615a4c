//! What goes over a client's socket: the messages of `broadcastd.v1`, as WebSocket frames both ways, as Server-Sent Events
//! or lines to clients that only listen.
//!
//! Pure: bytes in, bytes out. Knows no sockets, rooms or clients.

mod date;
mod every;
pub mod frame;
mod from;
mod header;
mod kind;
mod message;
mod position;
mod reader;
#[cfg(test)]
mod reader_tests;
mod reply;
mod socketio;
mod transfer;
mod vocabulary;
// The module's main type has its name.
#[allow(clippy::module_inception)]
mod wire;

pub(crate) use date::parse_date_time;
pub use from::parse_query_from;
pub use message::{
    ClientMessage, From, MessageError, QueryFields, SubscribeRoom, parse_message, parse_query_room,
};
pub use position::{Epoch, Position};
pub use reader::{FrameReader, Incoming, Partial, ReadError};
pub use reply::{
    Answer, ErrorCode, EventFrame, Gap, GapReason, PROTOCOL, push_batch, push_closing, push_error,
    push_event, push_gap, push_pong, push_position, push_snapshot, push_snapshot_event, push_subscribed,
    push_unsubscribed, push_welcome,
};
pub use socketio::SocketIo;
pub use transfer::Transfer;
pub use vocabulary::{JoinRooms, parse_join, parse_leave};
pub use wire::{ID, Naming, Sse, Transport, Wire, without_id};
