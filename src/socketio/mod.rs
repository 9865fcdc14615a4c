//! What clients of Socket.IO say and are told, over whatever carries it.
//!
//! Pure: text and bytes in, packets out, and the other way round. Knows no sockets, no clock, and nothing of what an event
//! means. Packets are those of the Socket.IO protocol, revision 5.

mod packet;
#[cfg(test)]
mod packet_tests;
mod sockets;
#[cfg(test)]
mod sockets_tests;

pub use packet::{
    Fault, MOST_ATTACHMENTS, MOST_DEPTH, Packet, parse, push_ack, push_connect, push_connect_error,
    push_disconnect, push_event,
};
pub use sockets::{Emitted, Happened, MOST_NAMESPACES, Sockets};
