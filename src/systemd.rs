//! What passes between systemd and the daemon: sockets that it has bound, and word of how the daemon is doing
//! (sd_listen_fds(3), sd_notify(3)). Without systemd nothing of this does anything.

use sd_notify::NotifyState;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

/// Sockets that systemd has bound, by the section of the configuration that `FileDescriptorName=` names.
#[derive(Debug, Default)]
pub struct Sockets {
    /// `clients`: in the place of `server.listen`.
    pub clients: Vec<Socket>,
    /// `admin`: in the place of `admin.listen`.
    pub admin: Vec<Socket>,
    /// `ingest`: in the place of the stream sockets of `ingest.listen`.
    pub ingest: Vec<Socket>,
}

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// A socket that cannot be used, and why.
pub type Unusable = String;

impl Sockets {
    /// Takes the sockets that were passed to this process. Call it once, before other threads look at the environment.
    pub fn take() -> Result<Sockets, Unusable> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = listenfd::ListenFd::from_env();
        let mut sockets = Sockets::default();
        for index in 0..passed.len() {
            let name = names.split(':').nth(index).unwrap_or_default();
            let list = match name {
                "clients" => &mut sockets.clients,
                "admin" => &mut sockets.admin,
                "ingest" => &mut sockets.ingest,
                _ => {
                    return Err(format!(
                        "systemd passed a socket called {name:?}: FileDescriptorName= must be clients, admin or ingest"
                    ));
                }
            };
            let socket = match passed.take_tcp_listener(index) {
                Ok(Some(listener)) => Some(Socket::Tcp(listener)),
                Ok(None) => None,
                Err(_) => passed
                    .take_unix_listener(index)
                    .map_err(|error| format!("systemd passed as {name:?} what is no stream socket: {error}"))?
                    .map(Socket::Unix),
            };
            list.extend(socket);
        }
        Ok(sockets)
    }
}

/// Tells systemd that the daemon serves, and what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd what `systemctl status` shows.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Tells systemd that a reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Tells systemd that the daemon stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: delivering what was accepted")]);
}

/// Tells systemd that all is well. Without it for the watchdog's time, systemd ends the daemon.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often systemd wants to hear that all is well, if it does.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Whether systemd listens at all.
pub fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn tell(state: &[NotifyState<'_>]) {
    // Whoever started the daemon may listen no more; that is no reason to fail.
    let _ = match std::env::var("NOTIFY_SOCKET") {
        Ok(path) if path.starts_with('@') => tell_abstract(&path[1..], state),
        _ => sd_notify::notify(state),
    };
}

/// Sends to a socket in the abstract namespace, as container managers give one. sd-notify knows paths alone.
fn tell_abstract(name: &str, state: &[NotifyState<'_>]) -> io::Result<()> {
    let message = state.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let address = SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}
