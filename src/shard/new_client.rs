//! A connection on its way from the handshake to a shard.

use crate::limits::ClientPermit;
use crate::wire::{Position, SubscribeRoom, Wire};
use std::net::IpAddr;
use std::time::{Duration, Instant};

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
    /// Of a client that speaks Socket.IO.
    pub socketio: Option<Box<NewSocketIo>>,
}

/// What a client of Socket.IO was told when its session was opened.
pub struct NewSocketIo {
    /// The session's id.
    pub sid: Box<str>,
    /// When it was opened. Pings are counted from then on.
    pub opened: Instant,
    /// `ping_interval` as it was told.
    pub ping_interval: Duration,
    /// `ping_timeout` as it was told.
    pub ping_timeout: Duration,
    /// Dropped when the client is gone, or has another socket.
    pub session: Option<Box<dyn Send>>,
}

/// A client of Socket.IO that was served by polling, over a socket of the daemon's own, and now has one itself
/// (the upgrade of Engine.IO).
pub struct Upgraded {
    /// The session's id.
    pub sid: Box<str>,
    /// Its own socket, non-blocking and out of tokio's hands, with nothing to be sent on it but what follows.
    pub socket: ClientSocket,
    /// What it has sent on it, already read; usually empty.
    pub early: Vec<u8>,
    /// What was read of the shard's bytes and not given to the client; it goes before what is left in `polled`.
    pub unsent: Vec<u8>,
    /// The other end of the socket that the shard has had for it, non-blocking.
    pub polled: std::os::unix::net::UnixStream,
}

/// A client's socket.
#[derive(Debug)]
pub enum ClientSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}
