//! An Engine.IO server (protocol revision 4) that sends every message back, on the daemon's own front and codec, for the official
//! conformance suite.
//!
//!     cargo run --release --example engineio_echo -- 127.0.0.1:3000
//!     tests/socketio/suites engine.io
//!
//! It prints the address it listens on, and pings as the suite wants it: every 300 ms, with 200 ms for the answer, or
//! with the milliseconds that come after the address.

#[path = "support/engine.rs"]
mod engine;

use broadcastd::wire::frame;
use engine::{Application, Said, push_bytes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    engine::run("/engine.io/", || Echo)
}

struct Echo;

impl Application for Echo {
    fn said(&mut self, said: Said<'_>, out: &mut Vec<u8>) -> bool {
        match said {
            Said::Text(text) => frame::push_text(out, 0, |out| {
                out.push(b'4');
                out.extend_from_slice(text.as_bytes());
            }),
            Said::Bytes(bytes) => push_bytes(out, bytes),
        }
        true
    }
}
