//! The daemon as a producer: what it says of itself, and metrics of the machine.
//!
//! One thread, never a shard's. It also adds a row a second to the figures of the last ten minutes. Its events go the way of every event, through routes of their own: what no room takes is
//! counted. Nothing that is counted here makes an alert, so that alerts cannot feed on themselves.

mod judge;
mod processes;
mod system;

use crate::alert::{Alert, Alerts, Said, Severity};
use crate::config::Rate;
use crate::limits::Bucket;
use crate::metrics::{Metrics, RoomLevels, Sampler};
use crate::room::{Publisher, Rooms};
use crate::route::{Beside, Outcome, Scratch};
use crate::time::Moment;
pub(crate) use judge::Load;
use judge::{Judge, Look};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use system::System;

/// Between two looks at the daemon's own figures.
const LOOK: Duration = Duration::from_secs(1);
/// Clients that come and go, told a second.
const CLIENTS: Rate = Rate { per_second: 20.0, burst: 100 };
/// Alerts published a second, whatever is said: a bound, and far above what an ordinary trouble makes.
const ALERTS: Rate = Rate { per_second: 5.0, burst: 50 };

/// The thread's state.
struct Sources {
    rooms: Arc<Rooms>,
    metrics: Arc<Metrics>,
    publisher: Publisher,
    scratch: Scratch,
    judge: Judge,
    sampler: Sampler,
    system: Option<System>,
    alerts: Bucket,
    clients: Bucket,
    started: Instant,
}

/// Starts the thread, which ends when it is told to.
pub fn spawn(rooms: Arc<Rooms>, metrics: Arc<Metrics>, said: Receiver<Said>) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("sources".to_owned()).spawn(move || {
        let sources = Sources {
            publisher: Publisher::new(Arc::clone(&rooms)),
            rooms,
            sampler: Sampler::new(&metrics, Instant::now()),
            metrics,
            scratch: Scratch::default(),
            judge: Judge::default(),
            system: None,
            alerts: Bucket::new(ALERTS, 0),
            clients: Bucket::new(CLIENTS, 0),
            started: Instant::now(),
        };
        sources.run(&said);
    })
}

/// The way to say something, for a daemon with these figures.
pub fn alerts(metrics: &Metrics) -> (Alerts, Receiver<Said>) {
    Alerts::new(metrics.alerts_suppressed.clone())
}

/// A room that an event of the daemon's own went to, and how many subscriptions it has.
pub type Reached = (String, u32);

/// Publishes an alert that says it is a test. Returns the rooms that took it.
pub fn publish_test(rooms: &Arc<Rooms>, metrics: &Metrics) -> Vec<Reached> {
    let alert = Alert {
        code: "test",
        severity: Severity::Info,
        message: "a test, asked for over the API".to_owned(),
        details: json!({ "test": true }),
    };
    let mut publisher = Publisher::new(Arc::clone(rooms));
    let mut scratch = Scratch::default();
    let routes = publisher.begin_own();
    let line = event(&alert).to_string();
    let number = || publisher.number();
    let outcome = routes.read(&mut scratch, line.as_bytes(), &Beside::default(), Moment::now(), number);
    let mut reached = Vec::new();
    if let Ok(Outcome::Event(event)) = outcome
        && publisher.stage(&event, &scratch)
    {
        metrics.own_events.increment(1);
        reached = publisher.reached();
    }
    publisher.commit_own();
    reached
}

impl Sources {
    fn run(mut self, said: &Receiver<Said>) {
        let mut next_look = Instant::now() + LOOK;
        let mut next_system = Instant::now();
        loop {
            let until = next_look.min(next_system);
            match said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Said::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Said::Alert(alert)) => self.say(&alert, false),
                Ok(Said::Client(alert)) => self.say(&alert, true),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if now >= next_look {
                next_look = now + LOOK;
                self.look(now);
            }
            if now >= next_system {
                next_system = now + self.measure();
            }
        }
    }

    fn look(&mut self, now: Instant) {
        let totals = self.rooms.totals();
        let levels = RoomLevels { rooms: totals.rooms(), backlog_bytes: totals.backlog_bytes() };
        self.sampler.sample(&self.metrics, now, levels);
        let generation = self.rooms.generation();
        let look = Look::at(&self.metrics, &self.rooms, &generation.config);
        let repeat = generation.config.sources.alerts.repeat;
        for alert in self.judge.look(now, repeat, &look) {
            self.say(&alert, false);
        }
    }

    /// Publishes the machine's metrics, if that is on. Returns when to come back.
    fn measure(&mut self) -> Duration {
        // Cloned: a look may take long where a disk hangs, and a reload waits until nobody holds the generation.
        let config = self.rooms.generation().config.sources.system.clone();
        let Some(every) = config.every else {
            self.system = None;
            return LOOK;
        };
        if self.system.is_none() {
            match System::new() {
                Ok(system) => self.system = Some(system),
                Err(error) => tracing::warn!(%error, "the machine cannot be looked at"),
            }
        }
        let events = self.system.as_mut().map(|system| system.measure(&config.processes));
        self.publish(&events.unwrap_or_default());
        every
    }

    fn say(&mut self, alert: &Alert, is_client: bool) {
        if !self.rooms.generation().config.sources.alerts.enabled {
            return;
        }
        let now_ms = self.started.elapsed().as_millis() as u64;
        let (bucket, rate) =
            if is_client { (&mut self.clients, CLIENTS) } else { (&mut self.alerts, ALERTS) };
        if !bucket.take(1, rate, now_ms) {
            self.metrics.alerts_suppressed.increment(1);
            return;
        }
        self.publish(&[event(alert)]);
    }

    fn publish(&mut self, events: &[Value]) {
        if events.is_empty() {
            return;
        }
        let routes = self.publisher.begin_own();
        let beside = Beside::default();
        for event in events {
            let line = event.to_string();
            let publisher = &self.publisher;
            let number = || publisher.number();
            match routes.read(&mut self.scratch, line.as_bytes(), &beside, Moment::now(), number) {
                Ok(Outcome::Event(event)) if self.publisher.stage(&event, &self.scratch) => {
                    self.metrics.own_events.increment(1);
                }
                // Kept out by `limits.rooms`, not taken by any room, or not what `[types]` asks for.
                Ok(_) | Err(_) => self.metrics.own_unrouted.increment(1),
            }
        }
        self.publisher.commit_own();
    }
}

/// An alert as an event.
fn event(alert: &Alert) -> Value {
    let mut details = alert.details.clone();
    if let Value::Object(details) = &mut details {
        details.insert("code".to_owned(), alert.code.into());
    }
    json!({
        "type": "system_alert",
        "severity": alert.severity.as_str(),
        "component": "broadcastd",
        "message": alert.message,
        "details": details,
    })
}
