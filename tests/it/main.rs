//! Tests at the real sockets.
