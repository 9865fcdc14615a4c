//! broadcastd: newline-delimited JSON events in, every subscribed client out.
//!
//! ```text
//! producer -> ingest -> event -> routes -> room -> shard -> client
//! ```
//!
//! A room is a log, a subscription is a position in it. Each module imports only from the floors below it
//! (docs/architecture.md has the table, tests/it/tidy.rs holds it). To read: [`room`], [`shard`], then the five
//! functions of a line in the order that the table there names them.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod error;
pub mod event;
pub mod handshake;
pub mod http;
pub mod ingest;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod origin;
pub mod pattern;
pub mod room;
pub mod route;
pub mod shard;
pub mod shutdown;
pub mod view;
pub mod wire;
