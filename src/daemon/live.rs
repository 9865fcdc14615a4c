//! What a reload changes, and in which order.

use super::fitted::Fitted;
use super::inherited::Places;
use super::{Addrs, add_stdin, prepare};
use crate::addresses::{AddressFile, Addresses};
use crate::config::{Config, Dirs};
use crate::handshake::{self, FrontConfig, FrontState};
use crate::http::State;
use crate::ingest;
use crate::limits::ClientCounter;
use crate::listen::{BindError, LAST_CONNECTIONS};
use crate::log;
use crate::room::{Generation, Rooms};
use crate::shard::Shards;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The parts of a running daemon that follow the configuration.
pub(super) struct Live {
    /// As it was read; standard input is not in it.
    pub(super) config: Config,
    pub(super) dirs: Dirs,
    /// How the configuration in force was fitted to the descriptor limit.
    pub(super) fitted: Fitted,
    pub(super) counter: Arc<ClientCounter>,
    pub(super) stdin: bool,
    /// Where systemd's sockets listen.
    pub(super) places: Places,
    /// The file that tells tools the daemon's addresses.
    pub(super) addresses: AddressFile,
    /// Answers over HTTP name them too.
    pub(super) state: Arc<State>,
    pub(super) log: log::Handle,
    pub(super) rooms: Arc<Rooms>,
    pub(super) shards: Arc<Shards>,
    /// The clients' and the operators'.
    pub(super) fronts: [Arc<FrontState>; 2],
    pub(super) clients: handshake::Control,
    pub(super) admins: handshake::Control,
    pub(super) ingest: ingest::Control,
    /// When a configuration was put in force last.
    pub(super) applied: Option<Instant>,
}

/// How long a change waits for listeners to close after their removal, while one is open: they accept whoever has connected
/// before, and a busy machine may stop their threads.
const CLOSING: Duration = Duration::from_secs(30);

/// A change that is ready to be made: what is new is bound.
pub(super) struct Planned {
    read: Config,
    config: Arc<Config>,
    /// The configuration with limits that descriptors allow.
    fitted: (Fitted, Arc<Config>),
    clients: handshake::Planned,
    admins: handshake::Planned,
    ingest: ingest::Planned,
}

impl Live {
    /// Binds what another configuration has anew, or says everything that cannot be bound. Nothing has changed yet: what
    /// was bound is closed again with the plan. Waits for a moment where listeners that have just been removed may be in the way.
    pub(super) fn plan(&self, read: &Config) -> Result<Planned, Vec<BindError>> {
        loop {
            let waits = self.is_closing() && self.applied.is_some_and(|applied| applied.elapsed() < CLOSING);
            match self.try_plan(read.clone()) {
                Err(_) if waits => std::thread::sleep(LAST_CONNECTIONS),
                planned => return planned,
            }
        }
    }

    /// True while a removed listener is open.
    fn is_closing(&self) -> bool {
        self.clients.is_closing() || self.admins.is_closing() || self.ingest.is_closing()
    }

    fn try_plan(&self, read: Config) -> Result<Planned, Vec<BindError>> {
        let mut config = read.clone();
        self.places.put_into(&mut config);
        if self.stdin {
            add_stdin(&mut config);
        }
        let fitted = Fitted::fit(&config);
        let mut errors = prepare(&config, &self.dirs);
        let clients = self.clients.plan("server", &config.server.listen);
        let admins = self.admins.plan("admin", &config.admin.listen);
        let ingest = self.ingest.plan(&config);
        match (clients, admins, ingest) {
            (Ok(clients), Ok(admins), Ok(ingest)) if errors.is_empty() => {
                Ok(Planned { read, config: Arc::new(config), fitted, clients, admins, ingest })
            }
            (clients, admins, ingest) => {
                errors.extend(clients.err().into_iter().flatten());
                errors.extend(admins.err().into_iter().flatten());
                errors.extend(ingest.err().into_iter().flatten());
                Err(errors)
            }
        }
    }

    /// Makes a planned change. Rooms first, since what comes through a new listener is routed by them; limits and listeners
    /// after.
    pub(super) fn apply(&mut self, planned: Planned) {
        let Planned { read, config, fitted, clients, admins, ingest } = planned;
        self.rooms.reconfigure(Generation::new(Arc::clone(&config), &ingest.slots));
        let (fitted, lowered) = fitted;
        fitted.put_in_force(&self.counter, self.rooms.metrics(), Some(&self.fitted));
        self.fitted = fitted;
        self.ingest.apply(&lowered, ingest);
        for front in &self.fronts {
            front.set_config(FrontConfig::of(&lowered));
        }
        self.clients.apply(clients);
        self.admins.apply(admins);
        self.shards.reconfigure();
        self.log.set_level(config.log.level);
        self.config = read;
        self.applied = Some(Instant::now());
        let addrs =
            Addrs { clients: self.clients.addrs(), admin: self.admins.addrs(), ingest: self.ingest.addrs() };
        let addresses = Addresses::from(addrs);
        self.addresses.leave(&addresses);
        self.state.addresses.store(Arc::new(addresses));
    }
}
