//! The thread that reloads: requests come one after the other, and changes of the file are waited for until they settle.

use super::live::Live;
use crate::alert::{Alert, Alerts, Severity};
use crate::config::{Config, Dirs, Input, Loaded, Problems};
use crate::metrics::{Metrics, ReloadResult};
use crate::reload::{
    Cause, Change, Diff, Fault, Outcome, Recent, Refusal, Reload, Request, Requests, Settling, hash_number,
};
use crate::route::failed_tests;
use crate::systemd;
use crate::time::now_ms;
use crate::watch::Watcher;
use serde_json::json;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the file is looked at although nobody said that it changed: a watch may have been lost.
const RECHECK: Duration = Duration::from_secs(30);
/// Keys that are fixed when the daemon starts.
const FIXED: [&str; 3] = ["server.shards", "ingest.threads", "log.format"];

/// Where the configuration comes from.
pub struct Origin {
    /// `--config`.
    pub file: Option<PathBuf>,
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
    /// The text that was looked at last, whatever came of it.
    pub(super) seen: Text,
}

impl Origin {
    /// Reads and checks the configuration.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let (path, text) = self.read()?;
        self.check(path, text)
    }

    /// Reads the file.
    pub(super) fn read(&self) -> Result<Text, Problems> {
        self.input(&environment).read_text()
    }

    fn check(&self, path: Option<PathBuf>, text: String) -> Result<Loaded, Problems> {
        self.input(&environment).load_text(path, text)
    }

    fn input<'a>(&self, environment: &'a dyn Fn(&str) -> Option<String>) -> Input<'a> {
        Input { file: self.file.clone(), set: self.set.clone(), environment, dirs: self.dirs.clone() }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Reloader {
    /// Serves requests until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Requests) {
        // It may have changed before it was watched.
        self.reload_if_changed();
        let mut settling = Settling::default();
        let mut recheck = Instant::now() + RECHECK;
        loop {
            let until = settling.due().map_or(recheck, |due| due.min(recheck));
            match requests.rx.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Request::Changed) => {
                    let closed = requests.take_change();
                    settling.changed(Instant::now(), closed);
                }
                Ok(Request::Reload { cause, dry_run, reply }) => {
                    settling.taken_up();
                    let outcome = self.reload(cause, dry_run);
                    // Whoever asked may be gone.
                    let _ = reply.map(|reply| reply.send(outcome));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if settling.due().is_some_and(|due| due <= now) || recheck <= now {
                        settling.taken_up();
                        recheck = now + RECHECK;
                        self.reload_if_changed();
                    }
                }
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reloads if the file is not what it was when it was last looked at. An empty one is somebody about to write it.
    fn reload_if_changed(&mut self) {
        let watches = self.watches();
        if let Some(watcher) = &mut self.watcher {
            watcher.follow();
        }
        if !watches {
            return;
        }
        let read = self.origin.read();
        if read.as_ref().is_ok_and(|read| read.1.trim().is_empty() || self.seen == *read) {
            return;
        }
        self.reload_read(Cause::File, false, read);
    }

    /// Whether `server.watch` is on.
    fn watches(&self) -> bool {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.as_ref().is_some_and(|live| live.config.server.watch)
    }

    fn reload(&mut self, cause: Cause, dry_run: bool) -> Outcome {
        let read = self.origin.read();
        self.reload_read(cause, dry_run, read)
    }

    fn reload_read(&mut self, cause: Cause, dry_run: bool, read: Result<Text, Problems>) -> Outcome {
        let started = Instant::now();
        if !dry_run {
            systemd::reloading();
        }
        let outcome = self.try_reload(dry_run, read).unwrap_or_else(Outcome::Refused);
        if !dry_run {
            let took = started.elapsed();
            self.report(cause, &outcome, took);
            self.recent.note(Reload { at_ms: now_ms(), cause, took, outcome: outcome.clone() });
            systemd::ready(match outcome {
                Outcome::Refused(_) => "serving; the newest configuration is refused",
                _ => "serving",
            });
        }
        outcome
    }

    fn try_reload(&mut self, dry_run: bool, read: Result<Text, Problems>) -> Result<Outcome, Refusal> {
        let (path, text) = read.map_err(|problems| Refusal::of_problems(&problems))?;
        if !dry_run {
            self.seen = (path.clone(), text.clone());
        }
        let loaded = self.origin.check(path, text);
        let config = loaded.map_err(|problems| Refusal::of_problems(&problems))?.config;
        let failed = failed_tests(&config);
        if !failed.is_empty() {
            let fault = |message| Fault { message, place: None, hint: None };
            return Err(Refusal::of_faults(failed.into_iter().map(fault).collect()));
        }
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(live) = live.as_mut() else {
            let message = "the daemon is stopping".to_owned();
            return Err(Refusal::of_faults(vec![Fault { message, place: None, hint: None }]));
        };
        let diff = Diff::between(&live.config, &config);
        if diff.is_empty() {
            // Tests are not a difference, and are the file's all the same.
            live.config = config;
            return Ok(Outcome::Unchanged);
        }
        check_fixed(&diff, &live.places.fixed())?;
        let hash = hash_number(&config);
        let planned = live.plan(config).map_err(|errors| Refusal::of_bind_errors(&errors))?;
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
        Some(Fault { message, place: None, hint: Some(hint.to_owned()) })
    };
    let faults: Vec<Fault> = diff.changes.iter().filter_map(fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::of_faults(faults)) }
}

/// Notes the configuration that the daemon starts with.
pub(super) fn note_start(metrics: &Metrics, config: &Config) {
    metrics.configured(hash_number(config), now_ms());
}
