//! Sockets to listen on: bound with every hint that helps, accepted from without spinning, removed at the end.

mod foreign;
mod holder;
mod stream;
mod unix;

pub use foreign::{Foreign, TELLING};
pub use stream::Stream;
pub(crate) use stream::{Death, Loose};
pub use unix::{Pipe, Rights};

use crate::config::ListenAddr;
use crate::metrics::Watched;
use crate::systemd;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use unix::SocketFile;

/// Connections that the kernel keeps until they are accepted: enough for a storm of a few thousand, and the kernel cuts
/// it to `net.core.somaxconn` anyway.
const PENDING_CONNECTIONS: i32 = 4096;
/// Pause after an accept that failed for a lack of something: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a listener that is removed goes on accepting whoever has connected before: what waits in the kernel would be reset
/// with it.
pub(crate) const LAST_CONNECTIONS: Duration = Duration::from_millis(20);

/// A bound, listening socket. Dropping it closes it and removes a Unix socket's file.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    addr: BoundAddr,
    /// The same socket in tokio's hands, from the first accept on.
    accepting: OnceLock<Accepting>,
}

#[derive(Debug)]
enum Bound {
    Tcp(std::net::TcpListener),
    Unix {
        socket: std::os::unix::net::UnixListener,
        // Held for its drop; none where systemd made the file.
        _file: Option<SocketFile>,
    },
}

#[derive(Debug)]
enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A hold of a listener's socket, where it is TCP: lets another be bound beside it.
#[derive(Debug)]
pub struct Handle(Option<std::net::TcpListener>);

/// Where a listener really listens, with its real port: `127.0.0.1:9999`, `unix:/run/broadcastd/ingest.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket or a named pipe.
    Unix(PathBuf),
}

/// Why a socket cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The key, with an index: `ingest.listen[1]`.
    pub key: String,
    /// What was tried, on which address, and why it failed.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Listener {
    /// Binds. Needs no runtime. A stale Unix socket file is replaced, a live one never, and no other file ever. A Unix
    /// socket is at no moment open to more than its `mode`.
    pub fn bind(key: &str, addr: &ListenAddr) -> Result<Listener, BindError> {
        Listener::bind_beside(key, addr, &[])
    }

    /// Binds where listeners of this process may be in the way that are about to go: `0.0.0.0:9999` in place of
    /// `127.0.0.1:9999`.
    pub fn bind_beside(key: &str, addr: &ListenAddr, going: &[&Handle]) -> Result<Listener, BindError> {
        let (socket, addr) = match addr {
            ListenAddr::Tcp(addr) => {
                let socket = bind_tcp_beside(*addr, going).map_err(|error| tcp_error(key, *addr, &error))?;
                let real = socket.local_addr().map_err(|error| tcp_error(key, *addr, &error))?;
                (Bound::Tcp(socket), BoundAddr::Tcp(real))
            }
            ListenAddr::Unix(addr) => {
                let (socket, file) = unix::bind(key, addr)?;
                (Bound::Unix { socket, _file: Some(file) }, BoundAddr::Unix(addr.path.clone()))
            }
        };
        Ok(Listener { socket, addr, accepting: OnceLock::new() })
    }

    /// Takes a socket over that systemd has bound. Its file, if it has one, stays when the listener goes.
    pub fn inherit(socket: systemd::Socket) -> io::Result<Listener> {
        let (socket, addr) = match socket {
            systemd::Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let addr = BoundAddr::Tcp(socket.local_addr()?);
                (Bound::Tcp(socket), addr)
            }
            systemd::Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                let path = socket.local_addr()?.as_pathname().map_or_else(PathBuf::new, PathBuf::from);
                (Bound::Unix { socket, _file: None }, BoundAddr::Unix(path))
            }
        };
        Ok(Listener { socket, addr, accepting: OnceLock::new() })
    }

    /// Where it listens.
    pub fn addr(&self) -> BoundAddr {
        self.addr.clone()
    }

    /// Another hold of the same socket. It listens as long as one of them is there.
    pub fn handle(&self) -> io::Result<Handle> {
        Ok(match &self.socket {
            Bound::Tcp(socket) => Handle(Some(socket.try_clone()?)),
            Bound::Unix { .. } => Handle(None),
        })
    }

    /// The next connection. Errors are counted in `errors` and waited out with a growing pause (a lack of descriptors
    /// must not spin), so that this always returns a connection in the end. Must be called within a runtime whose
    /// thread stays the same. Cancel-safe.
    pub async fn accept(&self, errors: &Watched) -> Stream {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.try_accept().await {
                Ok(stream) => return stream,
                Err(error) => error,
            };
            errors.increment(1);
            if is_of_one_connection(&error) {
                continue;
            }
            tracing::warn!(listener = %self.addr, %error, pause_ms = pause.as_millis() as u64, "accept failed");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_accept(&self) -> io::Result<Stream> {
        let accepting = if let Some(accepting) = self.accepting.get() {
            accepting
        } else {
            let accepting = self.start_accepting()?;
            self.accepting.get_or_init(|| accepting)
        };
        match accepting {
            Accepting::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::Tcp(stream, peer))
            }
            Accepting::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }

    fn start_accepting(&self) -> io::Result<Accepting> {
        Ok(match &self.socket {
            Bound::Tcp(socket) => Accepting::Tcp(tokio::net::TcpListener::from_std(socket.try_clone()?)?),
            Bound::Unix { socket, .. } => {
                Accepting::Unix(tokio::net::UnixListener::from_std(socket.try_clone()?)?)
            }
        })
    }
}

/// Whether an accept failed because of the one connection, which is gone: the next may be tried at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Binds; and where a socket of ours that is going has the port, beside it. Both allow it for that moment only, so that no
/// other process can take a share of the port.
fn bind_tcp_beside(addr: SocketAddr, going: &[&Handle]) -> io::Result<std::net::TcpListener> {
    let has_port = |socket: &&std::net::TcpListener| {
        addr.port() != 0 && socket.local_addr().is_ok_and(|local| local.port() == addr.port())
    };
    let beside: Vec<_> = going.iter().filter_map(|handle| handle.0.as_ref()).filter(has_port).collect();
    if beside.is_empty() {
        return bind_tcp(addr, false);
    }
    let share = |share| beside.iter().try_for_each(|socket| SockRef::from(*socket).set_reuse_port(share));
    share(true)?;
    let bound = bind_tcp(addr, true);
    share(false)?;
    let bound = bound?;
    SockRef::from(&bound).set_reuse_port(false)?;
    Ok(bound)
}

fn bind_tcp(addr: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last life that are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(PENDING_CONNECTIONS)?;
    Ok(socket.into())
}

fn tcp_error(key: &str, addr: SocketAddr, error: &io::Error) -> BindError {
    let (reason, hint) = match error.kind() {
        ErrorKind::AddrInUse => {
            let by = holder::of_tcp(addr).map_or_else(String::new, |holder| format!(" by {holder}"));
            (format!("the port is taken{by}"), Some(format!("stop it, or give {key} another port")))
        }
        ErrorKind::PermissionDenied => (
            error.to_string(),
            Some("a port below 1024 needs a privilege (AmbientCapabilities=CAP_NET_BIND_SERVICE)".to_owned()),
        ),
        ErrorKind::AddrNotAvailable => (
            "this machine has no such address".to_owned(),
            Some("`ip address` shows those it has".to_owned()),
        ),
        _ => (error.to_string(), None),
    };
    BindError { key: key.to_owned(), message: format!("cannot listen on {addr}: {reason}"), hint }
}

impl BindError {
    /// An error that nothing more is known of.
    pub fn other(key: &str, error: &io::Error) -> BindError {
        BindError { key: key.to_owned(), message: format!("cannot listen: {error}"), hint: None }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
    }
}

impl fmt::Display for BoundAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundAddr::Tcp(addr) => addr.fmt(f),
            BoundAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
