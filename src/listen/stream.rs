//! A connection of either kind.

use super::foreign::{Foreign, TELLING};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// Bytes that are thrown away at once.
const THROWN_BYTES: usize = 16 * 1024;

/// A connection, not blocking.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with its peer's address.
    Tcp(TcpStream, SocketAddr),
    /// A Unix socket.
    Unix(UnixStream),
}

/// When a peer that is silent counts as gone.
#[derive(Debug)]
pub(crate) struct Death {
    /// Silence before the first probe.
    pub(crate) silence: Duration,
    /// Between two probes.
    pub(crate) probes: Duration,
    /// Without an answer to probes or data.
    pub(crate) timeout: Duration,
}

/// A connection out of a runtime's hands, on its way to another.
#[derive(Debug)]
pub(crate) enum Loose {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// The peer's address, where it has one.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(_, peer) => Some(*peer),
            Stream::Unix(_) => None,
        }
    }

    /// The address that the peer connected to; none on a Unix socket.
    pub fn local_ip(&self) -> Option<IpAddr> {
        match self {
            // A socket without an address is gone. No request may pass for one of a Unix socket by that.
            Stream::Tcp(stream, _) => {
                Some(stream.local_addr().map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip()))
            }
            Stream::Unix(_) => None,
        }
    }

    /// Returns when a read, a write or either may go on. Cancel-safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Stream::Tcp(stream, _) => stream.ready(interest).await,
            Stream::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads what is there, or fails with `WouldBlock`.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream, _) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Writes what fits, or fails with `WouldBlock`.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream, _) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// The protocol that the peer speaks, if it is none of ours. Waits for its first bytes and leaves them to be read. Nobody
    /// speaks another protocol on a Unix socket.
    pub async fn foreign(&self) -> Option<Foreign> {
        let Stream::Tcp(stream, _) = self else { return None };
        let mut first = [0; TELLING];
        let len = stream.peek(&mut first).await.ok()?;
        Foreign::of(&first[..len])
    }

    /// Ends the direction to the peer, and reads what still comes and throws it away, for at most `patience`. Closed at once,
    /// TCP would reset the connection and could destroy what was written last.
    pub async fn linger(&self, patience: Duration) {
        // It fails where the peer is gone, which the next read tells.
        let _ = self.end_writing();
        let mut thrown = vec![0; THROWN_BYTES];
        let read = async {
            loop {
                match self.try_read(&mut thrown) {
                    Ok(0) => return,
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if self.ready(Interest::READABLE).await.is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        };
        let _ = tokio::time::timeout(patience, read).await;
    }

    /// Ends the direction to the peer; what the peer sends can still be read.
    pub fn end_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream, _) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => SockRef::from(stream).shutdown(std::net::Shutdown::Write),
        }
    }

    /// Ends a TCP connection whose peer is gone: by probes while it is silent, by a timeout while data waits for it. A Unix
    /// socket ends with its peer anyway.
    pub(crate) fn notice_death(&self, death: &Death) {
        let Stream::Tcp(stream, _) = self else { return };
        let socket = SockRef::from(stream);
        let probes = TcpKeepalive::new().with_time(death.silence).with_interval(death.probes);
        let set = socket
            .set_tcp_keepalive(&probes)
            // It bounds the probes as well.
            .and_then(|()| socket.set_tcp_user_timeout(Some(death.timeout)));
        if let Err(error) = set {
            tracing::debug!(%error, "a dead producer will go unnoticed");
        }
    }

    /// Takes the connection out of the runtime's hands.
    pub(crate) fn loosen(self) -> io::Result<Loose> {
        Ok(match self {
            Stream::Tcp(stream, peer) => Loose::Tcp(stream.into_std()?, peer),
            Stream::Unix(stream) => Loose::Unix(stream.into_std()?),
        })
    }
}

impl Loose {
    /// Gives the connection to the runtime that this is called in.
    pub(crate) fn fasten(self) -> io::Result<Stream> {
        Ok(match self {
            Loose::Tcp(stream, peer) => Stream::Tcp(TcpStream::from_std(stream)?, peer),
            Loose::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream, _) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream, _) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream, _) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
