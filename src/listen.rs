//! Sockets to listen on: bound with every hint that helps, accepted from without spinning, removed at the end.

use crate::config::{ListenAddr, UnixAddr};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A bound, listening socket. Dropping it closes it and removes a Unix socket's file.
#[derive(Debug)]
pub struct Listener {}

/// Where a listener really listens, with its real port: `127.0.0.1:9999`, `unix:/run/broadcastd/ingest.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket or a named pipe.
    Unix(PathBuf),
}

/// A connection, not blocking.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with its peer's address.
    Tcp(tokio::net::TcpStream, SocketAddr),
    /// A Unix socket.
    Unix(tokio::net::UnixStream),
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
    /// Binds. Needs no runtime. A stale Unix socket file is replaced, a live one never.
    pub fn bind(_key: &str, _addr: &ListenAddr) -> Result<Listener, BindError> {
        let _: Option<&UnixAddr> = None;
        todo!()
    }

    /// Where it listens.
    pub fn addr(&self) -> BoundAddr {
        todo!()
    }

    /// The next connection. Errors are counted in `errors` and waited out with a growing pause (a lack of descriptors
    /// must not spin), so that this always returns a connection in the end. Must be called within a runtime whose
    /// thread stays the same. Cancel-safe.
    pub async fn accept(&self, _errors: &metrics::Counter) -> Stream {
        todo!()
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
