//! A client's socket in a shard's hands: non-blocking, written to directly, known to the shard's poll.

use super::new_client::ClientSocket;
use crate::config::ClientLimits;
use mio::{Interest, Registry, Token};
use nix::libc;
use socket2::SockRef;
use std::io::{self, IoSlice, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

/// A plain stream.
pub(super) enum Socket {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

/// What became of a send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// So many bytes were taken, fewer than there were when the socket is full.
    Bytes(usize),
    /// The connection is gone.
    Gone,
}

impl Socket {
    /// Takes a socket over and sets what a client's socket needs.
    pub(super) fn new(socket: ClientSocket, limits: &ClientLimits) -> io::Result<Socket> {
        let socket = match socket {
            ClientSocket::Tcp(stream) => {
                SockRef::from(&stream).set_tcp_nodelay(true)?;
                Socket::Tcp(mio::net::TcpStream::from_std(stream))
            }
            ClientSocket::Unix(stream) => Socket::Unix(mio::net::UnixStream::from_std(stream)),
        };
        socket.fit(limits)?;
        Ok(socket)
    }

    /// Sets the limits that the kernel holds for us.
    pub(super) fn fit(&self, limits: &ClientLimits) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => {
                let options = SockRef::from(stream);
                // Without this bound the kernel's buffer becomes the queue that a shard does not have: a client that
                // stopped reading would not count as blocked for megabytes.
                options.set_tcp_notsent_lowat(limits.unsent.min(u32::MAX as usize) as u32)?;
                options.set_tcp_user_timeout(Some(limits.user_timeout))
            }
            Socket::Unix(stream) => SockRef::from(stream).set_send_buffer_size(limits.unsent),
        }
    }

    /// The address at the other end; none over a Unix socket.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok().map(|addr| addr.ip().to_canonical()),
            Socket::Unix(_) => None,
        }
    }

    /// Has the poll report readiness under a token, at each edge.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => registry.register(stream, token, interest),
            Socket::Unix(stream) => registry.register(stream, token, interest),
        }
    }

    /// Sends what the socket takes. The fifth of the five functions a line passes; allocates nothing.
    pub(super) fn send(&self, bytes: &[u8]) -> Sent {
        retry(|| match self {
            Socket::Tcp(stream) => (&mut &*stream).write(bytes),
            Socket::Unix(stream) => (&mut &*stream).write(bytes),
        })
    }

    /// Sends what the socket takes of several pieces, as one.
    pub(super) fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> Sent {
        retry(|| match self {
            Socket::Tcp(stream) => (&mut &*stream).write_vectored(pieces),
            Socket::Unix(stream) => (&mut &*stream).write_vectored(pieces),
        })
    }

    /// Reads what has arrived.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self {
                Socket::Tcp(stream) => (&mut &*stream).read(buffer),
                Socket::Unix(stream) => (&mut &*stream).read(buffer),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Bytes that the other side's system has acknowledged, ever. None where there are no acknowledgements.
    pub(super) fn acknowledged(&self) -> Option<u64> {
        // The structure up to `tcpi_bytes_acked`, which is its last field here (Linux 4.1).
        let mut info = [0_u64; 16];
        let Socket::Tcp(stream) = self else { return None };
        let known = option(stream.as_raw_fd(), (libc::IPPROTO_TCP, libc::TCP_INFO), &mut info)?;
        (known == size_of_val(&info)).then_some(info[15])
    }

    /// True if the process at the other end of a Unix socket has read everything. False over TCP, which does not know.
    pub(super) fn is_all_read(&self) -> bool {
        self.unread() == Some(0)
    }

    /// A figure that changes when the other side takes something: bytes that its system has acknowledged, or memory of what
    /// its process has not read.
    pub(super) fn taken(&self) -> u64 {
        self.acknowledged().or_else(|| self.unread().map(u64::from)).unwrap_or(0)
    }

    /// Memory of what was sent over a Unix socket and is not read.
    fn unread(&self) -> Option<u32> {
        // Pairs of figures; the third one is this (`SK_MEMINFO_WMEM_ALLOC`).
        let mut info = [u64::MAX; 2];
        let Socket::Unix(stream) = self else { return None };
        option(stream.as_raw_fd(), (libc::SOL_SOCKET, libc::SO_MEMINFO), &mut info)?;
        let [a, b, c, d, ..] = info[1].to_ne_bytes();
        Some(u32::from_ne_bytes([a, b, c, d]))
    }

    /// Tells the other side that nothing more will come.
    pub(super) fn finish(&self) {
        // An error means that the connection is gone already, which reading will find.
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        };
    }
}

/// Reads an option of an open socket into plain numbers, as far as they have room for it. Returns how many bytes it has.
fn option(socket: RawFd, (level, name): (i32, i32), value: &mut [u64]) -> Option<usize> {
    let mut len = size_of_val(value) as libc::socklen_t;
    // SAFETY: the kernel writes `len` bytes to `value` at the most, which are as many, and any bytes are numbers. It
    // refuses a descriptor that is no socket.
    #[expect(
        unsafe_code,
        reason = "no safe form of it is known; without it a slow client cannot be told from a dead one"
    )]
    let result = unsafe { libc::getsockopt(socket, level, name, value.as_mut_ptr().cast(), &raw mut len) };
    (result == 0).then_some(len as usize)
}

fn retry(mut send: impl FnMut() -> io::Result<usize>) -> Sent {
    loop {
        match send() {
            Ok(sent) => return Sent::Bytes(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Bytes(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Sent::Gone,
        }
    }
}
