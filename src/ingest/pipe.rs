//! Producers without a connection: a named pipe, standard input. They get no answers; refused lines are logged.

use super::lines::{Line, Splitter};
use super::producer::{Cut, Producer};
use super::shared::{Shared, Slot};
use super::unfinished::Unfinished;
use crate::route::Beside;
use crate::shutdown::Shutdown;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

/// Bytes of standard input read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Reads of standard input that wait to be processed: one while the next is under way.
const WAITING_CHUNKS: usize = 1;
/// Pause after a read of a pipe that failed, which it should never: it must not spin.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// A stream of lines that comes through no connection.
struct Piped {
    shared: Rc<Shared>,
    listener: Slot,
    splitter: Splitter,
    producer: Producer,
    /// Counts in the backlog alone: pipes are few, and their writers are on this machine.
    unfinished: Unfinished,
}

/// Reads a named pipe until the daemon stops or the pipe is no longer configured, and then what is in it.
pub(super) async fn read_fifo(
    shared: Rc<Shared>,
    receiver: Receiver,
    listener: Slot,
    name: String,
    removed: Shutdown,
) {
    let mut piped = Piped::new(&shared, listener, name);
    let mut begun = pin!(async {
        let mut removed = removed.clone();
        tokio::select! {
            () = shared.stop.begun() => {}
            () = removed.begun() => {}
        }
    });
    let mut cut = pin!(shared.stop.cut());
    loop {
        let stopping = shared.stop.has_begun() || removed.has_begun();
        let when_full = shared.when_full(&piped.listener);
        tokio::select! {
            biased;
            () = &mut cut => return piped.cut_off(),
            () = shared.gate.open(when_full) => {}
        }
        let read = {
            let mut buffer = shared.buffer.borrow_mut();
            receiver.try_read(&mut buffer).map(|count| piped.take(&buffer[..count]))
        };
        match read {
            Ok(()) => tokio::task::yield_now().await,
            // Only what the runtime knows of the pipe, which may be older than what is in it.
            Err(error) if error.kind() == ErrorKind::WouldBlock && stopping => {
                if !has_input(&receiver) {
                    return piped.end();
                }
                tokio::select! {
                    biased;
                    () = &mut cut => return piped.cut_off(),
                    _ = receiver.readable() => {}
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::select! {
                biased;
                () = &mut begun => {}
                _ = receiver.readable() => {}
            },
            Err(error) => {
                tracing::warn!(producer = %piped.producer.name(), %error, "cannot read from the pipe");
                tokio::select! {
                    biased;
                    () = &mut cut => return piped.cut_off(),
                    () = tokio::time::sleep(ERROR_PAUSE) => {}
                }
            }
        }
    }
}

/// Whether there is something to read now. When that cannot be said, there is not.
fn has_input(descriptor: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok() && polled[0].any() == Some(true)
}

/// Reads standard input to its end, or until the daemon stops and nothing more is in it.
pub(super) async fn read_stdin(shared: Rc<Shared>, mut input: Input, listener: Slot) {
    let mut piped = Piped::new(&shared, listener, "stdin".to_owned());
    let mut begun = pin!(shared.stop.begun());
    let mut cut = pin!(shared.stop.cut());
    loop {
        tokio::select! {
            biased;
            () = &mut cut => return piped.cut_off(),
            () = &mut begun, if input.wake.is_some() => input.wake = None,
            chunk = input.chunks.recv() => {
                let Some(chunk) = chunk else { break };
                let when_full = shared.when_full(&piped.listener);
                tokio::select! {
                    biased;
                    () = &mut cut => return piped.cut_off(),
                    () = shared.gate.open(when_full) => piped.take(&chunk),
                }
            }
        }
    }
    // The thread has dropped its end of the channel as the last thing it does.
    if input.thread.join().is_err() {
        tracing::error!("the thread that reads standard input panicked");
    }
    piped.end();
    tracing::info!(
        accepted = piped.producer.totals.accepted,
        rejected = piped.producer.totals.rejected,
        "standard input has ended"
    );
}

/// Standard input, read by a thread: a terminal or a file cannot be waited for like a socket, and must not be made
/// non-blocking, since other processes share it.
pub(super) struct Input {
    chunks: mpsc::Receiver<Box<[u8]>>,
    /// Dropped to tell the thread that no more is waited for.
    wake: Option<UnixStream>,
    thread: JoinHandle<()>,
}

impl Input {
    /// Starts to read.
    pub(super) fn spawn(input: impl Read + AsFd + Send + 'static) -> io::Result<Input> {
        let (tx, chunks) = mpsc::channel(WAITING_CHUNKS);
        let (wake, woken) = UnixStream::pair()?;
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            if let Err(error) = read_to_end(input, &woken, &tx) {
                tracing::warn!(%error, "cannot read from standard input");
            }
        })?;
        Ok(Input { chunks, wake: Some(wake), thread })
    }
}

/// Reads until the end; once woken, until nothing more is there. Also ends when nobody takes what is read.
fn read_to_end(
    mut input: impl Read + AsFd,
    woken: &UnixStream,
    tx: &mpsc::Sender<Box<[u8]>>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let (has_input, is_woken) = {
            let mut both = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(woken.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                polled => polled?,
            };
            (both[0].any().unwrap_or(true), both[1].any().unwrap_or(true))
        };
        if !has_input && is_woken {
            return Ok(());
        }
        if !has_input {
            continue;
        }
        let count = match input.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if count == 0 || tx.blocking_send(buffer[..count].into()).is_err() {
            return Ok(());
        }
    }
}

impl Piped {
    fn new(shared: &Rc<Shared>, listener: Slot, name: String) -> Piped {
        let splitter = Splitter::new(shared.settings().max_event_size);
        Piped {
            shared: shared.clone(),
            listener,
            splitter,
            producer: Producer::new(name, Beside::default(), false),
            unfinished: Unfinished::new(shared.clone()),
        }
    }

    fn take(&mut self, read: &[u8]) {
        self.process(read.len(), |splitter, sink| splitter.feed(read, sink));
    }

    fn end(&mut self) {
        self.process(0, |splitter, sink| splitter.finish(sink));
        self.producer.log_rest();
    }

    fn process(&mut self, bytes: usize, cut: impl FnOnce(&mut Splitter, &mut dyn FnMut(u64, Line<'_>))) {
        self.shared.process(&self.listener, (&mut self.splitter, &mut self.producer), bytes, cut);
        self.unfinished.note(self.splitter.kept());
    }

    fn cut_off(&mut self) {
        let bytes = self.unfinished.bytes();
        self.shared.count_cut(u64::from(bytes > 0), bytes);
        self.process(0, |splitter, sink| splitter.abandon(Cut::Closed, sink));
        self.producer.log_rest();
    }
}
