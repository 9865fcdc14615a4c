//! Where the running daemon is: as an argument says, or as its configuration does.

use super::out;
use super::serve::{load, origin};
use super::settings::Settings;
use crate::addresses::{AddressFile, Addresses};
use crate::config::{Config, IngestAddr, ListenAddr};
use crate::error::Exit;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// Which of the daemon's doors is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `server.listen`.
    Clients,
    /// `admin.listen`.
    Operators,
    /// `ingest.listen`.
    Producers,
}

/// An address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Where to connect.
    pub at: At,
    /// What stands in `Host`.
    pub host: String,
    /// The path that was given with it, without a slash at its end; empty if none was.
    pub path: String,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// `HOST:PORT`; a name is looked up.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Door {
    fn key(self) -> &'static str {
        match self {
            Door::Clients => "server.listen",
            Door::Operators => "admin.listen",
            Door::Producers => "ingest.listen",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Door::Clients => "--url",
            Door::Operators => "--admin",
            Door::Producers => "--to",
        }
    }

    /// The first address that can be connected to. A port of 0 is another one each time.
    fn of_config(self, config: &Config) -> Option<Endpoint> {
        let listeners: Vec<ListenAddr> = match self {
            Door::Clients => config.server.listen.clone(),
            Door::Operators => config.admin.listen.clone(),
            Door::Producers => config.ingest.listen.iter().filter_map(|it| stream(&it.addr)).collect(),
        };
        let known = |addr: &&ListenAddr| !matches!(addr, ListenAddr::Tcp(addr) if addr.port() == 0);
        listeners.iter().find(known).map(Endpoint::from)
    }

    /// The first address that can be connected to.
    fn of_addresses(self, addresses: &Addresses) -> Option<Endpoint> {
        let list = match self {
            Door::Clients => &addresses.clients,
            Door::Operators => &addresses.admin,
            Door::Producers => &addresses.ingest,
        };
        list.iter().find_map(|address| match address.parse() {
            Ok(address) => Some(Endpoint::from(&ListenAddr::Tcp(address))),
            Err(_) => Endpoint::parse(address).ok().filter(Endpoint::is_no_pipe),
        })
    }
}

fn stream(addr: &IngestAddr) -> Option<ListenAddr> {
    match addr {
        IngestAddr::Tcp(addr) => Some(ListenAddr::Tcp(*addr)),
        IngestAddr::Unix(addr) => Some(ListenAddr::Unix(addr.clone())),
        IngestAddr::Fifo(_) | IngestAddr::Stdin => None,
    }
}

/// Finds a door of the daemon: what is `given`, else where the daemon of this configuration says that it listens, else what the
/// configuration says. Reports what is wrong.
pub(super) fn find(door: Door, given: Option<&str>, settings: &Settings) -> Result<Endpoint, Exit> {
    if let Some(text) = given {
        return Endpoint::parse(text).map_err(|right| {
            out::error(format_args!("{} {text}: expected {right}", door.argument()), None);
            Exit::Usage
        });
    }
    if let Some(endpoint) = running(door, settings) {
        return Ok(endpoint);
    }
    let loaded = load(settings)?;
    door.of_config(&loaded.config).ok_or_else(|| {
        let file = loaded.path.map_or("the built-in configuration".into(), |path| path.display().to_string());
        let hint = format!("{} ADDRESS says where the daemon is", door.argument());
        out::error(format_args!("{} of {file} has no address to connect to", door.key()), Some(&hint));
        Exit::Unreachable
    })
}

/// A door of the daemon that runs with this configuration, as it says itself. Needs no valid file. None where `--set` gives
/// another address.
pub(super) fn running(door: Door, settings: &Settings) -> Option<Endpoint> {
    if settings.set.iter().any(|set| set.trim_start().starts_with(door.key())) {
        return None;
    }
    let origin = origin(settings);
    let addresses = AddressFile::read(&origin.dirs, origin.find().as_deref())?;
    door.of_addresses(&addresses)
}

impl Endpoint {
    /// Reads `HOST:PORT`, `unix:PATH` or a URL. The error says what would be right.
    pub(super) fn parse(text: &str) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let at = At::Unix(PathBuf::from(path));
            return Ok(Endpoint { at, host: "localhost".to_owned(), path: String::new() });
        }
        let rest = match text.split_once("://") {
            None => text,
            Some(("ws" | "http", rest)) => rest,
            Some((scheme, rest)) => {
                let plain = if scheme == "wss" { "ws" } else { "http" };
                return Err(format!("{plain}://{rest}: TLS is not spoken here"));
            }
        };
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ if text.contains("://") => (host, "80"),
            _ => return Err("HOST:PORT, unix:PATH or a URL".to_owned()),
        };
        if name.is_empty() || port.parse::<u16>().is_err() || host.contains(['@', '?', '#', ' ']) {
            return Err("HOST:PORT, unix:PATH or a URL".to_owned());
        }
        Ok(Endpoint {
            at: At::Tcp(format!("{name}:{port}")),
            host: host.to_owned(),
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// True if it is no named pipe, which lies among the addresses of producers as sockets do.
    fn is_no_pipe(&self) -> bool {
        let At::Unix(path) = &self.at else { return true };
        std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
    }

    /// The path that was given, or another if none was.
    pub(super) fn path_or(&self, path: &str) -> String {
        if self.path.is_empty() { path.to_owned() } else { self.path.clone() }
    }
}

impl From<&ListenAddr> for Endpoint {
    fn from(addr: &ListenAddr) -> Endpoint {
        let (at, host) = match addr {
            ListenAddr::Tcp(addr) => (At::Tcp(reachable(*addr).to_string()), reachable(*addr).to_string()),
            ListenAddr::Unix(addr) => (At::Unix(addr.path.clone()), "localhost".to_owned()),
        };
        Endpoint { at, host, path: String::new() }
    }
}

/// What listens on every address is reached at this machine's own.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() });
    }
    addr
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Tcp(addr) => write!(f, "{addr}{}", self.path),
            At::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[track_caller]
    fn check(text: &str, at: &str, host: &str, path: &str) {
        let found = Endpoint::parse(text).unwrap();
        assert_eq!((found.at, &*found.host, &*found.path), (At::Tcp(at.to_owned()), host, path), "{text}");
    }

    #[test]
    fn addresses_and_urls() {
        check("127.0.0.1:9999", "127.0.0.1:9999", "127.0.0.1:9999", "");
        check("[::1]:9999", "[::1]:9999", "[::1]:9999", "");
        check("events.example.org:80", "events.example.org:80", "events.example.org:80", "");
        check("ws://events.example.org/", "events.example.org:80", "events.example.org", "");
        check("ws://[::1]/a/ws", "[::1]:80", "[::1]", "/a/ws");
        check("http://localhost:9997", "localhost:9997", "localhost:9997", "");
        let unix = Endpoint::parse("unix:/run/x.sock").unwrap();
        assert_eq!((unix.at, &*unix.host), (At::Unix("/run/x.sock".into()), "localhost"));
        for text in ["", "localhost", ":9999", "localhost:99999", "ws://", "a b:1", "ws://u@h:1", "ftp://x"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        assert_eq!(Endpoint::parse("wss://x/ws").unwrap_err(), "ws://x/ws: TLS is not spoken here");
    }

    #[test]
    fn doors_of_a_configuration() {
        let mut config = Config::built_in(Path::new("/run/broadcastd"));
        let at = |door: Door, config: &Config| door.of_config(config).map(|found| found.to_string());
        assert_eq!(at(Door::Clients, &config).as_deref(), Some("127.0.0.1:9999"));
        assert_eq!(at(Door::Producers, &config).as_deref(), Some("127.0.0.1:9998"));
        config.server.listen =
            vec![ListenAddr::Tcp(([0, 0, 0, 0], 0).into()), ListenAddr::Tcp(([0, 0, 0, 0], 7).into())];
        assert_eq!(at(Door::Clients, &config).as_deref(), Some("127.0.0.1:7"));
        config.ingest.listen.remove(0);
        assert_eq!(at(Door::Producers, &config).as_deref(), Some("unix:/run/broadcastd/ingest.sock"));
        config.admin.listen.clear();
        assert_eq!(at(Door::Operators, &config), None);
    }
}
