//! An ingest thread: its tasks from the first to the last.

use super::intake::{Gate, Intake};
use super::pipe::{self, Input};
use super::places::{Permit, Places};
use super::shared::{Drained, Settings, Shared, Slot, Stop};
use super::{Source, Wiring, stream};
use crate::listen::{Death, LAST_CONNECTIONS, Listener, Loose, Stream};
use crate::shutdown::Shutdown;
use arc_swap::ArcSwap;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};

/// Connections on their way to a thread. When they are so many, accepting waits, and the kernel's queue takes over.
const WAITING_CONNECTIONS: usize = 64;

/// How long a thread must be idle before it gives memory back to the system, which takes milliseconds.
const QUIET: Duration = Duration::from_secs(1);
/// Memory that a producer leaves behind with the allocator, beside that of its lines: hyper's buffer, mostly.
const PRODUCER_BYTES: usize = 10 * 1024;

/// When a producer's machine counts as gone. A minute bridges the usual trouble of a network.
const DEATH: Death = Death {
    silence: Duration::from_secs(30),
    probes: Duration::from_secs(10),
    timeout: Duration::from_secs(60),
};

/// A connection on its way to its thread.
pub(super) struct Arrival {
    stream: Arriving,
    listener: Slot,
    permit: Permit,
}

enum Arriving {
    /// Accepted on this thread.
    Here(Stream),
    /// Accepted on another, whose runtime has let it go.
    Loose(Loose),
}

/// The way to a thread.
#[derive(Clone)]
pub(super) struct Door {
    tx: mpsc::Sender<Arrival>,
    /// Producers it has.
    load: Arc<AtomicUsize>,
}

/// A place to read from that is new.
pub(super) struct NewSource {
    pub(super) source: Source,
    pub(super) slot: Slot,
    /// Begins when the configuration no longer has it: what is connected stays, and nothing new comes.
    pub(super) removed: Shutdown,
}

/// What the first thread does beside: it accepts.
struct Accepting {
    sources: mpsc::Receiver<NewSource>,
    doors: Vec<Door>,
    stdin_ended: Option<oneshot::Sender<()>>,
}

/// What the threads are started with.
pub(super) struct Start<'a> {
    pub(super) count: usize,
    pub(super) sources: mpsc::Receiver<NewSource>,
    pub(super) wiring: &'a Wiring,
    pub(super) settings: &'a Arc<ArcSwap<Settings>>,
    pub(super) stdin_ended: oneshot::Sender<()>,
}

/// Starts the threads; the first accepts.
pub(super) fn spawn(start: Start<'_>) -> io::Result<Vec<JoinHandle<Drained>>> {
    let Start { count, sources, wiring, settings, stdin_ended } = start;
    let (doors, arrivals): (Vec<Door>, Vec<_>) = (0..count).map(|_| door()).unzip();
    let stdin_ended = Some(stdin_ended);
    let mut accepting = Some(Accepting { sources, doors, stdin_ended });
    let mut threads = Vec::with_capacity(count);
    for (index, arrivals) in arrivals.into_iter().enumerate() {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let accepting = accepting.take();
        let (rooms, metrics, rejected) =
            (wiring.rooms.clone(), wiring.metrics.clone(), wiring.rejected.clone());
        let (shutdown, patience, settings) = (wiring.shutdown.clone(), wiring.patience, settings.clone());
        let thread = std::thread::Builder::new().name(format!("ingest-{index}")).spawn(move || {
            let intake = Intake::new(rooms.clone(), metrics.clone(), rejected);
            let stop = Stop::new(shutdown, patience);
            let shared = Shared::new(settings, intake, Gate::Rooms(rooms), metrics, stop);
            run(&runtime, &Rc::new(shared), arrivals, accepting)
        })?;
        threads.push(thread);
    }
    Ok(threads)
}

/// A way to a thread, and its end there.
pub(super) fn door() -> (Door, mpsc::Receiver<Arrival>) {
    let (tx, rx) = mpsc::channel(WAITING_CONNECTIONS);
    (Door { tx, load: Arc::new(AtomicUsize::new(0)) }, rx)
}

fn run(
    runtime: &Runtime,
    shared: &Rc<Shared>,
    arrivals: mpsc::Receiver<Arrival>,
    accepting: Option<Accepting>,
) -> Drained {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let sign = shared.metrics.liveness.thread(name);
    let work = async {
        let mut tasks = JoinSet::new();
        if let Some(accepting) = accepting {
            tasks.spawn_local(accepting.run(shared.clone()));
        }
        serve(shared, arrivals, tasks).await;
    };
    LocalSet::new().block_on(runtime, sign.during(work));
    shared.drained.get()
}

/// Serves whoever arrives, until nobody can arrive any more and everybody has gone.
pub(super) async fn serve(
    shared: &Rc<Shared>,
    mut arrivals: mpsc::Receiver<Arrival>,
    mut tasks: JoinSet<()>,
) {
    let mut is_open = true;
    let mut reads = 0;
    while is_open || !tasks.is_empty() {
        tokio::select! {
            arrival = arrivals.recv(), if is_open => match arrival {
                Some(arrival) => arrival.start(shared, &mut tasks),
                None => is_open = false,
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                shared.left_behind(PRODUCER_BYTES);
                if let Err(error) = ended {
                    // The panic has been printed; it is one producer's, and the others go on.
                    tracing::error!(%error, "a producer's task failed");
                }
            }
            // Begins anew with every producer that comes or goes.
            () = tokio::time::sleep(QUIET), if shared.has_much_left_behind() => {
                if reads == shared.reads() {
                    shared.give_back();
                }
                reads = shared.reads();
            }
        }
    }
}

impl Arrival {
    fn start(self, shared: &Rc<Shared>, tasks: &mut JoinSet<()>) {
        let Arrival { stream, listener, permit } = self;
        let stream = match stream {
            Arriving::Here(stream) => Ok(stream),
            Arriving::Loose(stream) => stream.fasten(),
        };
        match stream {
            Ok(stream) => {
                tasks.spawn_local(stream::serve(shared.clone(), stream, listener, permit));
            }
            Err(error) => tracing::warn!(%error, "cannot take a producer's connection over"),
        }
    }
}

impl Accepting {
    /// Reads from every source that comes, until the daemon stops. The listeners belong to their tasks, and go with them
    /// when the daemon stops or they are removed. No thread ends before this does: it has a door to each.
    async fn run(mut self, shared: Rc<Shared>) {
        let mut tasks = JoinSet::new();
        let mut begun = std::pin::pin!(shared.stop.begun());
        loop {
            tokio::select! {
                biased;
                // First what is there, so that nothing that was bound is forgotten.
                Some(new) = self.sources.recv() => self.start(&shared, new, &mut tasks),
                () = &mut begun => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        drop(self);
        while tasks.join_next().await.is_some() {}
    }

    fn start(&mut self, shared: &Rc<Shared>, new: NewSource, tasks: &mut JoinSet<()>) {
        let NewSource { source, slot, removed } = new;
        let shared = shared.clone();
        match source {
            Source::Listener(listener) => {
                let (doors, open) = (self.doors.clone(), removed.clone());
                tasks.spawn_local(async move {
                    accept(shared, listener, slot, removed, doors).await;
                    drop(open);
                });
            }
            Source::Pipe(pipe) => {
                let name = pipe.path().display().to_string();
                match pipe.receiver() {
                    Ok(receiver) => {
                        tasks.spawn_local(pipe::read_fifo(shared, receiver, slot, name, removed));
                    }
                    Err(error) => tracing::error!(pipe = %name, %error, "cannot read from the pipe"),
                }
            }
            Source::Stdin => {
                let ended = self.stdin_ended.take();
                tasks.spawn_local(async move {
                    match stdin() {
                        Ok(input) => pipe::read_stdin(shared, input, slot).await,
                        Err(error) => tracing::error!(%error, "cannot read from standard input"),
                    }
                    // Nobody may be waiting for it.
                    let _ = ended.map(|ended| ended.send(()));
                });
            }
        }
    }
}

/// A descriptor of our own for standard input: the standard library's handle has a buffer, behind which a poll is blind.
fn stdin() -> io::Result<Input> {
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned()?;
    Input::spawn(std::fs::File::from(descriptor))
}

/// Accepts until the daemon stops or the listener is removed; then it is closed, and its file removed.
pub(super) async fn accept(
    shared: Rc<Shared>,
    listener: Listener,
    slot: Slot,
    mut removed: Shutdown,
    doors: Vec<Door>,
) {
    let places = Places::new(shared.metrics.clone());
    let mut begun = std::pin::pin!(shared.stop.begun());
    let mut removed = std::pin::pin!(async {
        removed.begun().await;
        tokio::time::sleep(LAST_CONNECTIONS).await;
    });
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut begun => return,
            () = &mut removed => return,
            stream = listener.accept(&shared.metrics.accept_errors) => stream,
        };
        let (place, door) = doors
            .iter()
            .enumerate()
            .min_by_key(|(_, door)| door.load.load(Ordering::Relaxed))
            .expect("there is at least one thread");
        let most = shared.settings().connections;
        let Some(permit) = places.admit(most, &door.load) else {
            tracing::debug!(listener = %listener.addr(), "producer refused: ingest.connections is reached");
            continue;
        };
        stream.notice_death(&DEATH);
        // The first thread is this one.
        let stream =
            if place == 0 { Ok(Arriving::Here(stream)) } else { stream.loosen().map(Arriving::Loose) };
        match stream {
            // A thread ends only after this task, so that the send does not fail.
            Ok(stream) => drop(door.tx.send(Arrival { stream, listener: slot.clone(), permit }).await),
            Err(error) => tracing::debug!(%error, "producer's connection failed"),
        }
    }
}
