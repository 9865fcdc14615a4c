//! The daemon: everything bound, wired, run and drained. The only place that sees every part.
//!
//! [`Daemon::bind`] and then [`Daemon::run`] is all that a test or an embedding program needs.

mod fitted;
mod inherited;
mod kept;
mod live;
mod reloader;
mod vitals;

pub use reloader::Origin;

use crate::addresses::{AddressFile, Addresses};
use crate::alert::Alerts;
use crate::config::{Ack, Config, Dirs, IngestAddr, IngestListenConfig, Loaded};
use crate::handshake::{Arrival, Control, Front, FrontConfig, FrontState, NewListener};
use crate::http::{self, Pages, State};
use crate::ingest::{Drained, Ingest, Running, Wiring};
use crate::limits::ClientCounter;
use crate::listen::{BindError, BoundAddr, Listener};
use crate::liveness::Sign;
use crate::log;
use crate::metrics::Metrics;
use crate::reload::{self, Handle};
use crate::room::Rooms;
use crate::route;
use crate::shard::{ShardPolls, ShardThreads, Shards};
use crate::shutdown::{Shutdown, Trigger, pair};
use crate::sources;
use crate::systemd::Sockets;
use crate::watch::Watcher;
use fitted::Fitted;
use inherited::{Inherited, Places};
use kept::KeptFile;
use live::Live;
use reloader::Reloader;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vitals::Vitals;

/// Everything bound, nothing running.
pub struct Daemon {
    /// As it was read.
    read: Config,
    /// With standard input, if that is a producer.
    config: Arc<Config>,
    /// The same with limits that descriptors allow.
    fitted: (Fitted, Arc<Config>),
    stdin: bool,
    /// Where systemd's sockets listen.
    places: Places,
    /// The file that it was read from, and what was in it.
    text: reloader::Text,
    origin: Origin,
    log: log::Handle,
    reload: (Handle, reload::Requests),
    kept: KeptFile,
    addresses: AddressFile,
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

impl From<Addrs> for Addresses {
    fn from(addrs: Addrs) -> Addresses {
        let shown = |addrs: Vec<BoundAddr>| addrs.iter().map(ToString::to_string).collect();
        Addresses { clients: shown(addrs.clients), admin: shown(addrs.admin), ingest: shown(addrs.ingest) }
    }
}

impl Daemon {
    /// Binds every listener of a configuration that came from `origin`, or says everything that cannot be bound. `stdin`
    /// adds standard input as a producer.
    /// `sockets` are bound already, by systemd, and take the place of what the configuration says.
    pub fn bind(
        loaded: Loaded,
        origin: Origin,
        stdin: bool,
        sockets: Sockets,
        log: log::Handle,
    ) -> Result<Daemon, Vec<BindError>> {
        let Loaded { config: read, path, text, dirs, .. } = loaded;
        let inherited = Inherited::take(sockets)?;
        let places = inherited.places();
        let mut config = read.clone();
        places.put_into(&mut config);
        if stdin {
            add_stdin(&mut config);
        }
        let fitted = Fitted::fit(&config);
        let config = Arc::new(config);
        let mut errors = prepare(&config, &dirs);
        let mut bind = |section: &str, addrs: &[crate::config::ListenAddr], inherited: Vec<Listener>| {
            if !inherited.is_empty() {
                return inherited;
            }
            let mut listeners = Vec::new();
            for (index, addr) in addrs.iter().enumerate() {
                match Listener::bind(&format!("{section}.listen[{index}]"), addr) {
                    Ok(listener) => listeners.push(listener),
                    Err(error) => errors.push(error),
                }
            }
            listeners
        };
        let clients = bind("server", &config.server.listen, inherited.clients);
        let admins = bind("admin", &config.admin.listen, inherited.admin);
        match Ingest::bind(&fitted.1, inherited.ingest) {
            Ok(ingest) if errors.is_empty() => {
                let addresses = AddressFile::new(&dirs, path.as_deref());
                let kept = KeptFile::new(dirs, path.as_deref());
                let (reload, text) = (reload::pair(), (path, text));
                let mut daemon = Daemon {
                    read,
                    config,
                    fitted,
                    stdin,
                    places,
                    text,
                    origin,
                    log,
                    reload,
                    kept,
                    addresses,
                    clients,
                    admins,
                    ingest,
                };
                let addrs = daemon.addrs();
                daemon.addresses.leave(&addrs.into());
                Ok(daemon)
            }
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// The way to reload its configuration.
    pub fn reload_handle(&self) -> Handle {
        self.reload.0.clone()
    }

    /// A command that sends it an event, if its configuration takes one that is known.
    pub fn send_command(&self) -> Option<String> {
        let listener = self.config.ingest.listen.first()?;
        let sample = route::sample(&self.config, listener)?;
        http::send_command(&self.config, &Addresses::from(self.addrs()).ingest, &sample)
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
    /// their end for half of that time, buffers are flushed, clients get what there is and are closed, rooms are kept for
    /// the next process (`server.keep_on_restart`).
    /// Blocks; starts threads of its own and waits for each of them.
    pub fn run(self, mut shutdown: Shutdown) -> io::Result<Ended> {
        let parts = Parts::start(self)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(shutdown.begun());
        Ok(parts.stop())
    }
}

/// What runs.
struct Parts {
    shards: Arc<Shards>,
    shard_threads: ShardThreads,
    rooms: Arc<Rooms>,
    threads: Vec<JoinHandle<()>>,
    /// Ends accepting clients and producers.
    accepting: Trigger,
    ingest: Running,
    /// Ends the operators' listener, last.
    admin: Trigger,
    /// What a reload changes. Taken away when stopping begins.
    live: Arc<Mutex<Option<Live>>>,
    reload: Handle,
    alerts: Alerts,
    kept: KeptFile,
}

impl Parts {
    fn start(daemon: Daemon) -> io::Result<Parts> {
        let metrics = figures(&daemon);
        let addrs = daemon.addrs();
        let Daemon { config, mut kept, .. } = daemon;
        let (reload, requests) = daemon.reload;
        let polls = ShardPolls::new(config.server.shards)?;
        let (rooms, beside) = kept.begin(&config, &polls.bells(), &metrics)?;
        let (alerts, said) = sources::alerts(&metrics);
        let (shards, shard_threads) = Shards::spawn(polls, &rooms, &metrics, &alerts)?;
        shards.remember(&beside);
        let clock = Arc::clone(&rooms);
        let mut threads = vec![spawn("clock", move || clock.run_clock())?];
        threads.push(sources::spawn(Arc::clone(&rooms), Arc::clone(&metrics), said)?);
        let (accepting, accepting_ends) = pair();
        let (admin, admin_ends) = pair();
        let counter = ClientCounter::new();
        let (fitted, lowered) = daemon.fitted;
        fitted.put_in_force(&counter, &metrics, None);
        let fronts = fronts(&lowered, &counter, &rooms);
        let state = State::new(&rooms, &shards, &counter, &metrics, reload.clone(), accepting_ends.clone());
        state.addresses.store(Arc::new(addrs.into()));
        threads.extend(vitals(&state).spawn(admin_ends.clone())?);
        let (clients, new_clients) = Control::start(&config.server.listen, daemon.clients)?;
        let (admins, new_admins) = Control::start(&config.admin.listen, daemon.admins)?;
        let for_clients = Pages::for_clients(Arc::clone(&state));
        let for_admins = Pages::for_admins(Arc::clone(&state));
        let ends = accepting_ends.clone();
        let (front, operators) = (metrics.liveness.thread("front"), metrics.liveness.thread("admin"));
        threads.push(spawn_front(front, new_clients, &fronts[0], for_clients, &shards, ends)?);
        threads.push(spawn_front(operators, new_admins, &fronts[1], for_admins, &shards, admin_ends)?);
        let (ingest, producers) = daemon.ingest.spawn(&Wiring {
            rooms: Arc::clone(&rooms),
            metrics: Arc::clone(&metrics),
            rejected: Arc::clone(&state.rejected),
            shutdown: accepting_ends,
            patience: config.server.drain_timeout / 2,
        })?;
        let live = Live {
            config: daemon.read,
            dirs: daemon.origin.dirs.clone(),
            fitted,
            counter,
            stdin: daemon.stdin,
            places: daemon.places,
            addresses: daemon.addresses,
            state,
            log: daemon.log,
            rooms: Arc::clone(&rooms),
            shards: Arc::clone(&shards),
            fronts,
            clients,
            admins,
            ingest: producers,
            applied: None,
        };
        let live = Arc::new(Mutex::new(Some(live)));
        let origin = (daemon.origin, daemon.text);
        threads.push(spawn_reloader(origin, &live, (metrics, &alerts), (&reload, requests))?);
        Ok(Parts {
            shards,
            shard_threads,
            rooms,
            threads,
            accepting,
            ingest,
            admin,
            live,
            reload,
            alerts,
            kept,
        })
    }

    /// The time that stopping may take is the one of the configuration in force.
    fn stop(mut self) -> Ended {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).take();
        let server = self.rooms.generation().config.server.clone();
        let deadline = Instant::now() + server.drain_timeout;
        self.accepting.fire();
        // With its holds of the listeners' sockets, but for the operators', who are answered to the end.
        let operators = live.map(|live| live.admins);
        self.reload.stop();
        self.alerts.stop();
        let ingest = self.ingest.join();
        self.rooms.flush_all();
        let reserved = if server.keep_on_restart {
            KeptFile::reserve(server.drain_timeout, self.rooms.totals().history_bytes())
        } else {
            Duration::ZERO
        };
        self.shards.drain(deadline.checked_sub(reserved).unwrap_or(deadline));
        let clients_unfinished = self.shard_threads.join();
        self.rooms.stop_clock();
        self.admin.fire();
        drop(operators);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread has panicked");
            }
        }
        // Nobody is left who could publish: offsets that are written are the last ones of this process.
        if server.keep_on_restart {
            self.kept.write(&self.rooms, &self.shards.remembered(), deadline);
        }
        Ended { ingest, clients_unfinished }
    }
}

/// The figures of a daemon that starts.
fn figures(daemon: &Daemon) -> Arc<Metrics> {
    let metrics = Metrics::new();
    metrics.show_log(daemon.log.clone());
    reloader::note_start(&metrics, &daemon.read);
    Arc::new(metrics)
}

/// What is said to systemd of a daemon.
fn vitals(state: &State) -> Vitals {
    Vitals {
        stopping: state.shutdown.clone(),
        metrics: Arc::clone(&state.metrics),
        clients: Arc::clone(&state.clients),
        rooms: Arc::clone(&state.rooms),
        reloads: Arc::clone(state.reload.recent()),
    }
}

/// The state of the clients' front and of the operators'. Each has its own bound on handshakes: operators are answered while
/// clients storm.
fn fronts(config: &Config, counter: &Arc<ClientCounter>, rooms: &Arc<Rooms>) -> [Arc<FrontState>; 2] {
    let config = FrontConfig::of(config);
    [config.clone(), config].map(|config| {
        let (metrics, rooms) = (Arc::clone(rooms.metrics()), Arc::clone(rooms));
        let names = move |name: &str| {
            let generation = rooms.generation();
            let room = generation.policy(name);
            room.map(|_| ()).ok_or_else(|| generation.nearest(name))
        };
        FrontState::new(config, Arc::clone(counter), metrics, Box::new(names))
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// The thread that reloads, with the watch of the file that it follows.
fn spawn_reloader(
    (origin, seen): (Origin, reloader::Text),
    live: &Arc<Mutex<Option<Live>>>,
    (metrics, alerts): (Arc<Metrics>, &Alerts),
    (reload, requests): (&Handle, reload::Requests),
) -> io::Result<JoinHandle<()>> {
    let watcher = seen.0.as_deref().and_then(|path| watch(path, reload.clone()));
    let sign = metrics.liveness.thread("reload");
    let reloader = Reloader {
        origin,
        live: Arc::clone(live),
        metrics,
        alerts: alerts.clone(),
        recent: Arc::clone(reload.recent()),
        watcher,
        file: seen.0,
        seen: Ok(seen.1),
        recheck: Instant::now(),
        empty_since: None,
        waiting: VecDeque::new(),
        reads: 0,
        sign,
        hangs: false,
    };
    spawn("reload", move || reloader.run(&requests))
}

/// Watches the configuration's file. Without a watch it is looked at from time to time.
fn watch(path: &std::path::Path, reload: Handle) -> Option<Watcher> {
    Watcher::start(path, move |settled| reload.changed(settled))
        .inspect_err(
            |error| tracing::warn!(%error, "the configuration cannot be watched: reload with SIGHUP"),
        )
        .ok()
}

/// A thread for handshakes and pages: one for clients, and one for operators, who get answers under overload as well.
fn spawn_front(
    sign: Sign,
    mut listeners: tokio::sync::mpsc::Receiver<NewListener>,
    state: &Arc<FrontState>,
    pages: Pages,
    shards: &Arc<Shards>,
    mut shutdown: Shutdown,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (state, shards) = (Arc::clone(state), Arc::clone(shards));
    let serve = async move {
        let mut running = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(new) = listeners.recv() => {
                    let (pages, shards) = (pages.clone(), Arc::clone(&shards));
                    let front = Front::new(
                        Arc::clone(&state),
                        move |asked| pages.respond(asked),
                        move |arrival| match arrival {
                            Arrival::Client(client) => shards.adopt(client),
                            Arrival::Upgraded(shard, upgraded) => {
                                shards.upgrade(shard, upgraded);
                                shard
                            }
                        },
                    );
                    running.spawn(front.run(new, shutdown.clone()));
                }
                () = shutdown.begun() => break,
                Some(_) = running.join_next(), if !running.is_empty() => {}
            }
        }
        while running.join_next().await.is_some() {}
    };
    let name = sign.name().to_owned();
    spawn(&name, move || runtime.block_on(sign.during(serve)))
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

/// Adds standard input to the producers.
fn add_stdin(config: &mut Config) {
    config.ingest.listen.push(IngestListenConfig { ack: Ack::None, ..IngestListenConfig::default() });
}
