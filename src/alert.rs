//! What the daemon says of itself, on its way to the thread that publishes it (src/sources).
//!
//! Saying something never waits: where too much is said at once, the rest is counted and left out.

use serde_json::Value;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Alerts that wait to be published.
const WAITING: usize = 256;

/// How grave it is, as `system_alert` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is lost or refused, or will be.
    Warning,
    /// Something does not work.
    Error,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// A word for what it is, for machines.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// A sentence for people.
    pub message: String,
    /// More for machines: an object.
    pub details: Value,
}

/// What the publishing thread is sent.
#[derive(Debug)]
pub enum Said {
    /// An alert.
    Alert(Alert),
    /// A client came or went; published only so many a second.
    Client(Alert),
    /// End.
    Stop,
}

/// The way to say something. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Alerts {
    tx: SyncSender<Said>,
    suppressed: metrics::Counter,
}

impl Severity {
    /// As `system_alert` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl Alerts {
    /// The way, and its end at the publishing thread. `suppressed` counts what there was no place for.
    pub fn new(suppressed: metrics::Counter) -> (Alerts, Receiver<Said>) {
        let (tx, rx) = sync_channel(WAITING);
        (Alerts { tx, suppressed }, rx)
    }

    /// Says something. Never blocks.
    pub fn say(&self, alert: Alert) {
        self.send(Said::Alert(alert));
    }

    /// Tells of a client. Never blocks.
    pub fn client(&self, alert: Alert) {
        self.send(Said::Client(alert));
    }

    /// Ends the thread, after what waits.
    pub fn stop(&self) {
        // It is gone already, maybe.
        let _ = self.tx.send(Said::Stop);
    }

    fn send(&self, said: Said) {
        if let Err(TrySendError::Full(_)) = self.tx.try_send(said) {
            self.suppressed.increment(1);
        }
    }
}
