//! Tests at the real sockets, against the real binary.
// A test fails by panicking, and its helpers with it.
#![allow(clippy::unwrap_used, clippy::missing_docs_in_private_items, dead_code)]

mod cli;
mod config;
mod fanout;
mod harness;
mod hostile;
mod shipped;
mod shutdown;
mod slow_client;
mod tidy;
