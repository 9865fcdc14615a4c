//! Tests at the real sockets, against the real binary.

mod fanout;
mod harness;
