//! Engine.IO (protocol revision 4), which Socket.IO goes over: sessions by polling and over WebSocket, and the way from
//! the one to the other.
//!
//! To a shard every session is a client with a socket. Over WebSocket that is the client's own. A session by polling
//! has a pair of sockets of the daemon's own: the shard has one end, and the requests of the session read and write the
//! other. So what holds for a WebSocket (its heartbeat, what a slow client costs, what its limits are) holds here by
//! the same code, and the front keeps no messages.

mod answer;
mod frames;
mod probe;
mod repeat;
mod request;
mod session;
mod sessions;

#[cfg(test)]
mod tests;

pub(super) use answer::{answer, is_asked};
pub(super) use probe::probe;
pub(super) use session::Turn as ProbeTurn;
pub(super) use sessions::Sessions;
