//! What Socket.IO clients speak, bytes in and bytes out: packets of Engine.IO (protocol revision 4) and their payloads over
//! HTTP.
//!
//! Pure: knows no sockets, sessions or rooms, and no time but the one that it is told.

mod engine;
mod payload;

pub use engine::{Beat, EngineOptions, Fault, Heartbeat, Received, parse_text, push_open};
pub use payload::{Packet, Payload, packets};
