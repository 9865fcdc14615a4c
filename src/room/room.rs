//! One room: its log, its buffer, and the shards that read it, behind one short lock.

use super::buffer::Buffer;
use super::figures::{Counted, RoomFigures, Tally};
use super::generation::Generation;
use super::log::{Log, ReadLimit};
use super::seats::{Seats, Tokens};
use super::totals::Totals;
use crate::config::RoomConfig;
use crate::event::{Batch, Entry, Event};
use crate::wire::Epoch;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// A named log. Until the first event is published it is an *interest*: a name, an epoch and its subscribers.
pub struct Room {
    name: Box<str>,
    epoch: Epoch,
    /// Set once, when the room stops being an interest; read without the lock on the way of every event.
    holds_events: AtomicBool,
    counted: Counted,
    state: Mutex<State>,
}

struct State {
    policy: Policy,
    /// Offset that the log goes on after, while there is none.
    head: u64,
    body: Option<Box<Body>>,
    seats: Seats,
    /// Closed rooms are out of the registry; whoever still publishes to one looks the name up again.
    closed: bool,
    /// Closed because the configuration no longer has the name: readers get what is in it, and leave.
    removed: bool,
}

/// What a generation of the configuration says of a room.
pub(super) struct Policy {
    pub(super) config: Arc<RoomConfig>,
    pub(super) serial: u64,
}

/// What a room has once something was published.
struct Body {
    log: Log,
    buffer: Buffer,
    /// Whether a flush of the buffer is on the clock.
    on_clock: bool,
    /// Batches flushed.
    batches: u64,
}

/// The room is out of the registry; look its name up again.
#[derive(Debug)]
pub struct Closed;

/// An event on its way into a room.
#[derive(Debug)]
pub struct Staged {
    /// The event.
    pub event: Event,
    /// Value of the buffer's `group_by`; empty without.
    pub group: Box<str>,
    /// Value of the room's `key`, where the buffer keeps the newest of each; empty otherwise.
    pub key: Box<str>,
    /// Whether the buffer is flushed at once.
    pub urgent: bool,
}

/// A room's log as a new subscription finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// This life of the log.
    pub epoch: Epoch,
    /// Offset of the newest event.
    pub head: u64,
    /// Offset of the oldest event of history, or of the next one.
    pub first: u64,
}

/// What publishing did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    /// Events of a key that a newer one replaced in the buffer.
    pub replaced: u64,
    /// When the buffer must be flushed, if that is not on the clock yet.
    pub flush_at: Option<Instant>,
}

impl Room {
    /// An interest. Its log will go on after `head` in `epoch`.
    pub(super) fn new(name: &str, policy: Policy, epoch: Epoch, head: u64) -> Room {
        let seats = Seats::default();
        let state = State { policy, head, body: None, seats, closed: false, removed: false };
        Room {
            name: name.into(),
            epoch,
            holds_events: AtomicBool::new(false),
            counted: Counted::default(),
            state: Mutex::new(state),
        }
    }

    /// Counts a subscription in.
    pub fn joined(&self) {
        self.counted.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a subscription out.
    pub fn left(&self) {
        self.counted.subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where shards count what they do.
    pub fn tally(&self) -> &Tally {
        self.counted.tally()
    }

    /// Subscriptions.
    pub fn subscribers(&self) -> u32 {
        self.counted.subscribers.load(Ordering::Relaxed)
    }

    /// The room at this moment.
    pub fn figures(&self) -> RoomFigures {
        let state = self.lock();
        let body = state.body.as_deref().map(|body| (&body.log, &body.buffer, body.batches));
        RoomFigures::of(self.tail(&state), body, &self.counted)
    }

    /// The room's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This life of its log.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the configuration says of it.
    pub fn policy(&self) -> Arc<RoomConfig> {
        Arc::clone(&self.lock().policy.config)
    }

    /// Whether something was ever published; false for an interest.
    pub fn holds_events(&self) -> bool {
        self.holds_events.load(Ordering::Acquire)
    }

    /// Makes the room one that holds events, if `claim` grants it a place among `limits.rooms`.
    pub(super) fn open(&self, claim: impl FnOnce() -> bool) -> Result<bool, Closed> {
        let mut state = self.live()?;
        if state.body.is_none() {
            if !claim() {
                return Ok(false);
            }
            let log = Log::new(state.head);
            state.body = Some(Box::new(Body { log, buffer: Buffer::default(), on_clock: false, batches: 0 }));
            self.holds_events.store(true, Ordering::Release);
        }
        Ok(true)
    }

    /// Goes on with the log of another process. Nobody has the room yet.
    pub(super) fn go_on(&self, log: Log, totals: &Totals) {
        let mut state = self.lock();
        let body = state.body.as_mut().expect("a room is opened before it goes on");
        let mut change = totals.change(&body.log, &body.buffer);
        body.log = log;
        change.apply(&body.log, &body.buffer);
    }

    /// Takes a read's events, in order, out of `staged`. On `Closed`, `staged` is as it was.
    pub(super) fn publish(
        &self,
        staged: &mut Vec<Staged>,
        generation: &Generation,
        (now, now_ms): (Instant, u64),
        totals: &Totals,
        tokens: &mut Tokens,
    ) -> Result<Published, Closed> {
        let mut guard = self.live()?;
        let state = &mut *guard;
        // During a reload a read of the new generation may come before the room was told of it.
        if generation.serial > state.policy.serial
            && let Some(config) = generation.policy(&self.name)
        {
            state.adopt(Policy { config: Arc::clone(config), serial: generation.serial }, totals);
        }
        let is_of_this_generation = generation.serial == state.policy.serial;
        let body = state.body.as_mut().expect("a publisher opens a room before it publishes there");
        let mut published = Published::default();
        let head = body.log.head();
        let mut change = totals.change(&body.log, &body.buffer);
        match &state.policy.config.buffer {
            Some(config) if is_of_this_generation => {
                let keys = generation.limits.keys;
                for item in staged.drain(..) {
                    let pushed = body.buffer.push(config, keys, item.event, &item.group, &item.key, now);
                    published.replaced += u64::from(pushed.replaced);
                    if pushed.full || item.urgent {
                        body.flush();
                    }
                }
                if let (Some(opened), false) = (body.buffer.opened_at(), body.on_clock) {
                    body.on_clock = true;
                    published.flush_at = Some(opened + config.flush_interval);
                }
            }
            _ => {
                // A read that another generation routed has not the keys and groups of this one's buffer.
                if body.buffer.opened_at().is_some() {
                    body.flush();
                }
                for item in staged.drain(..) {
                    body.log.append(item.event, Batch::Single);
                }
            }
        }
        body.log.trim(&state.policy.config.history, now_ms, state.seats.passed());
        change.apply(&body.log, &body.buffer);
        if body.log.head() > head {
            state.seats.tell(tokens);
        }
        Ok(published)
    }

    /// Follows another generation: a buffer that is not what it was is flushed, and history is trimmed at once.
    pub(super) fn reconfigure(&self, policy: Policy, now_ms: u64, totals: &Totals, tokens: &mut Tokens) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if policy.serial <= state.policy.serial {
            return;
        }
        let head = state.body.as_ref().map(|body| body.log.head());
        state.adopt(policy, totals);
        if let Some(body) = &mut state.body {
            let mut change = totals.change(&body.log, &body.buffer);
            body.log.trim(&state.policy.config.history, now_ms, state.seats.passed());
            change.apply(&body.log, &body.buffer);
        }
        if state.body.as_ref().map(|body| body.log.head()) > head {
            state.seats.tell(tokens);
        }
    }

    /// Closes the room for good, since the configuration no longer has its name. What its buffer holds is flushed, and
    /// readers are told, so that they come and see.
    pub(super) fn close(&self, totals: &Totals, tokens: &mut Tokens) {
        let mut guard = self.lock();
        let state = &mut *guard;
        (state.closed, state.removed) = (true, true);
        if let Some(body) = &mut state.body {
            let mut change = totals.change(&body.log, &body.buffer);
            body.flush();
            change.apply(&body.log, &body.buffer);
        }
        state.seats.tell_all(tokens);
        if state.seats.is_empty() {
            state.empty(totals);
        }
    }

    /// Whether the configuration no longer has the room.
    pub fn is_removed(&self) -> bool {
        self.lock().removed
    }

    /// Flushes the buffer if its time has come. Returns when to come back, if anything is left to flush later.
    pub(super) fn flush_due(
        &self,
        now: Instant,
        now_ms: u64,
        force: bool,
        totals: &Totals,
        tokens: &mut Tokens,
    ) -> Option<Instant> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let body = state.body.as_mut()?;
        body.on_clock = false;
        let interval = state
            .policy
            .config
            .buffer
            .as_ref()
            .map_or(std::time::Duration::ZERO, |config| config.flush_interval);
        let due = body.buffer.opened_at()? + interval;
        if due > now && !force {
            body.on_clock = true;
            return Some(due);
        }
        let mut change = totals.change(&body.log, &body.buffer);
        body.flush();
        body.log.trim(&state.policy.config.history, now_ms, state.seats.passed());
        change.apply(&body.log, &body.buffer);
        state.seats.tell(tokens);
        None
    }

    /// Registers a shard, or finds it registered, and returns the log's tail, all under one hold of the lock: whatever
    /// is published after is told to the shard.
    ///
    /// `token` is what the shard will call the room; the one that it calls it already is returned if there is one.
    pub(super) fn register(&self, shard: u16, token: u32) -> Result<(u32, Tail), Closed> {
        let mut state = self.live()?;
        let tail = self.tail(&state);
        Ok((state.seats.take(shard, token, tail.head), tail))
    }

    /// Forgets a shard. True when nobody reads the room any more.
    pub(super) fn unregister(&self, shard: u16, totals: &Totals) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.seats.leave(shard);
        state.release(totals);
        if state.removed && state.seats.is_empty() {
            state.empty(totals);
        }
        state.seats.is_empty()
    }

    /// Reads events after `after` into `out` for a shard's view, and notes that the shard has been told. Returns the
    /// offset of the first event read and the log's head. The wait for the lock is added to `lock_wait_ns`.
    pub fn take(
        &self,
        shard: u16,
        after: u64,
        limit: ReadLimit,
        out: &mut Vec<Entry>,
        lock_wait_ns: &mut u64,
    ) -> (u64, u64) {
        let mut state = self.lock_timed(lock_wait_ns);
        state.seats.reads(shard);
        match &state.body {
            None => (state.first_after(after), state.head),
            Some(body) => (body.log.read(after, limit, out), body.log.head()),
        }
    }

    /// Notes that every view of a shard has been encoded up to `offset`, so that backlog can go.
    pub fn pass(&self, shard: u16, offset: u64, totals: &Totals) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.seats.has_passed(shard, offset);
        state.release(totals);
    }

    /// Reads events after `after` for one who catches up. Returns the offset of the first event read.
    pub fn read(&self, after: u64, limit: ReadLimit, out: &mut Vec<Entry>) -> u64 {
        let state = self.lock();
        match &state.body {
            None => state.first_after(after),
            Some(body) => body.log.read(after, limit, out),
        }
    }

    /// Offset of the oldest event of history, or of the next one.
    pub fn history_first(&self) -> u64 {
        self.tail(&self.lock()).first
    }

    /// The offset after which everything was accepted at `since_ms` or later.
    pub fn offset_before(&self, since_ms: u64) -> u64 {
        let state = self.lock();
        state.body.as_ref().map_or(state.head, |body| body.log.offset_before(since_ms))
    }

    /// Lets history that is too old go; closes the room if `reclaim` and nobody needs it. Returns its epoch and head if
    /// it was closed.
    pub(super) fn sweep(&self, now_ms: u64, reclaim: bool, totals: &Totals) -> Option<(Epoch, u64)> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(body) = &mut state.body {
            let mut change = totals.change(&body.log, &body.buffer);
            body.log.trim(&state.policy.config.history, now_ms, state.seats.passed());
            change.apply(&body.log, &body.buffer);
        }
        let empty =
            state.body.as_ref().is_none_or(|body| body.log.is_empty() && body.buffer.opened_at().is_none());
        let unused = empty && state.seats.is_empty() && reclaim && !state.closed;
        unused.then(|| {
            state.closed = true;
            (self.epoch, self.tail(state).head)
        })
    }

    /// Bytes of history.
    pub(super) fn history_bytes(&self) -> u64 {
        self.lock().body.as_ref().map_or(0, |body| body.log.history_bytes())
    }

    /// Lets the oldest history go until at most `bytes` are left.
    pub(super) fn shrink(&self, bytes: u64, now_ms: u64, totals: &Totals) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(body) = &mut state.body {
            let mut change = totals.change(&body.log, &body.buffer);
            let limit = crate::config::HistoryConfig {
                bytes: bytes.min(state.policy.config.history.bytes),
                ..state.policy.config.history
            };
            body.log.trim(&limit, now_ms, state.seats.passed());
            change.apply(&body.log, &body.buffer);
        }
    }

    fn tail(&self, state: &State) -> Tail {
        let (head, first) = match &state.body {
            None => (state.head, state.head + 1),
            Some(body) => (body.log.head(), body.log.history_first()),
        };
        Tail { epoch: self.epoch, head, first }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_timed(&self, wait_ns: &mut u64) -> MutexGuard<'_, State> {
        match self.state.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let start = Instant::now();
                let guard = self.lock();
                *wait_ns += start.elapsed().as_nanos() as u64;
                guard
            }
        }
    }

    fn live(&self) -> Result<MutexGuard<'_, State>, Closed> {
        let state = self.lock();
        if state.closed { Err(Closed) } else { Ok(state) }
    }
}

impl State {
    /// Of an interest, where reading after `after` begins: an interest that goes on where a room was given up has nothing
    /// of what came before.
    fn first_after(&self, after: u64) -> u64 {
        after.max(self.head) + 1
    }

    /// Takes another generation's policy over. A buffer that is not what it was is flushed.
    fn adopt(&mut self, policy: Policy, totals: &Totals) {
        let (old, new) = (&self.policy.config, &policy.config);
        let same = old.buffer == new.buffer && old.key == new.key && old.urgent == new.urgent;
        if let (false, Some(body)) = (same, &mut self.body) {
            let mut change = totals.change(&body.log, &body.buffer);
            body.flush();
            change.apply(&body.log, &body.buffer);
        }
        self.policy = policy;
    }

    /// Lets everything go: nobody reads the room, and nobody can find it.
    fn empty(&mut self, totals: &Totals) {
        if let Some(mut body) = self.body.take() {
            let mut change = totals.change(&body.log, &body.buffer);
            self.head = body.log.head();
            body.log = Log::new(self.head);
            body.buffer = Buffer::default();
            change.apply(&body.log, &body.buffer);
        }
    }

    fn release(&mut self, totals: &Totals) {
        if let Some(body) = &mut self.body {
            let mut change = totals.change(&body.log, &body.buffer);
            body.log.release(self.seats.passed());
            change.apply(&body.log, &body.buffer);
        }
    }
}

impl Body {
    fn flush(&mut self) {
        let log = &mut self.log;
        let batches = &mut self.batches;
        self.buffer.flush(|event, batch| {
            *batches += u64::from(batch == Batch::Last);
            log.append(event, batch);
        });
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({})", self.name)
    }
}
