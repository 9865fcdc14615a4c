//! The shards, seen from outside.

use super::NewClient;

/// Every shard of the daemon.
pub struct Shards {}

impl Shards {
    /// Hands a connection to a shard, which serves it from now on. Never blocks.
    pub fn adopt(&self, _client: NewClient) {
        todo!()
    }
}
