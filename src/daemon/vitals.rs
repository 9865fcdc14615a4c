//! Tells systemd how the daemon is doing: that its threads turn, and in a line what it does.

use crate::limits::ClientCounter;
use crate::liveness::{LATE, STUCK};
use crate::metrics::Metrics;
use crate::reload::Recent;
use crate::room::Rooms;
use crate::shutdown::Shutdown;
use crate::systemd;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two lines of status.
const STATUS: Duration = Duration::from_secs(30);
/// Between two signs of life, if systemd wants none.
const NO_WATCHDOG: Duration = Duration::from_secs(3600);

/// What is told of.
pub(super) struct Vitals {
    pub(super) stopping: Shutdown,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clients: Arc<ClientCounter>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) reloads: Arc<Recent>,
}

impl Vitals {
    /// Tells systemd until the daemon has stopped, if systemd listens.
    pub(super) fn spawn(self, mut ended: Shutdown) -> io::Result<Option<JoinHandle<()>>> {
        if !systemd::is_listening() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let run = async move {
            tokio::select! {
                () = ended.begun() => {}
                () = self.run() => {}
            }
        };
        super::spawn("vitals", move || runtime.block_on(run)).map(Some)
    }

    async fn run(self) {
        let patience = systemd::watchdog();
        // Twice in its time, so that one may come late.
        let beat = patience.map_or(NO_WATCHDOG, |patience| patience / 2);
        let mut next_status = Instant::now();
        loop {
            // With a thread that is stuck nothing is said, and systemd starts the daemon anew.
            // While the daemon stops, threads end one by one; `server.drain_timeout` bounds that.
            let is_stopping = self.stopping.has_begun();
            let still = self.metrics.liveness.stillest().map_or(Duration::ZERO, |thread| thread.elapsed);
            if patience.is_some_and(|patience| is_stopping || still < patience.clamp(LATE, STUCK)) {
                systemd::alive();
            }
            if !is_stopping && Instant::now() >= next_status {
                next_status = Instant::now() + STATUS;
                systemd::status(&self.line());
            }
            tokio::time::sleep(beat.min(next_status.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn line(&self) -> String {
        let (clients, rooms) = (self.clients.connected(), self.rooms.totals().rooms());
        format!("serving {clients} clients in {rooms} rooms{}", self.reloads.remark())
    }
}
