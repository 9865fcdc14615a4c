//! The way in for clients: HTTP, the WebSocket handshake and its refusals (RFC 6455 §4.2).
//!
//! A [`Front`] accepts connections, answers their requests, and hands the socket of a `GET /ws` or `GET /sse` that
//! passes every check to whom the daemon names (a shard). Engine.IO, which Socket.IO goes over, has a folder of its own
//! (`socketio`). Everything else goes to a function that makes pages. Nothing of a connection is left here once it is
//! handed over.
//!
//! Knows nothing of rooms or messages, and serves a second request on a connection to those alone who poll: a handshake
//! under way is the dearest state that a stranger can hold open, so each ends within `server.handshake_timeout`, and
//! there are never more than `server.handshakes` of them. An answer that is made piece by piece has that time for each
//! piece. A request that waits in a session is no handshake, since the session has its place among the clients.

mod address;
mod control;
mod front;
mod query;
mod refusal;
mod request;
mod socketio;
mod state;
mod stream;
mod tail;
mod under_way;

#[cfg(test)]
mod tests;

pub use control::{Control, NewListener, Planned};
pub use front::{Arrival, Front};
pub use state::{FrontConfig, FrontState};
pub use stream::Names;
