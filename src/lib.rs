//! broadcastd: newline-delimited JSON events in, every subscribed client out.
//!
//! ```text
//! producer -> ingest -> event -> routes -> room -> shard -> client
//! ```
//!
//! A room is a log, a subscription is a position in it. Modules are listed here in the order to read them in; each
//! imports only from the floors below it (docs/architecture.md has the table, tests/it/tidy.rs holds it).

pub mod config;
pub mod error;
pub mod event;
pub mod ingest;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod pattern;
pub mod room;
pub mod route;
pub mod shard;
pub mod shutdown;
pub mod wire;
