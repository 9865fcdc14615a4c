//! Rooms: named logs of events, what waits before them, their keys, and the registry that holds them.
//!
//! Knows nothing of sockets. A shard registers with a room under the room's lock and is told that it has grown; ingest
//! publishes through a [`Publisher`].

mod bell;
mod body;
mod buffer;
mod clock;
mod epochs;
mod figures;
#[cfg(test)]
mod fixture;
mod flushes;
mod generation;
mod kept;
mod keys;
mod log;
mod publisher;
mod reconfigure;
mod remembered;
// The module's main type has its name.
#[allow(clippy::module_inception)]
mod room;
mod rooms;
mod seats;
mod staged;
mod start;
mod state;
mod totals;

pub use bell::Bell;
pub use figures::{RoomFigures, Tally};
pub use generation::Generation;
pub use kept::{Kept, NotKept};
pub use keys::KeysRead;
pub use log::ReadLimit;
pub use publisher::Publisher;
pub use room::{Room, Tail};
pub use rooms::Rooms;
pub use start::Start;
pub use totals::Totals;
