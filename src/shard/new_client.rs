//! A connection on its way from the handshake to a shard.

use crate::limits::ClientPermit;
use crate::wire::{Position, SubscribeRoom, Wire};
use std::net::IpAddr;

/// A connection whose handshake is done.
pub struct NewClient {
    /// The socket, non-blocking and out of tokio's hands.
    pub socket: ClientSocket,
    /// How it is written to. What a client sends is read on a WebSocket only.
    pub wire: Wire,
    /// What must be sent before anything else: the head of the answer to its request, where that was not sent yet.
    pub head: Vec<u8>,
    /// What the client sent after its request, already read; usually empty.
    pub early: Vec<u8>,
    /// Rooms named in the request (`/ws?room=a&room=b`), to be subscribed at once.
    pub rooms: Vec<SubscribeRoom>,
    /// Where its last stream was, a position for each of the rooms that it had, in any order. Rooms that it did not have
    /// begin where [`rooms`](Self::rooms) says.
    pub positions: Vec<Position>,
    /// Its place among `limits.clients`; given back when dropped.
    pub permit: ClientPermit,
    /// The client's address behind a trusted proxy; none when the socket's own address is the client's.
    pub forwarded: Option<IpAddr>,
}

/// A client's socket.
#[derive(Debug)]
pub enum ClientSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}
