//! A Socket.IO server on the daemon's own way in and packets, with the application that the protocol's test suite wants.
//!
//!     cargo run --release --example socketio_echo -- 127.0.0.1:3000
//!     tests/socketio/suites socket.io
//!
//! It prints the address it listens on. In the namespaces `/` and `/custom` it emits `auth` with what a client showed when
//! it connected, answers `message` with `message-back`, and acknowledges `message-with-ack`, with the same arguments.

use broadcastd::socketio::{
    Emitted, Happened, Sockets, push_ack, push_connect, push_connect_error, push_event, random_id,
};
use broadcastd::wire::frame;
use serde_json::value::RawValue;
use std::time::{Duration, Instant};

#[path = "support/engine.rs"]
mod engine;

use engine::{Application, MAX_PAYLOAD, Said, push_bytes};

const NAMESPACES: [&str; 2] = ["/", "/custom"];
/// How long a client may take to connect to a namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    engine::run("/socket.io/", Echo::new)
}

/// One client.
struct Echo {
    sockets: Sockets,
    /// When it must have connected to a namespace; none once it has.
    deadline: Option<Instant>,
}

impl Application for Echo {
    fn said(&mut self, said: Said<'_>, out: &mut Vec<u8>) -> bool {
        let happened = match said {
            Said::Text(text) => self.sockets.text(text),
            Said::Bytes(bytes) => self.sockets.binary(bytes),
        };
        match happened {
            Ok(Happened::Connect { namespace, auth }) => self.connect(&namespace, auth.as_deref(), out),
            Ok(Happened::Disconnect { namespace }) => self.sockets.disconnected(&namespace),
            Ok(Happened::Event(emitted)) => echo(&emitted, out),
            Ok(Happened::Ack { .. } | Happened::Nothing) => {}
            Err(fault) => {
                eprintln!("{fault}");
                return false;
            }
        }
        true
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl Echo {
    fn new() -> Echo {
        Echo { sockets: Sockets::new(MAX_PAYLOAD), deadline: Some(Instant::now() + CONNECT_TIMEOUT) }
    }

    fn connect(&mut self, namespace: &str, auth: Option<&str>, out: &mut Vec<u8>) {
        if !NAMESPACES.contains(&namespace) {
            return frame::push_text(out, 0, |out| push_connect_error(out, namespace, "Invalid namespace"));
        }
        self.sockets.connected(namespace);
        self.deadline = None;
        let sid = random_id().expect("the system gives random bytes");
        frame::push_text(out, 0, |out| push_connect(out, namespace, &sid, None));
        let auth = auth.unwrap_or("{}");
        frame::push_text(out, 0, |out| {
            push_event(out, namespace, None, 0, |out| {
                out.extend_from_slice(format!("[\"auth\",{auth}]").as_bytes());
            });
        });
    }
}

fn echo(emitted: &Emitted, out: &mut Vec<u8>) {
    let Emitted { namespace, ack, name, args, attachments } = emitted;
    let count = attachments.len() as u32;
    match (name.as_str(), *ack) {
        ("message", _) => frame::push_text(out, 0, |out| {
            push_event(out, namespace, None, count, |out| push_array(out, Some("\"message-back\""), args));
        }),
        ("message-with-ack", Some(ack)) => frame::push_text(out, 0, |out| {
            push_ack(out, namespace, ack, count, |out| push_array(out, None, args));
        }),
        _ => return,
    }
    for bytes in attachments {
        push_bytes(out, bytes);
    }
}

/// Appends a JSON array of what is JSON already.
fn push_array(out: &mut Vec<u8>, first: Option<&str>, args: &[Box<RawValue>]) {
    let elements: Vec<&str> = first.into_iter().chain(args.iter().map(|arg| arg.get())).collect();
    out.extend_from_slice(format!("[{}]", elements.join(",")).as_bytes());
}
