//! Rooms: named logs of events, what waits before them, and the registry that holds them.
//!
//! Knows nothing of sockets. A shard registers with a room under the room's lock and is told that it has grown; ingest
//! publishes through a [`Publisher`].

mod publisher;
mod rooms;

pub use publisher::Publisher;
pub use rooms::Rooms;
