//! Clients of Engine.IO on the daemon's own way in, each on a thread of its own: frames, packets, heartbeat, and the change of
//! its socket at an upgrade.
//!
//! What the daemon's shards do for thousands at once, written for one, so that conformance suites find an application at
//! the other end.

use broadcastd::config::{Config, ListenAddr, OriginPattern};
use broadcastd::handshake::{Arrival, Front, FrontConfig, FrontState, NewListener};
use broadcastd::http::{Asked, Reply};
use broadcastd::limits::ClientCounter;
use broadcastd::listen::Listener;
use broadcastd::metrics::Metrics;
use broadcastd::shard::{ClientSocket, NewClient, NewSocketIo, Upgraded};
use broadcastd::socketio::{Beat, Heartbeat, Received, parse_text};
use broadcastd::wire::{FrameReader, Incoming, Partial, frame};
use http_body_util::Full;
use hyper::{Response, StatusCode};
use nix::poll::{PollFd, PollFlags, poll};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// What the suites expect to be told.
pub const MAX_PAYLOAD: usize = 1_000_000;
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);
/// A client that takes nothing for this long is let go.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is served: one of it for each client.
pub trait Application: 'static {
    /// Takes what the client said. Answers are frames; false ends the connection.
    fn said(&mut self, said: Said<'_>, out: &mut Vec<u8>) -> bool;

    /// When the connection ends by itself.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// A message of Engine.IO.
#[derive(Clone, Copy)]
pub enum Said<'a> {
    /// Text, without the `4` before it.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// Appends a frame with bytes.
pub fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    frame::push_text(out, 0, |out| out.extend_from_slice(bytes));
    out[start] = 0x82;
}

/// Serves an application at a path, on the address that the first argument names, until the process is ended. Prints where.
/// The next two arguments are other times of pings.
pub fn run<A: Application>(path: &str, application: fn() -> A) -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let Config { mut server, mut limits, mut socketio, ingest, .. } = Config::default();
    server.allowed_origins = vec![OriginPattern::Any];
    limits.client.message_size = MAX_PAYLOAD;
    path.clone_into(&mut socketio.path);
    socketio.ping_interval = duration(2, PING_INTERVAL)?;
    socketio.ping_timeout = duration(3, PING_TIMEOUT)?;
    let config = FrontConfig { server, limits, socketio, hosts: ingest.hosts };
    let (clients, metrics) = (ClientCounter::new(), Arc::new(Metrics::new()));
    let state = FrontState::new(config, clients, metrics, Box::new(|_| Err(None)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener =
        Listener::bind("address", &ListenAddr::Tcp(address.parse()?)).map_err(|error| error.message)?;
    println!("http://{}{path}", listener.addr());
    let (_trigger, shutdown) = broadcastd::shutdown::pair();
    let (_removal, removed) = broadcastd::shutdown::pair();
    let threads = Arc::new(Threads::default());
    let front = Front::new(state, not_found, move |arrival| {
        match arrival {
            Arrival::Client(client) => Arc::clone(&threads).adopt(client, application),
            Arrival::Upgraded(_, upgraded) => threads.upgrade(upgraded),
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
    let mut response = Response::new(Full::from("nothing else is served\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    Box::pin(std::future::ready(response.map(Into::into)))
}

/// The clients' threads, by their sessions, for a client that gets another socket.
#[derive(Default)]
struct Threads(Mutex<HashMap<Box<str>, SyncSender<Upgraded>>>);

impl Threads {
    fn adopt<A: Application>(self: Arc<Self>, mut client: NewClient, application: fn() -> A) {
        let Some(session) = client.socketio.take() else { return };
        let (upgrades, upgraded) = sync_channel(1);
        self.lock().insert(session.sid.clone(), upgrades);
        thread::spawn(move || {
            let sid = session.sid.clone();
            // An error ends the client, which is all that can be done about it.
            if let Err(error) = serve(client, *session, &upgraded, &mut application()) {
                eprintln!("{sid}: {error}");
            }
            self.lock().remove(&sid);
        });
    }

    /// The thread reads what is under way in the socket that it has, finds its end, and then what it has instead.
    fn upgrade(&self, upgraded: Upgraded) {
        let Ok(ended) = upgraded.polled.try_clone() else { return };
        let has_it =
            self.lock().get(&upgraded.sid).is_some_and(|upgrades| upgrades.try_send(upgraded).is_ok());
        if has_it {
            // The thread may have gone meanwhile.
            let _ = ended.shutdown(Shutdown::Write);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, SyncSender<Upgraded>>> {
        self.0.lock().expect("no thread panics while it holds it")
    }
}

/// Serves a client until either side ends it.
fn serve(
    client: NewClient,
    session: NewSocketIo,
    upgrades: &Receiver<Upgraded>,
    application: &mut dyn Application,
) -> io::Result<()> {
    let NewClient { socket, head, early, permit: _permit, .. } = client;
    let NewSocketIo { opened, ping_interval, ping_timeout, session, .. } = session;
    let mut connection = Connection {
        stream: Stream::new(socket)?,
        opened,
        heartbeat: Heartbeat::new(ping_interval, ping_timeout, 0),
        reader: FrameReader::new(),
        partial: None,
        out: head,
    };
    let mut bytes = early;
    let mut session = Some(session);
    let mut buffer = vec![0; 1 << 16];
    while connection.take(&bytes, application) {
        let Some(wait) = connection.beat(application) else { return Ok(()) };
        connection.stream.write(&std::mem::take(&mut connection.out))?;
        bytes.clear();
        match connection.stream.read(&mut buffer, wait) {
            Ok(0) => {
                let Ok(upgraded) = upgrades.try_recv() else { return Ok(()) };
                drop(session.take());
                bytes = connection.upgrade(upgraded)?;
            }
            Ok(len) => bytes.extend_from_slice(&buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    // Whoever polls learns that the session is over before the socket is.
    drop(session);
    connection.stream.write(&connection.out)?;
    connection.stream.linger(&mut buffer)
}

struct Connection {
    stream: Stream,
    opened: Instant,
    heartbeat: Heartbeat,
    reader: FrameReader,
    partial: Option<Box<Partial>>,
    out: Vec<u8>,
}

impl Connection {
    /// Returns whether the connection goes on.
    fn take(&mut self, bytes: &[u8], application: &mut dyn Application) -> bool {
        let Connection { opened, heartbeat, out, .. } = self;
        let mut goes_on = true;
        let fed = self.reader.feed(&mut self.partial, bytes, MAX_PAYLOAD, |incoming| {
            goes_on = match incoming {
                Incoming::Text(text) => match parse_text(text) {
                    Ok(Received::Message(text)) => application.said(Said::Text(text), out),
                    Ok(Received::Pong) => {
                        heartbeat.pong(opened.elapsed().as_millis() as u64);
                        true
                    }
                    Ok(Received::Ping(_) | Received::Upgrade | Received::Noop) => true,
                    Ok(Received::Close) | Err(_) => false,
                },
                Incoming::Binary(bytes) => application.said(Said::Bytes(bytes), out),
                Incoming::Ping(payload) => {
                    frame::push_control(out, frame::PONG, payload);
                    true
                }
                Incoming::Pong(_) => true,
                Incoming::Close(..) => false,
            };
            goes_on
        });
        match fed {
            Ok(()) if goes_on => {}
            Ok(()) => frame::push_close(out, 1000, ""),
            Err(error) => {
                frame::push_close(out, error.code, error.reason);
                goes_on = false;
            }
        }
        goes_on
    }

    /// Sends a ping if it is time for one. How long nothing is to be done then; none when the client's time is over.
    fn beat(&mut self, application: &dyn Application) -> Option<Duration> {
        match self.heartbeat.tick(self.opened.elapsed().as_millis() as u64) {
            Beat::Wait => {}
            Beat::Ping => frame::push_text(&mut self.out, 0, |out| out.push(b'2')),
            Beat::Dead => return None,
        }
        let due = self.opened + Duration::from_millis(self.heartbeat.due_ms());
        let deadline = application.deadline();
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return None;
        }
        let next = deadline.map_or(due, |deadline| deadline.min(due));
        Some(next.saturating_duration_since(now))
    }

    /// Goes over to the client's own socket: what is under way in the other goes first. Returns what the client said on it
    /// already.
    fn upgrade(&mut self, upgraded: Upgraded) -> io::Result<Vec<u8>> {
        let Upgraded { socket, early, unsent, mut polled, .. } = upgraded;
        let mut first = unsent;
        // Ends with the error that says that there is no more.
        let _ = polled.read_to_end(&mut first);
        self.stream = Stream::new(socket)?;
        self.partial = None;
        self.out.splice(..0, first);
        Ok(early)
    }
}

/// A client's socket, waiting.
struct Stream(ClientSocket);

impl Stream {
    fn new(socket: ClientSocket) -> io::Result<Stream> {
        match &socket {
            ClientSocket::Tcp(socket) => {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(false)?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
            }
            ClientSocket::Unix(socket) => {
                socket.set_nonblocking(false)?;
                socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
            }
        }
        Ok(Stream(socket))
    }

    /// Reads what is there within a time. The socket's own timeouts are too coarse: the suites allow a millisecond or two.
    fn read(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        let fd = match &self.0 {
            ClientSocket::Tcp(socket) => socket.as_fd(),
            ClientSocket::Unix(socket) => socket.as_fd(),
        };
        let ms = wait.as_millis().try_into().unwrap_or(u16::MAX);
        if poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], ms)? == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        match &mut self.0 {
            ClientSocket::Tcp(socket) => socket.read(buffer),
            ClientSocket::Unix(socket) => socket.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            ClientSocket::Tcp(socket) => socket.write_all(bytes),
            ClientSocket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// Ends our side and reads until the client has ended its own, for a second: closing a socket with unread bytes resets
    /// the connection, and the last frame might not arrive.
    fn linger(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match &self.0 {
            ClientSocket::Tcp(socket) => socket.shutdown(Shutdown::Write)?,
            ClientSocket::Unix(socket) => socket.shutdown(Shutdown::Write)?,
        }
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.read(buffer, left)? == 0 {
                return Ok(());
            }
        }
    }
}
