//! broadcastd: newline-delimited JSON events in, every subscribed client out.
//!
//! ```text
//! producer -> ingest -> event -> routes -> room -> shard -> client
//! ```
//!
//! A room is a log, a subscription is a position in it. Each module imports only from the floors below it
//! (docs/architecture.md has the table, tests/it/tidy.rs holds it). To read: [`room`], [`shard`], then the five
//! functions of a line in the order that the table there names them.

// The way of a line.
pub mod ingest;

pub mod event;

pub mod route;

pub mod room;

pub mod view;

pub mod shard;

// What the daemon publishes itself.
pub mod sources;

// The way in for clients and operators.
pub mod handshake;
pub mod http;
pub mod socketio;
pub mod wire;

// What puts them together.
pub mod cli;
pub mod daemon;

// What they share.
pub mod addresses;
pub mod alert;
pub mod config;
pub mod descriptors;
pub mod error;
pub mod escape;
pub mod limits;
pub mod listen;
pub mod liveness;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod pattern;
pub mod query;
pub mod rejected;
pub mod reload;
pub mod request_policy;
pub mod shutdown;
pub mod systemd;
pub mod time;
pub mod watch;
