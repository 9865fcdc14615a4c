//! Sockets that systemd has bound, in the place of what the configuration says of them.

use crate::config::{Config, IngestAddr, IngestListenConfig, ListenAddr, UnixAddr};
use crate::listen::{BindError, BoundAddr, Listener};
use crate::systemd::{Socket, Sockets};

/// Sockets that were passed to the daemon, as listeners.
#[derive(Default)]
pub(super) struct Inherited {
    pub(super) clients: Vec<Listener>,
    pub(super) admin: Vec<Listener>,
    pub(super) ingest: Vec<Listener>,
}

/// Where they listen: what a configuration is made to say while they are in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    clients: Vec<BoundAddr>,
    admin: Vec<BoundAddr>,
    ingest: Vec<BoundAddr>,
}

impl Inherited {
    pub(super) fn take(sockets: Sockets) -> Result<Inherited, Vec<BindError>> {
        let mut errors = Vec::new();
        let mut listeners = |name: &str, sockets: Vec<Socket>| -> Vec<Listener> {
            let inherit = |socket| {
                Listener::inherit(socket).map_err(|error| errors.push(BindError::other(name, &error))).ok()
            };
            sockets.into_iter().filter_map(inherit).collect()
        };
        let inherited = Inherited {
            clients: listeners("systemd's socket clients", sockets.clients),
            admin: listeners("systemd's socket admin", sockets.admin),
            ingest: listeners("systemd's socket ingest", sockets.ingest),
        };
        if errors.is_empty() { Ok(inherited) } else { Err(errors) }
    }

    pub(super) fn places(&self) -> Places {
        let addrs = |list: &[Listener]| list.iter().map(Listener::addr).collect();
        Places { clients: addrs(&self.clients), admin: addrs(&self.admin), ingest: addrs(&self.ingest) }
    }
}

impl Places {
    /// Puts the sockets in the place of what a configuration says. Of ingest, only stream sockets are replaced; what it says
    /// of one at the same place (`ack`, `type_field` …) holds for the socket.
    pub(super) fn put_into(&self, config: &mut Config) {
        let plain = |addr: &BoundAddr| match addr {
            BoundAddr::Tcp(addr) => ListenAddr::Tcp(*addr),
            BoundAddr::Unix(path) => {
                ListenAddr::Unix(UnixAddr { path: path.clone(), mode: 0o660, group: None })
            }
        };
        if !self.clients.is_empty() {
            config.server.listen = self.clients.iter().map(plain).collect();
        }
        if !self.admin.is_empty() {
            config.admin.listen = self.admin.iter().map(plain).collect();
        }
        if self.ingest.is_empty() {
            return;
        }
        let written = std::mem::take(&mut config.ingest.listen);
        for addr in &self.ingest {
            let same = written.iter().find(|listener| is_at(listener, addr)).cloned();
            let mut listener = same.unwrap_or_else(IngestListenConfig::default);
            listener.addr = match plain(addr) {
                ListenAddr::Tcp(addr) => IngestAddr::Tcp(addr),
                ListenAddr::Unix(addr) => IngestAddr::Unix(addr),
            };
            config.ingest.listen.push(listener);
        }
        let others = written.into_iter();
        config.ingest.listen.extend(
            others.filter(|listener| matches!(listener.addr, IngestAddr::Fifo(_) | IngestAddr::Stdin)),
        );
    }

    /// Keys whose sockets are systemd's, and which a reload therefore cannot change.
    pub(super) fn fixed(&self) -> Vec<&'static str> {
        let keys = [
            ("server.listen", &self.clients),
            ("admin.listen", &self.admin),
            ("ingest.listen", &self.ingest),
        ];
        keys.into_iter().filter(|(_, list)| !list.is_empty()).map(|(key, _)| key).collect()
    }
}

fn is_at(listener: &IngestListenConfig, addr: &BoundAddr) -> bool {
    match (&listener.addr, addr) {
        (IngestAddr::Tcp(configured), BoundAddr::Tcp(bound)) => configured == bound,
        (IngestAddr::Unix(configured), BoundAddr::Unix(bound)) => configured.path == *bound,
        _ => false,
    }
}
