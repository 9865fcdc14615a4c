//! Reloading the configuration, as those who ask for it see it: requests, outcomes, and what is different.
//!
//! Who carries it out is the daemon (src/daemon/reloader.rs): one thread, so that reloads come one after the other.

mod diff;
mod recent;
mod settling;

pub use diff::{Change, Diff, hash, hash_number, show_hash};
pub use recent::{Recent, Reload};
pub use settling::Settling;

use crate::config::{Code, MOST_SHOWN, Problem, Problems};
use crate::listen::BindError;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Requests that wait. A change of the file needs no place when there is none: there is a reload to come.
const WAITING: usize = 16;

/// Characters of a problem that a status quotes: a line on most terminals, twice.
const BRIEF: usize = 200;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The file changed.
    File,
    /// SIGHUP.
    Signal,
    /// The API, or `broadcastd reload`.
    Api,
}

impl Cause {
    /// As logs and alerts have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::File => "file",
            Cause::Signal => "signal",
            Cause::Api => "api",
        }
    }
}

/// A request for the reloading thread.
#[derive(Debug)]
pub enum Request {
    /// Something in the file's folder changed: [`Requests::take_change`] says what.
    Changed,
    /// Reload now.
    Reload {
        /// Who asks.
        cause: Cause,
        /// Whether to say only what would be done.
        dry_run: bool,
        /// Where the outcome goes.
        reply: Option<oneshot::Sender<Outcome>>,
    },
    /// The file's text from the read of this number, or why it cannot be read.
    Read(u64, Result<(Option<PathBuf>, String), Problems>),
    /// End.
    Stop,
}

/// How a reload went.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It means the same as the configuration in force.
    Unchanged,
    /// It is in force.
    Applied(Diff),
    /// It would be in force, had it not been a dry run.
    WouldApply(Diff),
    /// It is wrong; the one in force stays.
    Refused(Refusal),
}

/// Why a configuration was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The first problems.
    pub problems: Vec<Fault>,
    /// All of them as a report for people.
    pub report: String,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault it is.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// `FILE:LINE:COLUMN`, where it has a place.
    pub place: Option<String>,
    /// What would be right.
    pub hint: Option<String>,
}

/// The way to ask for a reload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    tx: SyncSender<Request>,
    change: Arc<AtomicU8>,
    recent: Arc<Recent>,
}

/// The end at the reloading thread.
#[derive(Debug)]
pub struct Requests {
    /// The requests, in order.
    pub rx: Receiver<Request>,
    /// The way back for what the reloading thread has begun itself.
    pub tx: SyncSender<Request>,
    change: Arc<AtomicU8>,
}

/// No change; one that somebody is still writing; one that has settled. However many changes there are, they take one place
/// among the requests: a busy folder must not keep anybody else from asking.
const NOTHING: u8 = 0;
const UNSETTLED: u8 = 1;
const SETTLED: u8 = 2;

/// A way to ask, and its end at the reloading thread.
pub fn pair() -> (Handle, Requests) {
    let (tx, rx) = sync_channel(WAITING);
    let change = Arc::new(AtomicU8::new(NOTHING));
    let requests = Requests { rx, tx: tx.clone(), change: Arc::clone(&change) };
    (Handle { tx, change, recent: Arc::default() }, requests)
}

impl Requests {
    /// Whether who wrote has closed the file, as far as is known.
    pub fn take_change(&self) -> bool {
        self.change.swap(NOTHING, Ordering::AcqRel) != UNSETTLED
    }
}

impl Handle {
    /// Asks, and waits for the outcome. None when the daemon is stopping, or too many wait already. Cancel-safe; the reload
    /// takes place all the same.
    pub async fn reload(&self, dry_run: bool) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.tx.try_send(Request::Reload { cause: Cause::Api, dry_run, reply: Some(reply) }).ok()?;
        outcome.await.ok()
    }

    /// The reloads that came last.
    pub fn recent(&self) -> &Arc<Recent> {
        &self.recent
    }

    /// Asks without waiting. When too many wait already there is one to come.
    pub fn ask(&self, cause: Cause) {
        let _ = self.tx.try_send(Request::Reload { cause, dry_run: false, reply: None });
    }

    /// Ends the thread, after what waits already.
    pub fn stop(&self) {
        let _ = self.tx.send(Request::Stop);
    }

    /// Tells of a change. Never blocks.
    pub fn changed(&self, settled: bool) {
        let change = if settled { SETTLED } else { UNSETTLED };
        if self.change.swap(change, Ordering::AcqRel) == NOTHING {
            // When too many wait already there is a reload to come.
            let _ = self.tx.try_send(Request::Changed);
        }
    }
}

impl Refusal {
    /// Of what the check of the configuration found.
    pub fn of_problems(problems: &Problems) -> Refusal {
        let fault = |problem: &Problem| Fault {
            code: problem.code,
            message: problem.message.clone(),
            place: problems.place(problem),
            hint: problem.hint.clone(),
        };
        let shown = problems.list.iter().take(MOST_SHOWN);
        Refusal { problems: shown.map(fault).collect(), report: problems.to_string() }
    }

    /// Of listeners that cannot be bound.
    pub fn of_bind_errors(errors: &[BindError]) -> Refusal {
        let fault = |error: &BindError| Fault {
            code: Code::Unbound,
            message: format!("{}: {}", error.key, error.message),
            place: None,
            hint: error.hint.clone(),
        };
        Refusal::of_faults(errors.iter().map(fault).collect())
    }

    /// Of anything else.
    pub fn of_faults(problems: Vec<Fault>) -> Refusal {
        let show = |fault: &Fault| match &fault.hint {
            Some(hint) => format!("error: {}\n  hint: {hint}", fault.message),
            None => format!("error: {}", fault.message),
        };
        let report = problems.iter().map(show).collect::<Vec<_>>().join("\n");
        Refusal { problems, report }
    }

    /// All messages in one line, for logs.
    pub fn line(&self) -> String {
        self.problems.iter().map(Fault::line).collect::<Vec<_>>().join("; ")
    }

    /// The first message, at most 200 characters of it, and how many there are beside it.
    pub fn brief(&self) -> String {
        let first = self.problems.first().map(Fault::line).unwrap_or_default();
        let cut = first.char_indices().nth(BRIEF).map(|(end, _)| format!("{}…", &first[..end]));
        let more = self.problems.len().saturating_sub(1);
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        cut.unwrap_or(first) + &more
    }
}

impl Fault {
    /// Place and message in one line.
    fn line(&self) -> String {
        match &self.place {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        }
    }
}
