//! The thread that reloads: requests come one after the other, and changes of the file are waited for until they settle.

use super::live::Live;
use crate::alert::{Alert, Alerts, Severity};
use crate::config::{Code, Config, Dirs, Input, Loaded, Problems};
use crate::liveness::{Sign, TURN};
use crate::metrics::{Metrics, ReloadResult};
use crate::reload::{
    Cause, Change, Diff, Fault, Outcome, Recent, Refusal, Reload, Request, Requests, Settling, hash_number,
};
use crate::route::run_tests;
use crate::systemd;
use crate::time::now_ms;
use crate::watch::Watcher;
use serde_json::json;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is looked at although nobody said that it changed: a watch may have been lost.
const RECHECK: Duration = Duration::from_secs(30);
/// A file that is empty for longer is not one that is being written.
const EMPTY: Duration = Duration::from_secs(1);
/// How long reading the file may take. A pipe without a writer, or a file system that hangs, takes longer.
const READING: Duration = Duration::from_secs(10);
/// Requests that wait while the file is read, beside those in the channel; more are refused.
const WAITING: usize = 16;
/// Keys that are fixed when the daemon starts.
const FIXED: [&str; 3] = ["server.shards", "ingest.threads", "log.format"];

/// Where the configuration comes from.
#[derive(Clone)]
pub struct Origin {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--defaults`.
    pub defaults: bool,
    /// `--set key=value`, in order.
    pub set: Vec<String>,
    /// Where relative paths lie.
    pub dirs: Dirs,
}

/// A configuration's file, if there is one, and what is in it.
pub(super) type Text = (Option<PathBuf>, String);

/// What the thread has.
pub(super) struct Reloader {
    pub(super) origin: Origin,
    /// None once the daemon stops.
    pub(super) live: Arc<Mutex<Option<Live>>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) alerts: Alerts,
    pub(super) recent: Arc<Recent>,
    pub(super) watcher: Option<Watcher>,
    /// The file that the daemon started with, or has found since. It is the configuration from then on, also when it is gone:
    /// the built-in configuration never takes its place.
    pub(super) file: Option<PathBuf>,
    /// Result of the last look at the file, applied or not: its text, or why it cannot be read.
    pub(super) seen: Result<String, String>,
    /// When the file is looked at although nobody said that it changed.
    pub(super) recheck: Instant,
    /// Since when the file is empty.
    pub(super) empty_since: Option<Instant>,
    /// Requests that came while the file was read.
    pub(super) waiting: VecDeque<Request>,
    /// Reads that were begun.
    pub(super) reads: u64,
    pub(super) sign: Sign,
    /// True if the last read has not ended in time. Its thread still waits for the system; another would wait as well.
    pub(super) hangs: bool,
}

impl Origin {
    /// Reads and checks the configuration.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let (path, text) = self.input(&environment).read_text()?;
        self.check(path, text)
    }

    /// The file that it is read from, if there is one.
    pub fn find(&self) -> Option<PathBuf> {
        self.input(&environment).find()
    }

    fn check(&self, path: Option<PathBuf>, text: String) -> Result<Loaded, Problems> {
        self.input(&environment).load_text(path, text)
    }

    fn input<'a>(&self, environment: &'a dyn Fn(&str) -> Option<String>) -> Input<'a> {
        let (file, set, dirs) = (self.file.clone(), self.set.clone(), self.dirs.clone());
        Input { file, defaults: self.defaults, set, environment, dirs }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Reloader {
    /// Serves requests until the daemon stops.
    pub(super) fn run(mut self, requests: &Requests) {
        let mut settling = Settling::default();
        // It may have changed before it was watched.
        let mut is_running = self.reload_if_changed(requests);
        while is_running {
            let until = settling.due().map_or(self.recheck, |due| due.min(self.recheck));
            is_running = match self.next(requests, until) {
                Ok(Request::Changed) => {
                    let closed = requests.take_change();
                    settling.changed(Instant::now(), closed);
                    true
                }
                Ok(Request::Reload { cause, dry_run, reply }) => {
                    settling.taken_up();
                    let outcome = self.reload(requests, cause, dry_run);
                    // Whoever asked may be gone.
                    outcome.is_some_and(|outcome| {
                        let _ = reply.map(|reply| reply.send(outcome));
                        true
                    })
                }
                // One that came too late.
                Ok(Request::Read(..)) => {
                    self.hangs = false;
                    self.reload_if_changed(requests)
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if settling.due().is_some_and(|due| due <= now) || self.recheck <= now {
                        settling.taken_up();
                        self.reload_if_changed(requests)
                    } else {
                        true
                    }
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => false,
            };
        }
    }

    fn next(&mut self, requests: &Requests, until: Instant) -> Result<Request, RecvTimeoutError> {
        match self.waiting.pop_front() {
            Some(request) => Ok(request),
            None => self.receive(requests, until),
        }
    }

    /// Waits for a request until a time, with signs of life.
    fn receive(&self, requests: &Requests, until: Instant) -> Result<Request, RecvTimeoutError> {
        loop {
            let now = Instant::now();
            self.sign.turned(now);
            let wait = until.saturating_duration_since(now);
            match requests.rx.recv_timeout(wait.min(TURN)) {
                Err(RecvTimeoutError::Timeout) if wait > TURN => {}
                received => return received,
            }
        }
    }

    /// Reloads if the file is not what it was when it was last looked at. False when the daemon stops.
    fn reload_if_changed(&mut self, requests: &Requests) -> bool {
        self.recheck = Instant::now() + RECHECK;
        let watches = self.watches();
        if let Some(watcher) = &mut self.watcher {
            watcher.follow();
        }
        if !watches {
            return true;
        }
        let Some(read) = self.read(requests) else { return false };
        if self.seen != seen(&read) && !self.is_being_written(&read) {
            self.reload_read(Cause::File, false, read);
        }
        true
    }

    /// True if the file is empty, and was not for long: whoever writes a file in place empties it first.
    fn is_being_written(&mut self, read: &Result<Text, Problems>) -> bool {
        if !read.as_ref().is_ok_and(|(_, text)| text.trim().is_empty()) {
            self.empty_since = None;
            return false;
        }
        let now = Instant::now();
        self.recheck = now + EMPTY;
        now < *self.empty_since.get_or_insert(now) + EMPTY
    }

    /// Reads the file, on a thread of its own: the system may never answer, and stopping does not wait for that. None when
    /// the daemon stops.
    fn read(&mut self, requests: &Requests) -> Option<Result<Text, Problems>> {
        let file = self.file.clone().or_else(|| self.origin.find());
        let late = |file: &Option<PathBuf>| {
            let name = file.as_ref().map_or_else(|| "the file".to_owned(), |file| file.display().to_string());
            let message = format!("cannot read {name}: no end after {} s", READING.as_secs());
            let hint = "is it a pipe without a writer, or on a file system that hangs?";
            Some(Err(Problems::placeless(Code::Unreadable, message, Some(hint.to_owned()))))
        };
        if self.hangs {
            return late(&file);
        }
        self.reads += 1;
        let (number, tx, origin) = (self.reads, requests.tx.clone(), self.origin.clone());
        let origin = Origin { file: file.clone(), ..origin };
        let read = std::thread::Builder::new().name("config-read".to_owned()).spawn(move || {
            // Fails when the daemon has stopped.
            let _ = tx.send(Request::Read(number, origin.input(&environment).read_text()));
        });
        if let Err(error) = read {
            return Some(Err(Problems::placeless(
                Code::Unreadable,
                format!("cannot read the configuration: {error}"),
                None,
            )));
        }
        let until = Instant::now() + READING;
        loop {
            match self.receive(requests, until) {
                Ok(Request::Read(of, read)) if of == number => return Some(read),
                Ok(Request::Read(..)) => {}
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(Request::Reload { .. }) if self.waiting.len() >= WAITING => {}
                Ok(request) => self.waiting.push_back(request),
                Err(RecvTimeoutError::Timeout) => {
                    self.hangs = true;
                    return late(&file);
                }
            }
        }
    }

    /// Whether `server.watch` is on.
    fn watches(&self) -> bool {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().is_some_and(|live| live.config.server.watch)
    }

    /// None when the daemon stops.
    fn reload(&mut self, requests: &Requests, cause: Cause, dry_run: bool) -> Option<Outcome> {
        let read = self.read(requests)?;
        Some(self.reload_read(cause, dry_run, read))
    }

    fn reload_read(&mut self, cause: Cause, dry_run: bool, read: Result<Text, Problems>) -> Outcome {
        let started = Instant::now();
        if !dry_run {
            systemd::reloading();
        }
        let outcome = self.try_reload(dry_run, read).unwrap_or_else(Outcome::Refused);
        if !dry_run {
            let took = started.elapsed();
            // Before it is counted: whoever sees the count finds the refusal.
            self.recent.note(Reload { at_ms: now_ms(), cause, took, outcome: outcome.clone() });
            self.report(cause, &outcome, took);
            systemd::ready(&format!("serving{}", self.recent.remark()));
        }
        outcome
    }

    fn try_reload(&mut self, dry_run: bool, read: Result<Text, Problems>) -> Result<Outcome, Refusal> {
        if !dry_run {
            self.seen = seen(&read);
        }
        let (path, text) = read.map_err(|problems| Refusal::of_problems(&problems))?;
        if !dry_run && self.file.is_none() {
            self.file.clone_from(&path);
        }
        let loaded = self.origin.check(path, text);
        let loaded = loaded.and_then(|loaded| run_tests(&loaded).map(|()| loaded));
        let config = loaded.map_err(|problems| Refusal::of_problems(&problems))?.config;
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(live) = live.as_mut() else {
            let message = "the daemon is stopping".to_owned();
            return Err(Refusal::of_faults(vec![Fault {
                code: Code::Stopping,
                message,
                place: None,
                hint: None,
            }]));
        };
        let diff = Diff::between(&live.config, &config);
        if diff.is_empty() {
            // Tests are not a difference, and are the file's all the same.
            live.config = config;
            return Ok(Outcome::Unchanged);
        }
        check_fixed(&diff, &live.places.fixed())?;
        let hash = hash_number(&config);
        let planned = live.plan(&config).map_err(|errors| Refusal::of_bind_errors(&errors))?;
        if dry_run {
            return Ok(Outcome::WouldApply(diff));
        }
        live.apply(planned);
        self.metrics.configured(hash, now_ms());
        Ok(Outcome::Applied(diff))
    }

    fn report(&self, cause: Cause, outcome: &Outcome, took: Duration) {
        let (cause, took_ms) = (cause.as_str(), took.as_millis() as u64);
        match outcome {
            Outcome::Applied(diff) => {
                self.metrics.reloaded(ReloadResult::Applied);
                let summary = diff.summary();
                tracing::info!(cause, took_ms, changes = %summary, "configuration reloaded");
                self.alerts.say(Alert {
                    code: "config_reloaded",
                    severity: Severity::Info,
                    message: format!("configuration reloaded: {summary}"),
                    details: json!({
                        "cause": cause,
                        "summary": summary,
                        "rooms_added": diff.rooms_added,
                        "rooms_removed": diff.rooms_removed,
                    }),
                });
            }
            Outcome::Unchanged => {
                self.metrics.reloaded(ReloadResult::Unchanged);
                tracing::info!(cause, "configuration reloaded: nothing is different");
            }
            Outcome::Refused(refusal) => {
                self.metrics.reloaded(ReloadResult::Refused);
                let problems: Vec<&str> =
                    refusal.problems.iter().map(|fault| fault.message.as_str()).collect();
                tracing::error!(cause, problems = %refusal.line(), "configuration refused: the one in force stays");
                self.alerts.say(Alert {
                    code: "config_refused",
                    severity: Severity::Error,
                    message: "a configuration was refused: the one before stays in force".to_owned(),
                    details: json!({ "cause": cause, "problems": problems }),
                });
            }
            Outcome::WouldApply(_) => {}
        }
    }
}

/// The result of a look at the file, to compare with the next.
fn seen(read: &Result<Text, Problems>) -> Result<String, String> {
    read.as_ref().map(|(_, text)| text.clone()).map_err(ToString::to_string)
}

/// Refuses what takes a restart, and what systemd has bound.
fn check_fixed(diff: &Diff, sockets: &[&str]) -> Result<(), Refusal> {
    let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
    let fault = |change: &Change| {
        let is_socket = sockets.contains(&change.key.as_str());
        if !is_socket && !FIXED.contains(&change.key.as_str()) {
            return None;
        }
        let why = if is_socket { "while its sockets come from systemd" } else { "while the daemon runs" };
        let hint = if is_socket {
            "change the .socket unit and restart it, or put the old value back"
        } else {
            "restart the daemon, or put the old value back"
        };
        let (old, new) = (show(&change.old), show(&change.new));
        let message = format!("`{}` cannot be changed {why}: {old} → {new}", change.key);
        Some(Fault { code: Code::NeedsRestart, message, place: None, hint: Some(hint.to_owned()) })
    };
    let faults: Vec<Fault> = diff.changes.iter().filter_map(fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::of_faults(faults)) }
}

/// Notes the configuration that the daemon starts with.
pub(super) fn note_start(metrics: &Metrics, config: &Config) {
    metrics.configured(hash_number(config), now_ms());
}
