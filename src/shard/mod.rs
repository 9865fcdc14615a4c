//! Shards: threads that own connections and fan rooms out to them.

mod new_client;
mod shards;

pub use new_client::{ClientSocket, NewClient};
pub use shards::Shards;
