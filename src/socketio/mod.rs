//! What clients of Socket.IO say and are told, over whatever carries it: packets of Engine.IO (protocol revision 4), and in
//! their messages those of Socket.IO (protocol revision 5).
//!
//! Pure: text and bytes in, packets out, and the other way round. Knows no sockets, sessions or rooms, no time but the one that
//! it is told, and nothing of what an event means.

mod engine;
mod id;
mod packet;
#[cfg(test)]
mod packet_tests;
mod payload;
mod sockets;
#[cfg(test)]
mod sockets_tests;

pub use engine::{Beat, EngineOptions, Fault as EngineFault, Heartbeat, Received, parse_text, push_open};
pub use id::random_id;
pub use packet::{
    Fault, MOST_ATTACHMENTS, MOST_DEPTH, Packet, parse, push_ack, push_connect, push_connect_error,
    push_disconnect, push_event,
};
pub use payload::{EnginePacket, Payload, packets};
pub use sockets::{Emitted, Happened, MOST_NAMESPACES, Sockets};
