//! The process's signals, on a thread of their own.

use crate::reload::{Cause, Handle};
use crate::shutdown::Trigger;
use crate::systemd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::io;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// `SIGXFSZ`: a file has reached its limit (`RLIMIT_FSIZE`).
const FILE_SIZE: i32 = 25;

/// Signals that the process takes since [`Signals::take`].
pub(super) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Taken so that it does not end the process: the write that caused it fails, as it does on a full disk.
    _file_size: Signal,
    /// The end of a process. Whoever is process 1 of a container is the parent of every orphan in it.
    orphans: Option<Signal>,
}

impl Signals {
    /// Takes the signals over. Call it before anything is written.
    pub(super) fn take() -> io::Result<Signals> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let guard = runtime.enter();
        let is_first = std::process::id() == 1;
        let signals = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::from_raw(FILE_SIZE))?,
            is_first.then(|| signal(SignalKind::child())).transpose()?,
        );
        drop(guard);
        let (terminate, interrupt, hangup, file_size, orphans) = signals;
        Ok(Signals { runtime, terminate, interrupt, hangup, _file_size: file_size, orphans })
    }

    /// Starts the thread. The first SIGTERM or SIGINT fires `stop`, the second calls `abort`; SIGHUP reloads; orphans are
    /// reaped. The thread ends with the process: a signal may come until then.
    pub(super) fn watch(
        mut self,
        stop: Trigger,
        abort: impl FnOnce() + Send + 'static,
        reload: Handle,
    ) -> io::Result<()> {
        let run = move || {
            if let Some(mut orphans) = self.orphans.take() {
                self.runtime.spawn(async move {
                    while orphans.recv().await.is_some() {
                        reap();
                    }
                });
            }
            let (terminate, interrupt, hangup) = (&mut self.terminate, &mut self.interrupt, &mut self.hangup);
            self.runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => break,
                        _ = interrupt.recv() => break,
                        _ = hangup.recv() => reload.ask(Cause::Signal),
                    }
                }
                systemd::stopping();
                tracing::info!(
                    "stopping: what was accepted is delivered first; a second signal ends at once"
                );
                stop.fire();
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::warn!("ending at once");
                abort();
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(run).map(drop)
    }
}

/// Takes note of every process that has ended, which nobody else does: the daemon starts none itself.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
        && status != WaitStatus::StillAlive
    {}
}
