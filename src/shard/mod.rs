//! Shards: threads that own connections and fan rooms out to them.
//!
//! Everything of a shard is owned by its thread. Others hand it connections through its inbox and tell it of grown
//! rooms through its bell; nothing else reaches it. A shard encodes for its clients without knowing a transport, and
//! knows nothing of HTTP.

mod catch_up;
#[cfg(test)]
#[path = "tests/chunked.rs"]
mod chunked;
mod client;
mod composed;
mod connection;
mod drain;
mod every;
mod gathered;
mod heartbeat;
mod hold;
mod inbox;
mod inspect;
#[cfg(test)]
#[path = "tests/lives.rs"]
mod lives;
mod membership;
mod new_client;
mod pace;
mod pages;
mod pass;
mod pass_joined;
mod reconfigure;
mod recovery;
mod resume;
mod service;
// The module's main type has its name.
#[allow(clippy::module_inception)]
mod shard;
mod shards;
#[cfg(test)]
mod simulation;
mod snapshot;
mod socket;
mod socketio;
mod stats;
mod subscribe;
mod told;
mod upgrade;
mod view;

pub use inspect::ClientFigures;
pub use new_client::{ClientSocket, NewClient, NewSocketIo, Upgraded};
pub use shards::{ShardPolls, ShardThreads, Shards};
