//! Changing what ingest listens on, and its settings, while producers are connected.

use super::shared::{Settings, Slot};
use super::thread::{NewSource, Start};
use super::{Running, Source, Wiring, thread};
use crate::config::{Config, IngestAddr, IngestListenConfig};
use crate::listen::{BindError, BoundAddr, Handle, Rights};
use crate::metrics::Metrics;
use crate::shutdown::{Trigger, pair};
use arc_swap::ArcSwap;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Sources on their way to the first thread.
const NEW_SOURCES: usize = 64;

/// The way to change ingest at work. Not shared: whoever reloads has it.
pub struct Control {
    listeners: Vec<Listening>,
    /// Of removed listeners; heard until they are closed.
    gone: Vec<Trigger>,
    /// By slot; the last word of the configuration on a listener that is gone from it, while producers hold its slot.
    slots: Vec<(Slot, IngestListenConfig)>,
    settings: Arc<ArcSwap<Settings>>,
    metrics: Arc<Metrics>,
    sources: mpsc::Sender<NewSource>,
}

/// A listener in force.
struct Listening {
    config: IngestListenConfig,
    slot: usize,
    addr: Option<BoundAddr>,
    handle: Option<Handle>,
    /// Ends accepting.
    removed: Trigger,
}

/// A change of listeners that is ready to be made: what is new is bound.
#[derive(Debug)]
pub struct Planned {
    /// In the new configuration's order.
    listeners: Vec<Plan>,
    /// By slot, for [`Generation::new`](crate::room::Generation::new).
    pub slots: Vec<IngestListenConfig>,
}

#[derive(Debug)]
struct Plan {
    slot: usize,
    way: Way,
}

#[derive(Debug)]
enum Way {
    New(Source),
    /// It listens already; with other rights for its file, maybe.
    Kept(Option<Rights>),
}

impl Control {
    pub(super) fn start(
        config: &Config,
        sources: Vec<Source>,
        wiring: &Wiring,
    ) -> io::Result<(Running, Control)> {
        let configs = &config.ingest.listen;
        let settings = Arc::new(ArcSwap::from_pointee(settings(config, configs.clone(), &wiring.metrics)));
        let (stdin_tx, stdin_ended) = oneshot::channel();
        let has_stdin = sources.iter().any(|source| matches!(source, Source::Stdin));
        let (tx, rx) = mpsc::channel(NEW_SOURCES.max(sources.len()));
        let mut control = Control {
            listeners: Vec::new(),
            gone: Vec::new(),
            slots: configs
                .iter()
                .cloned()
                .enumerate()
                .map(|(index, config)| (Slot::new(index), config))
                .collect(),
            settings: Arc::clone(&settings),
            metrics: wiring.metrics.clone(),
            sources: tx,
        };
        for (slot, source) in sources.into_iter().enumerate() {
            control.begin(slot, source);
        }
        let threads = thread::spawn(Start {
            count: config.ingest.threads.max(1),
            sources: rx,
            wiring,
            settings: &settings,
            stdin_ended: stdin_tx,
        })?;
        Ok((Running { threads, stdin_ended: has_stdin.then_some(stdin_ended) }, control))
    }

    /// Where producers write, in the configuration's order.
    pub fn addrs(&self) -> Vec<BoundAddr> {
        self.listeners.iter().filter_map(|listening| listening.addr.clone()).collect()
    }

    /// Binds what a configuration has anew, or says everything that cannot be bound; nothing is changed yet. A listener at
    /// the same place stays as it is, with its producers; it only follows its other keys.
    pub fn plan(&self, config: &Config) -> Result<Planned, Vec<BindError>> {
        let mut slots: Vec<IngestListenConfig> =
            self.slots.iter().map(|(_, config)| config.clone()).collect();
        let mut taken: Vec<usize> = Vec::new();
        let (mut listeners, mut errors) = (Vec::new(), Vec::new());
        let stays = |old: &&Listening| config.ingest.listen.iter().any(|new| is_same_place(&old.config, new));
        let going: Vec<&Handle> =
            self.listeners.iter().filter(|old| !stays(old)).filter_map(|old| old.handle.as_ref()).collect();
        for (index, new) in config.ingest.listen.iter().enumerate() {
            let key = format!("ingest.listen[{index}]");
            let same = |old: &&Listening| is_same_place(&old.config, new) && !taken.contains(&old.slot);
            let planned = match self.listeners.iter().find(same) {
                Some(old) => rights(&key, &old.config, new).map(|rights| (old.slot, Way::Kept(rights))),
                None => Source::bind(&key, new, &going)
                    .map(|source| (self.free_slot(&taken, slots.len()), Way::New(source))),
            };
            let (slot, way) = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            if slot == slots.len() {
                slots.push(new.clone());
            } else {
                slots[slot] = new.clone();
            }
            taken.push(slot);
            listeners.push(Plan { slot, way });
        }
        if errors.is_empty() { Ok(Planned { listeners, slots }) } else { Err(errors) }
    }

    /// Makes a planned change. The generation that was made with the plan's slots must be in force.
    pub fn apply(&mut self, config: &Config, planned: Planned) {
        for (slot, config) in planned.slots.iter().enumerate() {
            match self.slots.get_mut(slot) {
                Some((_, old)) => *old = config.clone(),
                None => self.slots.push((Slot::new(slot), config.clone())),
            }
        }
        self.settings.store(Arc::new(settings(config, planned.slots, &self.metrics)));
        let mut old = std::mem::take(&mut self.listeners);
        for Plan { slot, way } in planned.listeners {
            match way {
                Way::New(source) => self.begin(slot, source),
                Way::Kept(rights) => {
                    if let Some(rights) = rights {
                        rights.give();
                    }
                    let place = old.iter().position(|listening| listening.slot == slot);
                    let mut kept = old.swap_remove(place.expect("a plan keeps what there is"));
                    kept.config = self.slots[slot].1.clone();
                    self.listeners.push(kept);
                }
            }
        }
        self.gone.retain(Trigger::is_heard);
        for gone in old {
            gone.removed.fire();
            // A pipe is read to its writers' end, and is in nobody's way.
            if !matches!(gone.config.addr, IngestAddr::Fifo(_)) {
                self.gone.push(gone.removed);
            }
        }
    }

    /// True while a removed listener is open.
    pub fn is_closing(&self) -> bool {
        self.gone.iter().any(Trigger::is_heard)
    }

    fn begin(&mut self, slot: usize, source: Source) {
        let (removed, removal) = pair();
        let (held, config) = &self.slots[slot];
        let (addr, handle) = (source.addr(), source.handle());
        self.listeners.push(Listening { config: config.clone(), slot, addr, handle, removed });
        let new = NewSource { source, slot: held.clone(), removed: removal };
        // Full only if the first thread is stuck, closed only if it has ended: the daemon is stopping.
        if self.sources.try_send(new).is_err() {
            tracing::error!("ingest does not take a listener over");
        }
    }

    /// A slot that nobody reads through any more, or a new one.
    fn free_slot(&self, taken: &[usize], next: usize) -> usize {
        let is_free = |slot: &usize| {
            !self.slots[*slot].0.is_held()
                && !taken.contains(slot)
                && self.listeners.iter().all(|listening| listening.slot != *slot)
        };
        (0..self.slots.len()).find(is_free).unwrap_or(next)
    }
}

/// Whether two listeners are at one place, whatever else their keys say.
fn is_same_place(a: &IngestListenConfig, b: &IngestListenConfig) -> bool {
    match (&a.addr, &b.addr) {
        (IngestAddr::Unix(a), IngestAddr::Unix(b)) | (IngestAddr::Fifo(a), IngestAddr::Fifo(b)) => {
            a.path == b.path
        }
        (a, b) => a == b,
    }
}

/// The rights that a socket's or pipe's file must get, if they are others than it has.
fn rights(
    key: &str,
    old: &IngestListenConfig,
    new: &IngestListenConfig,
) -> Result<Option<Rights>, BindError> {
    match &new.addr {
        IngestAddr::Unix(addr) | IngestAddr::Fifo(addr) if old.addr != new.addr => {
            Rights::new(key, addr).map(Some)
        }
        _ => Ok(None),
    }
}

/// What a listener is called in metrics.
fn name(listener: &IngestListenConfig) -> String {
    match &listener.addr {
        IngestAddr::Tcp(addr) => format!("tcp:{addr}"),
        IngestAddr::Unix(addr) => format!("unix:{}", addr.path.display()),
        IngestAddr::Fifo(addr) => format!("fifo:{}", addr.path.display()),
        IngestAddr::Stdin => "stdin".to_owned(),
    }
}

fn settings(config: &Config, listeners: Vec<IngestListenConfig>, metrics: &Metrics) -> Settings {
    Settings {
        figures: listeners.iter().map(|listener| metrics.listener(&name(listener))).collect(),
        listeners,
        connections: config.ingest.connections,
        idle_timeout: config.ingest.idle_timeout,
        line_timeout: config.ingest.line_timeout,
        max_event_size: config.ingest.max_event_size,
        origins: config.server.allowed_origins.clone(),
        hosts: config.ingest.hosts.clone(),
    }
}
