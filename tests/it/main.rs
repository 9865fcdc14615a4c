//! Tests at the real sockets, against the real binary.
// A test fails by panicking, and its helpers with it.
#![allow(clippy::unwrap_used, clippy::missing_docs_in_private_items, dead_code)]
// Counters hold whole numbers, and lines for producers are put together as they read.
#![allow(clippy::float_cmp, clippy::format_collect)]

mod admission;
mod alerts;
mod api;
mod bench;
mod caught_up;
mod cli;
mod client;
mod clock;
mod config;
mod doctor;
mod documents;
mod engineio;
mod event_stream;
mod fanout;
mod harness;
mod history;
mod hostile;
mod ingest;
mod ingest_http;
mod limits;
mod listeners;
mod live;
mod logs;
mod memory;
mod paced;
mod prometheus;
mod protocol;
mod publish;
mod raw;
mod real_input;
mod recent;
mod reload;
mod replay;
mod restart;
mod resume;
mod shipped;
mod shutdown;
mod slow_client;
mod snapshot;
mod socketio;
mod socketio_client;
mod socketio_recovery;
mod sse;
mod sse_resume;
mod sse_slow;
mod status;
mod systemd;
mod tail;
mod tidy;
mod tool;
mod top;
mod views;
