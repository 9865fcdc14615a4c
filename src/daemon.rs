//! The daemon: everything bound, wired, run and drained. The only place that sees every part.
//!
//! [`Daemon::bind`] and then [`Daemon::run`] is all that a test or an embedding program needs.

use crate::config::{Ack, Config, Dirs, IngestAddr, IngestListenConfig, WhenFull};
use crate::handshake::{Front, FrontConfig, FrontState};
use crate::http::{Pages, State};
use crate::ingest::{Drained, Ingest, Running, Wiring};
use crate::limits::ClientCounter;
use crate::listen::{BindError, BoundAddr, Listener};
use crate::metrics::Metrics;
use crate::origin;
use crate::room::Rooms;
use crate::shard::{ShardPolls, ShardThreads, Shards};
use crate::shutdown::{Shutdown, Trigger, pair};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Everything bound, nothing running.
pub struct Daemon {
    config: Config,
    clients: Vec<Listener>,
    admins: Vec<Listener>,
    ingest: Ingest,
}

/// Where the daemon listens, with real ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addrs {
    /// For clients.
    pub clients: Vec<BoundAddr>,
    /// For operators.
    pub admin: Vec<BoundAddr>,
    /// For producers; standard input has none.
    pub ingest: Vec<BoundAddr>,
}

/// How stopping went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// What producers had not finished.
    pub ingest: Drained,
    /// Clients that were closed with something undelivered.
    pub clients_unfinished: usize,
}

impl Daemon {
    /// Binds every listener, or says everything that cannot be bound. `stdin` adds standard input as a producer.
    pub fn bind(mut config: Config, dirs: &Dirs, stdin: bool) -> Result<Daemon, Vec<BindError>> {
        if stdin {
            config.ingest.listen.push(stdin_listener());
        }
        let mut errors = prepare(&config, dirs);
        let mut bind = |section: &str, addrs: &[crate::config::ListenAddr]| {
            let mut listeners = Vec::new();
            for (index, addr) in addrs.iter().enumerate() {
                match Listener::bind(&format!("{section}.listen[{index}]"), addr) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => errors.push(error),
                }
            }
            listeners
        };
        let clients = bind("server", &config.server.listen);
        let admins = bind("admin", &config.admin.listen);
        match Ingest::bind(&config.ingest) {
            Ok(ingest) if errors.is_empty() => Ok(Daemon { config, clients, admins, ingest }),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// Where it listens.
    pub fn addrs(&self) -> Addrs {
        let addrs = |listeners: &[Listener]| listeners.iter().map(Listener::addr).collect();
        Addrs {
            clients: addrs(&self.clients),
            admin: addrs(&self.admins),
            ingest: self.ingest.addrs().into_iter().flatten().collect(),
        }
    }

    /// Runs until `shutdown` begins, then stops within `server.drain_timeout`: accepting ends, producers are read to
    /// their end for half of that time, buffers are flushed, clients get what there is and are closed.
    /// Blocks; starts threads of its own and waits for each of them.
    pub fn run(self, mut shutdown: Shutdown) -> io::Result<Ended> {
        let drain_timeout = self.config.server.drain_timeout;
        let parts = Parts::start(self)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(shutdown.begun());
        Ok(parts.stop(drain_timeout))
    }
}

/// What runs.
struct Parts {
    shards: Arc<Shards>,
    shard_threads: ShardThreads,
    rooms: Arc<Rooms>,
    clock: JoinHandle<()>,
    fronts: Vec<JoinHandle<()>>,
    /// Ends accepting clients and producers.
    accepting: Trigger,
    ingest: Running,
    /// Ends the operators' listener, last.
    admin: Trigger,
}

impl Parts {
    fn start(daemon: Daemon) -> io::Result<Parts> {
        let Daemon { config, clients, admins, ingest } = daemon;
        let metrics = Arc::new(Metrics::new());
        let polls = ShardPolls::new(config.server.shards)?;
        let rooms = Rooms::new(&config, polls.bells(), Arc::clone(&metrics));
        let (shards, shard_threads) = Shards::spawn(polls, &rooms, &config.server, &metrics)?;
        let clock_rooms = Arc::clone(&rooms);
        let clock =
            std::thread::Builder::new().name("clock".to_owned()).spawn(move || clock_rooms.run_clock())?;
        let (accepting, accepting_ends) = pair();
        let (admin, admin_ends) = pair();
        let counter = ClientCounter::new();
        let front_config = FrontConfig { server: config.server.clone(), limits: config.limits.clone() };
        let state = FrontState::new(front_config, Arc::clone(&counter), Arc::clone(&metrics));
        let page_state = Arc::new(State {
            started: Instant::now(),
            metrics: Arc::clone(&metrics),
            clients: counter,
            shutdown: accepting_ends.clone(),
            rooms: config.rooms.iter().map(|room| room.name.source().to_owned()).collect(),
        });
        let for_clients = Pages::for_clients(Arc::clone(&page_state), &config.server.expose);
        let for_admins = Pages::for_admins(page_state);
        let fronts = vec![
            spawn_front("front", clients, &state, for_clients, &shards, accepting_ends.clone())?,
            spawn_front("admin", admins, &state, for_admins, &shards, admin_ends)?,
        ];
        let patterns = config.server.allowed_origins.clone();
        let hosts = config.ingest.hosts.clone();
        let ingest = ingest.spawn(&Wiring {
            rooms: Arc::clone(&rooms),
            metrics,
            shutdown: accepting_ends,
            patience: config.server.drain_timeout / 2,
            origin_rule: Arc::new(move |page: &str| origin::is_allowed(page, &patterns)),
            hosts,
        })?;
        Ok(Parts { shards, shard_threads, rooms, clock, fronts, accepting, ingest, admin })
    }

    fn stop(self, drain_timeout: Duration) -> Ended {
        let deadline = Instant::now() + drain_timeout;
        self.accepting.fire();
        let ingest = self.ingest.join();
        self.rooms.flush_all();
        self.shards.drain(deadline);
        let clients_unfinished = self.shard_threads.join();
        self.rooms.stop_clock();
        self.admin.fire();
        for thread in self.fronts.into_iter().chain([self.clock]) {
            if thread.join().is_err() {
                tracing::error!("a thread has panicked");
            }
        }
        Ended { ingest, clients_unfinished }
    }
}

/// A thread for handshakes and pages: one for clients, and one for operators, who get answers under overload as well.
fn spawn_front(
    name: &str,
    listeners: Vec<Listener>,
    state: &Arc<FrontState>,
    pages: Pages,
    shards: &Arc<Shards>,
    shutdown: Shutdown,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shards = Arc::clone(shards);
    let front = Front::new(
        Arc::clone(state),
        move |parts: &hyper::http::request::Parts| pages.respond(parts),
        move |client| shards.adopt(client),
    );
    let serve = async move {
        let served = listeners.iter().map(|listener| front.run(listener, shutdown.clone()));
        let mut tasks: Vec<_> = served.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
            if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(serve))
}

/// Makes the runtime directory if a socket lies there.
fn prepare(config: &Config, dirs: &Dirs) -> Vec<BindError> {
    let within = |path: &std::path::Path| path.starts_with(&dirs.runtime);
    let unix = |addr: &crate::config::ListenAddr| matches!(addr, crate::config::ListenAddr::Unix(addr) if within(&addr.path));
    let ingest = |listener: &IngestListenConfig| match &listener.addr {
        IngestAddr::Unix(addr) | IngestAddr::Fifo(addr) => within(&addr.path),
        IngestAddr::Tcp(_) | IngestAddr::Stdin => false,
    };
    let needed = config.server.listen.iter().chain(&config.admin.listen).any(unix)
        || config.ingest.listen.iter().any(ingest);
    if !needed {
        return Vec::new();
    }
    match dirs.prepare_runtime(nix::unistd::getuid().as_raw()) {
        Ok(()) => Vec::new(),
        Err(error) => vec![BindError {
            key: "runtime directory".to_owned(),
            message: format!("cannot use {} for sockets: {error}", dirs.runtime.display()),
            hint: Some("set XDG_RUNTIME_DIR, or give sockets absolute paths".to_owned()),
        }],
    }
}

fn stdin_listener() -> IngestListenConfig {
    IngestListenConfig {
        addr: IngestAddr::Stdin,
        ack: Ack::None,
        when_full: WhenFull::Wait,
        type_field: "type".to_owned(),
        add_timestamp: true,
    }
}
