//! Tests at the real sockets, against the real binary.

mod config;
mod fanout;
mod harness;
mod shipped;
mod tidy;
