//! What the producers of one thread share.

use super::intake::{Gate, Intake};
use super::lines::{Line, Splitter};
use super::producer::{Place, Producer};
use crate::config::{IngestListenConfig, OriginPattern, WhenFull};
use crate::memory;
use crate::metrics::{ListenerFigures, Metrics};
use crate::route::Rejection;
use crate::shutdown::Shutdown;
use arc_swap::{ArcSwap, Guard};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of the buffer that every read of a thread goes into: some 250 events, so that locks and counters are paid once
/// for many, and well within a core's second-level cache.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// Freed memory that is given back to the system once a thread is idle: that of some 100 producers, or one long event.
const LEFT_BEHIND: usize = 1 << 20;

/// What of the configuration in force concerns producers, beside routes. Replaced as a whole by a reload.
pub(super) struct Settings {
    /// The listeners, by their slots.
    pub(super) listeners: Vec<IngestListenConfig>,
    /// What each listener notes of what comes through it, by its slot.
    pub(super) figures: Vec<Arc<ListenerFigures>>,
    /// Producers at once, at each listener.
    pub(super) connections: usize,
    /// How long a producer may be quiet between two lines.
    pub(super) idle_timeout: Option<Duration>,
    /// How long a line may go without progress.
    pub(super) line_timeout: Duration,
    /// Longest event in bytes.
    pub(super) max_event_size: usize,
    /// Which web pages may post events.
    pub(super) origins: Vec<OriginPattern>,
    /// Names beside loopback that requests may come to.
    pub(super) hosts: Vec<String>,
}

/// What the tasks of one thread share. No borrow of a cell is held across an await.
pub(super) struct Shared {
    settings: Arc<ArcSwap<Settings>>,
    pub(super) intake: RefCell<Intake>,
    /// What every read goes into; a producer keeps only the rest of its last line.
    pub(super) buffer: RefCell<Box<[u8]>>,
    pub(super) gate: Gate,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Stop,
    pub(super) drained: Cell<Drained>,
    /// Reads so far: a thread that goes on reading is not idle.
    reads: Cell<u64>,
    /// Bytes that producers have freed since memory was last given back.
    left_behind: Cell<usize>,
}

/// How stopping went: what was left unfinished when time was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Producers that had not ended their stream, and were cut off.
    pub producers_cut: u64,
    /// Lines and requests that had begun to arrive from them, and were thrown away.
    pub lines_unfinished: u64,
    /// Bytes of those lines.
    pub bytes_unfinished: u64,
}

/// When to stop, and when to give up.
pub(super) struct Stop {
    shutdown: Shutdown,
    /// How long producers may go on.
    patience: Duration,
    deadline: Cell<Option<Instant>>,
}

/// A listener's place among the settings and routes of every generation. Held by whoever reads what came through it: its
/// slot is given to another listener only when nobody holds it any more.
#[derive(Clone, Debug)]
pub(super) struct Slot(Arc<usize>);

impl Slot {
    pub(super) fn new(index: usize) -> Slot {
        Slot(Arc::new(index))
    }

    pub(super) fn index(&self) -> usize {
        *self.0
    }

    /// Whether somebody else holds it.
    pub(super) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Shared {
    pub(super) fn new(
        settings: Arc<ArcSwap<Settings>>,
        intake: Intake,
        gate: Gate,
        metrics: Arc<Metrics>,
        stop: Stop,
    ) -> Shared {
        Shared {
            settings,
            intake: RefCell::new(intake),
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            gate,
            metrics,
            stop,
            drained: Cell::default(),
            reads: Cell::default(),
            left_behind: Cell::default(),
        }
    }

    /// Counts a read.
    pub(super) fn count_read(&self) {
        self.reads.set(self.reads.get() + 1);
    }

    /// Reads so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }

    /// Notes memory that was freed and is still with the allocator.
    pub(super) fn left_behind(&self, bytes: usize) {
        self.left_behind.set(self.left_behind.get() + bytes);
    }

    /// True if producers have left enough memory behind to give it back to the system.
    pub(super) fn has_much_left_behind(&self) -> bool {
        self.left_behind.get() >= LEFT_BEHIND
    }

    /// Gives memory back to the system.
    pub(super) fn give_back(&self) {
        self.left_behind.set(0);
        memory::give_back();
    }

    /// The settings in force. Not to be held across a wait.
    pub(super) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// What a listener in a slot does while the backlog is full.
    pub(super) fn when_full(&self, listener: &Slot) -> WhenFull {
        self.settings().listeners[listener.index()].when_full
    }

    /// Processes one read of so many bytes: `cut` hands out its lines, which are checked, routed and published as a whole.
    pub(super) fn process(
        &self,
        listener: &Slot,
        (splitter, producer): (&mut Splitter, &mut Producer),
        bytes: usize,
        cut: impl FnOnce(&mut Splitter, &mut dyn FnMut(u64, Line<'_>)),
    ) {
        self.count_read();
        let settings = self.settings();
        let max = settings.max_event_size;
        let mut intake = self.intake.borrow_mut();
        let at = (listener.index(), &*settings.figures[listener.index()]);
        let mut reading = intake.begin(at, self.when_full(listener), bytes);
        splitter.set_max(max);
        cut(splitter, &mut |number, line| producer.take_line(&mut reading, number, line, max));
        reading.commit();
    }

    /// Refuses what a producer has sent so far, in bytes, as a whole.
    pub(super) fn reject(
        &self,
        listener: &Slot,
        producer: &mut Producer,
        bytes: usize,
        rejection: &Rejection,
    ) {
        let settings = self.settings();
        let mut intake = self.intake.borrow_mut();
        let at = (listener.index(), &*settings.figures[listener.index()]);
        let mut reading = intake.begin(at, self.when_full(listener), bytes);
        producer.reject(&mut reading, Place { line: 1, before: 0 }, b"", rejection);
        reading.commit();
    }

    /// Counts a producer that is cut off, and what it had begun.
    pub(super) fn count_cut(&self, lines: u64, bytes: usize) {
        let cut = Drained { producers_cut: 1, lines_unfinished: lines, bytes_unfinished: bytes as u64 };
        self.drained.set(self.drained.get() + cut);
    }
}

impl std::ops::Add for Drained {
    type Output = Drained;

    fn add(self, other: Drained) -> Drained {
        Drained {
            producers_cut: self.producers_cut + other.producers_cut,
            lines_unfinished: self.lines_unfinished + other.lines_unfinished,
            bytes_unfinished: self.bytes_unfinished + other.bytes_unfinished,
        }
    }
}

impl Stop {
    pub(super) fn new(shutdown: Shutdown, patience: Duration) -> Stop {
        Stop { shutdown, patience, deadline: Cell::new(None) }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.shutdown.has_begun()
    }

    /// Returns when stopping begins. Cancel-safe.
    pub(super) async fn begun(&self) {
        self.shutdown.clone().begun().await;
        if self.deadline.get().is_none() {
            self.deadline.set(Some(Instant::now() + self.patience));
        }
    }

    /// Returns when producers are cut off. Cancel-safe.
    pub(super) async fn cut(&self) {
        self.begun().await;
        if let Some(deadline) = self.deadline.get() {
            tokio::time::sleep_until(deadline).await;
        }
    }
}
