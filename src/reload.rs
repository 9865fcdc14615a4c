//! Reloading the configuration, as those who ask for it see it: requests, outcomes, and what is different.
//!
//! Who carries it out is the daemon (src/daemon/reloader.rs): one thread, so that reloads come one after the other.

mod diff;

pub use diff::{Change, Diff, hash, hash_number};

use crate::config::{Problem, Problems};
use crate::listen::BindError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Requests that wait. A change of the file needs no place when there is none: there is a reload to come.
const WAITING: usize = 16;

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
    /// Something in the file's folder changed. `settled` when whoever wrote has closed it.
    Changed {
        /// Whether it is not being written to any more, as far as is known.
        settled: bool,
    },
    /// Reload now.
    Reload {
        /// Who asks.
        cause: Cause,
        /// Whether to say only what would be done.
        dry_run: bool,
        /// Where the outcome goes.
        reply: Option<oneshot::Sender<Outcome>>,
    },
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
    /// Each problem.
    pub problems: Vec<Fault>,
    /// All of them as a report for people.
    pub report: String,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// `FILE:LINE:COLUMN`, where it has a place.
    pub place: Option<String>,
    /// What would be right.
    pub hint: Option<String>,
}

/// The way to ask for a reload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(SyncSender<Request>);

/// A way to ask, and its end at the reloading thread.
pub fn pair() -> (Handle, Receiver<Request>) {
    let (tx, rx) = sync_channel(WAITING);
    (Handle(tx), rx)
}

impl Handle {
    /// Asks, and waits for the outcome. None when the daemon is stopping, or too many wait already. Cancel-safe; the reload
    /// takes place all the same.
    pub async fn reload(&self, dry_run: bool) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(Request::Reload { cause: Cause::Api, dry_run, reply: Some(reply) }).ok()?;
        outcome.await.ok()
    }

    /// Asks without waiting. When too many wait already there is one to come.
    pub fn ask(&self, cause: Cause) {
        let _ = self.0.try_send(Request::Reload { cause, dry_run: false, reply: None });
    }

    /// Ends the thread, after what waits already.
    pub fn stop(&self) {
        let _ = self.0.send(Request::Stop);
    }

    /// Tells of a change. Never blocks.
    pub fn changed(&self, settled: bool) {
        let _ = self.0.try_send(Request::Changed { settled });
    }
}

impl Refusal {
    /// Of what the check of the configuration found.
    pub fn of_problems(problems: &Problems) -> Refusal {
        let fault = |problem: &Problem| Fault {
            message: problem.message.clone(),
            place: problems.place(problem),
            hint: problem.hint.clone(),
        };
        Refusal { problems: problems.list.iter().map(fault).collect(), report: problems.to_string() }
    }

    /// Of listeners that cannot be bound.
    pub fn of_bind_errors(errors: &[BindError]) -> Refusal {
        let fault = |error: &BindError| Fault {
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
        let show = |fault: &Fault| match &fault.place {
            Some(place) => format!("{place}: {}", fault.message),
            None => fault.message.clone(),
        };
        self.problems.iter().map(show).collect::<Vec<_>>().join("; ")
    }
}
