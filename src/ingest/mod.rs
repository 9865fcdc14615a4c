//! The way in: lines and requests from producers, read by read, to the rooms.
//!
//! Threads of their own, never a shard's, read and parse. The first of them accepts connections and hands each to the
//! thread with the fewest producers; pipes and standard input are its own. A thread has one read buffer and one
//! publisher, which all its producers share: a read is cut into lines, checked, routed and published before the next one
//! begins, so that nothing waits half done. Knows nothing of shards and clients.

mod access;
mod answers;
mod body;
mod control;
#[cfg(test)]
mod gathered;
mod http;
mod intake;
mod lines;
mod opening;
mod pipe;
mod places;
mod producer;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod thread;
mod unfinished;
mod values;

pub use control::{Control, Planned};
pub use shared::Drained;

use crate::config::{Config, IngestAddr, IngestListenConfig, ListenAddr};
use crate::listen::{BindError, BoundAddr, Handle, Listener, Pipe};
use crate::metrics::Metrics;
use crate::rejected::RejectedLines;
use crate::room::Rooms;
use crate::shutdown::Shutdown;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a client may go on sending after an answer that ends the connection.
const LINGER: Duration = Duration::from_secs(2);

/// Every ingest listener, bound.
pub struct Ingest {
    config: Arc<Config>,
    sources: Vec<Source>,
}

/// Where producers come from.
#[derive(Debug)]
enum Source {
    Listener(Listener),
    Pipe(Pipe),
    Stdin,
}

/// What ingest needs of the rest of the daemon.
pub struct Wiring {
    /// Where events go.
    pub rooms: Arc<Rooms>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where refused lines are noted.
    pub rejected: Arc<RejectedLines>,
    /// Begins the end: no new producers, those connected are told by a half-close and read on to their end.
    pub shutdown: Shutdown,
    /// How long after that producers may go on.
    pub patience: Duration,
}

/// Ingest at work. Must be joined.
pub struct Running {
    threads: Vec<std::thread::JoinHandle<Drained>>,
    /// Told when standard input has ended, which is not the daemon's end; none without `--stdin`.
    pub stdin_ended: Option<oneshot::Receiver<()>>,
}

impl Ingest {
    /// Binds every listener of the configuration, or says everything that cannot be bound. Needs no runtime; nothing is
    /// accepted yet, but connections wait from now on.
    ///
    /// `inherited` are bound already, by whoever started the daemon; the configuration must have them in their order, before
    /// all others.
    pub fn bind(config: &Arc<Config>, inherited: Vec<Listener>) -> Result<Ingest, Vec<BindError>> {
        let mut errors = Vec::new();
        let taken = inherited.len();
        let mut sources: Vec<Source> = inherited.into_iter().map(Source::Listener).collect();
        for (index, listener) in config.ingest.listen.iter().enumerate().skip(taken) {
            match Source::bind(&format!("ingest.listen[{index}]"), listener, &[]) {
                Ok(source) => sources.push(source),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Ingest { config: Arc::clone(config), sources }) } else { Err(errors) }
    }

    /// Where producers write, by the listeners' places in the configuration; none for standard input.
    pub fn addrs(&self) -> Vec<Option<BoundAddr>> {
        self.sources.iter().map(Source::addr).collect()
    }

    /// Starts the threads, as many as the configuration says, and returns them and the way to change what they listen on.
    /// Fails if the system gives no thread or poll instance.
    pub fn spawn(self, wiring: &Wiring) -> io::Result<(Running, Control)> {
        Control::start(&self.config, self.sources, wiring)
    }
}

impl Source {
    /// Binds; where a listener that is going has the port, beside it.
    fn bind(key: &str, listener: &IngestListenConfig, going: &[&Handle]) -> Result<Source, BindError> {
        match &listener.addr {
            IngestAddr::Tcp(addr) => {
                Listener::bind_beside(key, &ListenAddr::Tcp(*addr), going).map(Source::Listener)
            }
            IngestAddr::Unix(addr) => {
                Listener::bind(key, &ListenAddr::Unix(addr.clone())).map(Source::Listener)
            }
            IngestAddr::Fifo(addr) => Pipe::bind(key, addr).map(Source::Pipe),
            IngestAddr::Stdin => Ok(Source::Stdin),
        }
    }

    fn handle(&self) -> Option<Handle> {
        match self {
            // Without it nothing can be bound beside the listener, which is no reason not to listen.
            Source::Listener(listener) => listener.handle().ok(),
            Source::Pipe(_) | Source::Stdin => None,
        }
    }

    fn addr(&self) -> Option<BoundAddr> {
        match self {
            Source::Listener(listener) => Some(listener.addr()),
            Source::Pipe(pipe) => Some(BoundAddr::Unix(pipe.path().to_owned())),
            Source::Stdin => None,
        }
    }
}

impl Running {
    /// Waits until every producer has ended or is cut off, which takes no longer than `patience` after the shutdown
    /// begins. Blocks; not for a runtime's thread.
    pub fn join(self) -> Drained {
        let join = |thread: std::thread::JoinHandle<Drained>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        self.threads.into_iter().map(join).fold(Drained::default(), std::ops::Add::add)
    }
}
