//! The thread that writes the log, and what becomes of lines that it cannot write.

use super::Handle;
use super::journal::Socket;
use nix::poll::{self, PollFd, PollFlags, PollTimeout};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// Lines that wait to be written, at most. A line is some hundred bytes.
const QUEUE: usize = 4096;
/// How long the end of the process waits for a reader of the last lines. The queue's own patience of 100 ms must not run out before.
const PATIENCE: Duration = Duration::from_millis(90);

/// The log of the process. Writes what waits when it is dropped: for 100 ms at most if nobody reads it, and for some more than a
/// second if the machine is busy.
#[must_use]
#[derive(Debug)]
pub struct Log {
    /// The way to it.
    pub handle: Handle,
    writer: Option<WorkerGuard>,
    to_stderr: bool,
}

impl Log {
    /// Starts the thread that writes. Returns where lines are put: that never waits.
    pub(super) fn start(output: Output) -> (Log, NonBlocking) {
        let (dropped, to_stderr) = (Dropped::default(), matches!(output, Output::Stderr));
        let writer = Writer { output, dropped: dropped.clone(), reported: 0 };
        let (lines, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(QUEUE)
            .thread_name("log")
            .finish(writer);
        // It is set once, here.
        let _ = dropped.queue.set(lines.error_counter());
        (Log { handle: Handle { filter: None, dropped }, writer: Some(guard), to_stderr }, lines)
    }

    pub(super) fn with_filter(mut self, filter: Option<reload::Handle<LevelFilter, Registry>>) -> Log {
        self.handle.filter = filter;
        self
    }

    /// Whether a line could be written now: if the last lines are not written yet, their thread has had no processor.
    fn takes_lines(&self) -> bool {
        let stderr = io::stderr();
        let mut poll = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        !self.to_stderr || poll::poll(&mut poll, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let writer = self.writer.take();
        let (written, end) = sync_channel(1);
        // The guard waits for a second, also if nobody reads the log. The thread ends with the process.
        thread::spawn(move || {
            drop(writer);
            let _ = written.send(());
        });
        while end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) && self.takes_lines() {}
    }
}

/// Lines that were lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped {
    /// Those that found the queue full.
    queue: Arc<OnceLock<ErrorCounter>>,
    /// Those that could not be written.
    failed: Arc<AtomicU64>,
}

impl Dropped {
    pub(super) fn total(&self) -> u64 {
        let queue = self.queue.get().map_or(0, ErrorCounter::dropped_lines);
        queue as u64 + self.failed.load(Ordering::Relaxed)
    }
}

/// Where lines go.
#[derive(Debug)]
pub(super) enum Output {
    /// Standard error.
    Stderr,
    /// The journal.
    Journal(Socket),
}

/// Writes line after line, and reports lost ones as soon as a line can be written again.
struct Writer {
    output: Output,
    dropped: Dropped,
    /// Lost lines that a line has reported.
    reported: u64,
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = match &self.output {
            Output::Stderr => io::stderr().write_all(line),
            Output::Journal(socket) => socket.send(line),
        };
        if written.is_err() {
            self.dropped.failed.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let dropped = self.dropped.total();
        if dropped > self.reported {
            // Joins the queue like any other line. If it finds no place there, the next line that is written tries again.
            tracing::warn!(
                lines = dropped - self.reported,
                "the log lost lines: nobody read it, or it could not be written"
            );
            if self.dropped.total() == dropped {
                self.reported = dropped;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
