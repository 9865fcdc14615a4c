//! An Engine.IO server (protocol revision 4) that sends every message back, on the daemon's own front and codec, for
//! the official conformance suite.
//!
//!     cargo run --release --example engineio_echo -- 127.0.0.1:3000
//!     tests/socketio/suites engine.io
//!
//! It prints the address it listens on, and pings as the suite wants it: every 300 ms, with 200 ms for the answer, or
//! with the milliseconds that come after the address. A thread for each client keeps it short; the daemon's own shards
//! are another matter.

use broadcastd::config::{Config, ListenAddr, OriginPattern, SocketIoConfig};
use broadcastd::handshake::{Arrival, Front, FrontConfig, FrontState, NewListener};
use broadcastd::http::{Asked, Reply};
use broadcastd::limits::ClientCounter;
use broadcastd::listen::Listener;
use broadcastd::metrics::Metrics;
use broadcastd::shard::{ClientSocket, NewClient, Upgraded};
use broadcastd::socketio::{Beat, Heartbeat, Received, parse_text};
use broadcastd::wire::{FrameReader, Incoming, Partial, frame};
use http_body_util::Full;
use hyper::{Response, StatusCode};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What the suite expects to be told.
const MAX_PAYLOAD: usize = 1_000_000;
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let Config { mut server, mut limits, mut socketio, ingest, .. } = Config::default();
    server.allowed_origins = vec![OriginPattern::Any];
    limits.client.message_size = MAX_PAYLOAD;
    socketio = SocketIoConfig { path: "/engine.io/".to_owned(), ..socketio };
    socketio.ping_interval = duration(2, PING_INTERVAL)?;
    socketio.ping_timeout = duration(3, PING_TIMEOUT)?;
    let config = FrontConfig { server, limits, socketio, hosts: ingest.hosts };
    let state =
        FrontState::new(config, ClientCounter::new(), Arc::new(Metrics::new()), Box::new(|_| Err(None)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener =
        Listener::bind("address", &ListenAddr::Tcp(address.parse()?)).map_err(|error| error.message)?;
    println!("http://{}/engine.io/", listener.addr());
    let (_trigger, shutdown) = broadcastd::shutdown::pair();
    let (_removal, removed) = broadcastd::shutdown::pair();
    let echo = Arc::new(Echo::default());
    let front = Front::new(state, not_found, move |arrival| {
        match arrival {
            Arrival::Client(client) => Arc::clone(&echo).adopt(client),
            Arrival::Upgraded(_, upgraded) => echo.upgrade(upgraded),
        }
        // As good as any number: there are no shards.
        0
    });
    runtime.block_on(front.run(NewListener { listener, removed }, shutdown));
    Ok(())
}

/// An argument in milliseconds.
fn duration(index: usize, default: Duration) -> Result<Duration, Box<dyn Error>> {
    Ok(match std::env::args().nth(index) {
        Some(ms) => Duration::from_millis(ms.parse()?),
        None => default,
    })
}

fn not_found(_: Asked) -> Reply {
    let mut response = Response::new(Full::from("/engine.io/\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Box::pin(std::future::ready(response.map(Into::into)))
}

/// The clients' threads, by their sessions, for a client that gets another socket.
#[derive(Default)]
struct Echo {
    threads: Mutex<Threads>,
}

type Threads = HashMap<Box<str>, (SyncSender<Upgraded>, Waker)>;

impl Echo {
    fn adopt(self: Arc<Self>, mut client: NewClient) {
        let Some(session) = client.socketio.take() else { return };
        let (upgrades, upgraded) = sync_channel(1);
        // An error ends the client, which is all that can be done about it.
        let Ok(poll) = Poll::new() else { return };
        let Ok(waker) = Waker::new(poll.registry(), WAKE) else { return };
        self.threads().insert(session.sid.clone(), (upgrades, waker));
        thread::spawn(move || {
            let opened = session.opened;
            let heartbeat = Heartbeat::new(session.ping_interval, session.ping_timeout, 0);
            let served =
                Client::new(client, poll, heartbeat, opened).and_then(|client| client.serve(&upgraded));
            if let Err(error) = served {
                eprintln!("{}: {error}", session.sid);
            }
            self.threads().remove(&session.sid);
        });
    }

    fn upgrade(&self, upgraded: Upgraded) {
        if let Some((upgrades, waker)) = self.threads().get(&upgraded.sid) {
            // The thread may be ending; there is one upgrade for each.
            let _ = upgrades.try_send(upgraded);
            let _ = waker.wake();
        }
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Threads> {
        self.threads.lock().expect("no thread panics while it holds it")
    }
}

/// A client's socket, whichever it is.
trait Socket: Read + Write + mio::event::Source + Send {}
impl<S: Read + Write + mio::event::Source + Send> Socket for S {}

fn socket(socket: ClientSocket) -> Box<dyn Socket> {
    match socket {
        ClientSocket::Tcp(stream) => {
            // It only makes answers later.
            let _ = stream.set_nodelay(true);
            Box::new(mio::net::TcpStream::from_std(stream))
        }
        ClientSocket::Unix(stream) => Box::new(mio::net::UnixStream::from_std(stream)),
    }
}

struct Client {
    socket: Box<dyn Socket>,
    poll: Poll,
    events: Events,
    reader: FrameReader,
    partial: Option<Box<Partial>>,
    heartbeat: Heartbeat,
    opened: Instant,
    early: Vec<u8>,
    /// It stays in the count of clients.
    _permit: broadcastd::limits::ClientPermit,
}

impl Client {
    fn new(client: NewClient, poll: Poll, heartbeat: Heartbeat, opened: Instant) -> io::Result<Client> {
        let NewClient { socket: given, head, early, permit, .. } = client;
        let mut client = Client {
            socket: socket(given),
            poll,
            events: Events::with_capacity(8),
            reader: FrameReader::new(),
            partial: None,
            heartbeat,
            opened,
            early,
            _permit: permit,
        };
        client.register()?;
        client.send(&head)?;
        Ok(client)
    }

    fn register(&mut self) -> io::Result<()> {
        self.poll.registry().register(&mut self.socket, SOCKET, Interest::READABLE | Interest::WRITABLE)
    }

    /// Echoes until either side ends it.
    fn serve(mut self, upgrades: &Receiver<Upgraded>) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        let early = std::mem::take(&mut self.early);
        if !self.received(&early)? {
            return Ok(());
        }
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(len) if self.received(&buffer[..len])? => continue,
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Ok(upgraded) = upgrades.try_recv() {
                if !self.upgrade(upgraded)? {
                    return Ok(());
                }
                continue;
            }
            match self.heartbeat.tick(self.now_ms()) {
                Beat::Wait => self.wait(self.heartbeat.due_ms().saturating_sub(self.now_ms()))?,
                Beat::Ping => self.send(b"\x81\x012")?,
                Beat::Dead => return Ok(()),
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    fn wait(&mut self, ms: u64) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::from_millis(ms))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Goes on over another socket. All that the client wrote to the one before has been read.
    fn upgrade(&mut self, upgraded: Upgraded) -> io::Result<bool> {
        let Upgraded { socket: given, early, unsent, mut polled, .. } = upgraded;
        self.socket = socket(given);
        self.register()?;
        let mut first = unsent;
        // Ends with the error that says that there is no more.
        let _ = polled.read_to_end(&mut first);
        self.send(&first)?;
        self.received(&early)
    }

    /// Returns whether the client goes on.
    fn received(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let (mut out, mut is_open, now_ms) = (Vec::new(), true, self.now_ms());
        let heartbeat = &mut self.heartbeat;
        let fed = self.reader.feed(&mut self.partial, bytes, MAX_PAYLOAD, |incoming| {
            is_open = answer(&incoming, &mut out, || heartbeat.pong(now_ms));
            is_open
        });
        if let Err(error) = fed {
            frame::push_close(&mut out, error.code, error.reason);
            is_open = false;
        }
        self.send(&out)?;
        Ok(is_open)
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                // What it would hear here of more to read, it finds by reading.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.heartbeat.tick(self.now_ms()) == Beat::Dead {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    self.wait(self.heartbeat.due_ms().saturating_sub(self.now_ms()))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns whether the client goes on.
fn answer(incoming: &Incoming<'_>, out: &mut Vec<u8>, pong: impl FnOnce()) -> bool {
    match incoming {
        Incoming::Text(text) => match parse_text(text) {
            Ok(Received::Message(_)) => frame::push_text(out, |out| out.extend_from_slice(text.as_bytes())),
            Ok(Received::Pong) => pong(),
            Ok(Received::Noop | Received::Upgrade) => {}
            Ok(Received::Ping(_) | Received::Close) => {
                frame::push_close(out, 1000, "");
                return false;
            }
            Err(fault) => {
                frame::push_close(out, 1008, &fault.to_string());
                return false;
            }
        },
        Incoming::Binary(message) => {
            let start = out.len();
            frame::push_text(out, |out| out.extend_from_slice(message));
            out[start] = 0x82;
        }
        Incoming::Ping(payload) => frame::push_control(out, frame::PONG, payload),
        Incoming::Pong(_) => {}
        Incoming::Close(..) => {
            frame::push_close(out, 1000, "");
            return false;
        }
    }
    true
}
