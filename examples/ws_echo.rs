//! A WebSocket echo server on the daemon's own handshake and frame reader, for conformance suites.
//!
//!     cargo run --release --example ws_echo -- 127.0.0.1:9001
//!     tests/autobahn.sh
//!
//! It prints the address it listens on, and sends every message back as it came: no rooms, no `broadcastd.v1`. A
//! thread for each connection keeps it short; the daemon's own shards are another matter.

use broadcastd::config::{Config, ListenAddr, OriginPattern};
use broadcastd::handshake::{Arrival, Front, FrontConfig, FrontState, NewListener};
use broadcastd::http::{Asked, Reply};
use broadcastd::limits::ClientCounter;
use broadcastd::listen::Listener;
use broadcastd::metrics::Metrics;
use broadcastd::shard::{ClientSocket, NewClient};
use broadcastd::wire::{FrameReader, Incoming, frame};
use http_body_util::Full;
use hyper::{Response, StatusCode};
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

/// The suites send messages of 16 MiB.
const MAX_MESSAGE_SIZE: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let Config { mut server, limits, ingest, mut socketio, .. } = Config::default();
    socketio.enabled = false;
    server.allowed_origins = vec![OriginPattern::Any];
    let config = FrontConfig { server, limits, socketio, hosts: ingest.hosts };
    let (clients, metrics) = (ClientCounter::new(), Arc::new(Metrics::new()));
    let state = FrontState::new(config, clients, metrics, Box::new(|_| Err(None)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener =
        Listener::bind("address", &ListenAddr::Tcp(address.parse()?)).map_err(|error| error.message)?;
    println!("ws://{}/ws", listener.addr());
    let (_trigger, shutdown) = broadcastd::shutdown::pair();
    let (_removal, removed) = broadcastd::shutdown::pair();
    let front = Front::new(state, not_found, |arrival| {
        let Arrival::Client(client) = arrival else { unreachable!("Socket.IO is not served") };
        thread::spawn(move || echo(client));
        0
    });
    runtime.block_on(front.run(NewListener { listener, removed }, shutdown));
    Ok(())
}

fn not_found(_: Asked) -> Reply {
    let mut response = Response::new(Full::from("GET /ws\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Box::pin(std::future::ready(response.map(Into::into)))
}

/// Echoes until either side closes. An error ends the connection, which is all that can be done about it.
fn echo(client: NewClient) -> std::io::Result<()> {
    let NewClient { socket, early, permit: _permit, .. } = client;
    let ClientSocket::Tcp(mut socket) = socket else { unreachable!("it listens on TCP alone") };
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    let (mut reader, mut partial, mut buffer) = (FrameReader::new(), None, vec![0; 1 << 16]);
    let mut bytes = early;
    loop {
        let (mut out, mut open) = (Vec::new(), true);
        let fed = reader.feed(&mut partial, &bytes, MAX_MESSAGE_SIZE, |incoming| {
            open = answer(&incoming, &mut out);
            open
        });
        if let Err(error) = fed {
            frame::push_close(&mut out, error.code, error.reason);
            open = false;
        }
        socket.write_all(&out)?;
        if !open {
            return linger(&mut socket, &mut buffer);
        }
        let len = socket.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        bytes.clear();
        bytes.extend_from_slice(&buffer[..len]);
    }
}

/// Returns whether the connection goes on.
fn answer(incoming: &Incoming<'_>, out: &mut Vec<u8>) -> bool {
    match incoming {
        Incoming::Text(text) => frame::push_text(out, 0, |out| out.extend_from_slice(text.as_bytes())),
        Incoming::Binary(bytes) => {
            let start = out.len();
            frame::push_text(out, 0, |out| out.extend_from_slice(bytes));
            out[start] = 0x82;
        }
        Incoming::Ping(payload) => frame::push_control(out, frame::PONG, payload),
        Incoming::Pong(_) => {}
        Incoming::Close(1005, _) => frame::push_control(out, frame::CLOSE, b""),
        Incoming::Close(code, reason) => frame::push_close(out, *code, reason),
    }
    !matches!(incoming, Incoming::Close(..))
}

/// Ends our side and reads until the client has ended its own: closing a socket with unread bytes resets the connection,
/// and our close frame might not arrive.
fn linger(socket: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    socket.shutdown(std::net::Shutdown::Write)?;
    socket.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
    while socket.read(buffer).is_ok_and(|len| len > 0) {}
    Ok(())
}
