//! A thread's way from lines to rooms: what is the same for every producer of the thread.
//!
//! Sockets are not known here. One read of one producer is a [`Reading`]: begun, given its lines, committed.

use crate::config::{Rate, WhenFull};
use crate::event::Event;
use crate::limits::Bucket;
use crate::metrics::{ListenerFigures, Metrics};
use crate::rejected::{Refused, RejectedLines};
use crate::room::{Publisher, Rooms, Totals};
use crate::route::{Beside, Outcome, Rejection, RejectionCode, Routes, Scratch, parse_with};
use crate::time::Moment;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Where a thread's reads go. Owned by the thread.
pub(super) struct Intake {
    way: Way,
    scratch: Scratch,
    metrics: Arc<Metrics>,
    rejected: Arc<RejectedLines>,
    /// Refused lines that may be logged.
    log: Bucket,
    started: Instant,
}

/// Refused lines that a thread logs: so that thousands of short-lived producers, each with a bad line or two, do not
/// fill a disk. Every refused line is counted in the metrics.
const LOGGED: Rate = Rate { per_second: 20.0, burst: 200 };

/// To the rooms; or, in tests, into a list.
enum Way {
    Rooms(Publisher),
    #[cfg(test)]
    Gathered(Arc<super::gathered::Gathered>),
}

/// Whether the rooms can take more. Apart from [`Intake`], since it is waited at while others read.
pub(super) enum Gate {
    /// The real rooms.
    Rooms(Arc<Rooms>),
    /// A test's list.
    #[cfg(test)]
    Gathered(Arc<super::gathered::Gathered>),
}

/// What became of a line that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// An event.
    Event,
    /// A control line.
    Control,
}

/// One read on its way. Adds up in plain integers and counts once, when it is committed.
pub(super) struct Reading<'i> {
    intake: &'i mut Intake,
    listener: &'i ListenerFigures,
    routes: Arc<Routes>,
    now: Moment,
    /// Whether every line is refused, because the backlog is full and the listener sheds.
    sheds: bool,
    bytes: usize,
    events: u64,
    invalid: u64,
    unrouted: u64,
    names_too_long: u64,
    rejected: [u64; RejectionCode::ALL.len()],
}

impl Intake {
    /// A thread's way to these rooms.
    pub(super) fn new(rooms: Arc<Rooms>, metrics: Arc<Metrics>, rejected: Arc<RejectedLines>) -> Intake {
        Intake::of(Way::Rooms(Publisher::new(rooms)), metrics, rejected)
    }

    /// A way into a test's list.
    #[cfg(test)]
    pub(super) fn gathering(list: Arc<super::gathered::Gathered>, metrics: Arc<Metrics>) -> Intake {
        Intake::of(Way::Gathered(list), metrics, Arc::default())
    }

    fn of(way: Way, metrics: Arc<Metrics>, rejected: Arc<RejectedLines>) -> Intake {
        Intake {
            way,
            scratch: Scratch::default(),
            metrics,
            rejected,
            log: Bucket::new(LOGGED, 0),
            started: Instant::now(),
        }
    }

    /// Begins a read of so many bytes of the listener in a slot. Must be committed.
    pub(super) fn begin<'i>(
        &'i mut self,
        (slot, listener): (usize, &'i ListenerFigures),
        when_full: WhenFull,
        bytes: usize,
    ) -> Reading<'i> {
        let routes = match &mut self.way {
            Way::Rooms(publisher) => publisher.begin(slot),
            #[cfg(test)]
            Way::Gathered(list) => list.routes(),
        };
        let sheds = when_full == WhenFull::Shed && self.way.is_full();
        Reading {
            intake: self,
            listener,
            routes,
            now: Moment::now(),
            sheds,
            bytes,
            events: 0,
            invalid: 0,
            unrouted: 0,
            names_too_long: 0,
            rejected: [0; RejectionCode::ALL.len()],
        }
    }
}

impl Reading<'_> {
    /// Parses, routes and stages one line without its end. A control line sets `beside`. `Ok` holds what is wrong with
    /// an event that was taken all the same. Allocates for the event alone.
    pub(super) fn line(
        &mut self,
        line: &[u8],
        beside: &mut Beside,
    ) -> Result<(Taken, Option<Box<Rejection>>), Box<Rejection>> {
        if self.sheds {
            return Err(Box::new(shed()));
        }
        if let Some(with) = with(line) {
            *beside = with?;
            return Ok((Taken::Control, None));
        }
        let Intake { way, scratch, .. } = &mut *self.intake;
        let outcome = self.routes.read(scratch, line, beside, self.now, || way.number())?;
        self.names_too_long += scratch.names_too_long as u64;
        let warning = scratch.warning.take();
        match outcome {
            Outcome::Event(event) => {
                if !way.stage(&event, scratch) {
                    return Err(Box::new(too_many_rooms()));
                }
                self.events += 1;
                self.invalid += u64::from(warning.is_some());
            }
            Outcome::Unrouted => self.unrouted += 1,
            Outcome::NameTooLong => {}
        }
        Ok((Taken::Event, warning))
    }

    /// Counts a refused line, and notes it for operators.
    pub(super) fn reject(
        &mut self,
        producer: &str,
        rejection: &Rejection,
        (line, column): (u64, usize),
        excerpt: (&str, usize),
    ) {
        self.rejected[rejection.code as usize] += 1;
        let (listener, now_ms) = (self.listener.name(), self.now.wall_ms);
        self.intake.rejected.note(&Refused { listener, producer, rejection, line, column, excerpt, now_ms });
    }

    /// Whether a refused line may be logged now; each time counts.
    pub(super) fn may_log(&mut self) -> bool {
        let now_ms = self.intake.started.elapsed().as_millis() as u64;
        self.intake.log.take(1, LOGGED, now_ms)
    }

    /// Refuses every line of the read, if `sheds`.
    pub(super) fn shed_all(&mut self, sheds: bool) {
        self.sheds |= sheds;
    }

    /// Publishes the read's events, and counts what happened.
    pub(super) fn commit(self) {
        let listener = self.listener;
        let rejected = self.rejected.iter().sum::<u64>();
        for (figure, count) in [
            (&listener.events, self.events),
            (&listener.rejected, rejected),
            (&listener.bytes, self.bytes as u64),
        ] {
            figure.fetch_add(count, Ordering::Relaxed);
        }
        match &mut self.intake.way {
            Way::Rooms(publisher) => publisher.commit(),
            #[cfg(test)]
            Way::Gathered(list) => list.commit(),
        }
        let metrics = &self.intake.metrics;
        metrics.ingest_bytes.increment(self.bytes as u64);
        let counts = [
            (&metrics.ingest_events, self.events),
            (&metrics.ingest_invalid, self.invalid),
            (&metrics.ingest_unrouted, self.unrouted),
            (&metrics.ingest_names_too_long, self.names_too_long),
        ];
        for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
        for code in RejectionCode::ALL.iter().filter(|code| self.rejected[**code as usize] > 0) {
            metrics.rejected(*code).increment(self.rejected[*code as usize]);
        }
    }
}

impl Way {
    fn number(&self) -> u64 {
        match self {
            Way::Rooms(publisher) => publisher.number(),
            #[cfg(test)]
            Way::Gathered(list) => list.number(),
        }
    }

    fn stage(&mut self, event: &Event, scratch: &Scratch) -> bool {
        match self {
            Way::Rooms(publisher) => publisher.stage(event, scratch),
            #[cfg(test)]
            Way::Gathered(list) => list.stage(event.clone()),
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Way::Rooms(publisher) => publisher.is_full(),
            #[cfg(test)]
            Way::Gathered(list) => list.totals().is_full(),
        }
    }
}

impl Gate {
    /// Returns once a listener may take its next read. Cancel-safe.
    pub(super) async fn open(&self, when_full: WhenFull) {
        if when_full == WhenFull::Wait {
            self.totals().until(|| !self.is_full()).await;
        }
    }

    /// Whether the backlog is at its bound.
    pub(super) fn is_full(&self) -> bool {
        self.totals().is_full()
    }

    /// Bytes that rooms and unfinished lines hold.
    pub(super) fn totals(&self) -> &Totals {
        match self {
            Gate::Rooms(rooms) => rooms.totals(),
            #[cfg(test)]
            Gate::Gathered(list) => list.totals(),
        }
    }
}

/// The fields of a control line; None for any other line, which is seen from its first bytes.
fn with(line: &[u8]) -> Option<Result<Beside, Box<Rejection>>> {
    let inside = line.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
    inside.starts_with(b"\"$with\"").then(|| std::str::from_utf8(line).ok().and_then(parse_with)).flatten()
}

fn shed() -> Rejection {
    Rejection::new(RejectionCode::BacklogFull, 1, "the backlog is full, and this listener sheds")
        .hint("send it again later; or when_full = \"wait\"; or a larger ingest.backlog")
}

fn too_many_rooms() -> Rejection {
    Rejection::new(RejectionCode::TooManyRooms, 1, "its rooms do not exist yet, and limits.rooms is reached")
        .hint("raise limits.rooms, or use fields with fewer values in room templates")
}
