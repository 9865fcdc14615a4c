//! Views: what of a room is encoded once for a shard's live subscriptions, and the bytes that are kept for those a
//! little behind.
//!
//! Owns bytes and the offsets that go with them. Knows no sockets and no clients.

mod chunk;
mod emit;
mod encode;
mod kept;
mod reduced;

#[cfg(test)]
mod tests;

pub use chunk::{Chunk, Frame, Split};
pub use emit::Emit;
pub use encode::Encoder;
pub use kept::{CHUNK_BYTES, Kept, Place, Pool};
pub use reduced::Reduced;
