//! One room: its log, its buffer, and the shards that read it, behind one short lock.

use super::body::Body;
use super::figures::{LazyTally, RoomFigures, Tally};
use super::generation::Generation;
use super::keys::KeysRead;
use super::log::ReadLimit;
use super::seats::{Seats, Tokens};
use super::staged::{Staged, Taken};
use super::state::{ALWAYS_DUE, State};
use super::totals::Totals;
use crate::config::RoomConfig;
use crate::event::{Entry, Event, KeyId};
use crate::wire::Epoch;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// A named log. Until the first event is published it is an *interest*: a name, an epoch and its subscribers.
pub struct Room {
    name: Box<str>,
    epoch: Epoch,
    /// Subscriptions, over all shards, and [`HOLDS_EVENTS`]: a record with room for both would be of the allocator's next size.
    subscribers: AtomicU32,
    /// Before this second of log time a sweep has nothing to do here. Written under the lock and read without it: most rooms
    /// have nothing to do in most sweeps.
    due_s: AtomicU32,
    tally: LazyTally,
    state: Mutex<State>,
}

/// In the number of subscriptions: set once, when the room stops being an interest. Read without the lock on the way of
/// every event.
const HOLDS_EVENTS: u32 = 1 << 31;
/// What a generation of the configuration says of a room.
pub(super) struct Policy {
    pub(super) config: Arc<RoomConfig>,
    /// `limits.keys`.
    pub(super) keys: usize,
    pub(super) serial: u32,
}

/// The room is out of the registry; look its name up again.
#[derive(Debug)]
pub struct Closed;

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

/// A key of a room.
pub(super) struct KnownKey {
    pub(super) id: KeyId,
    pub(super) text: String,
    /// Its newest event, where history no longer has it.
    pub(super) newest: Option<(u64, Event)>,
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
        let Policy { config, serial, .. } = policy;
        let state = State { config, serial, head, body: None, seats, closed: false, removed: false };
        Room {
            name: name.into(),
            epoch,
            subscribers: AtomicU32::new(0),
            due_s: AtomicU32::new(ALWAYS_DUE),
            tally: LazyTally::default(),
            state: Mutex::new(state),
        }
    }

    /// Counts a subscription in.
    pub fn joined(&self) {
        self.subscribers.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a subscription out.
    pub fn left(&self) {
        self.subscribers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where shards count what they do.
    pub fn tally(&self) -> &Tally {
        self.tally.get()
    }

    /// Subscriptions.
    pub fn subscribers(&self) -> u32 {
        self.subscribers.load(Ordering::Relaxed) & !HOLDS_EVENTS
    }

    /// The room at this moment.
    pub fn figures(&self) -> RoomFigures {
        let state = self.lock();
        RoomFigures::of(self.tail(&state), state.body.as_deref(), self.subscribers(), &self.tally)
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
        Arc::clone(&self.lock().config)
    }

    /// Whether something was ever published; false for an interest.
    pub fn holds_events(&self) -> bool {
        self.subscribers.load(Ordering::Acquire) & HOLDS_EVENTS > 0
    }

    /// Makes the room one that holds events, and at most so many keys, if `claim` grants it a place among `limits.rooms`.
    pub(super) fn open(&self, keys: usize, claim: impl FnOnce() -> bool) -> Result<bool, Closed> {
        let mut state = self.live()?;
        if state.body.is_none() {
            if !claim() {
                return Ok(false);
            }
            let body = Body::new(state.head, &state.config, keys);
            state.body = Some(Box::new(body));
            self.subscribers.fetch_or(HOLDS_EVENTS, Ordering::Release);
        }
        Ok(true)
    }

    /// Goes on with what another process had of the room. Nobody has the room yet, and the first sweep sees what is due.
    pub(super) fn go_on(&self, other: Body, totals: &Totals) {
        let mut state = self.lock();
        let body = state.body.as_mut().expect("a room is opened before it goes on");
        let change = totals.change(body.held());
        **body = other;
        change.apply(body.held());
    }

    /// Takes a read's events, in order, out of `staged`. On `Closed`, `staged` is as it was.
    pub(super) fn publish(
        &self,
        staged: &mut Staged,
        generation: &Generation,
        (now, now_ms): (Instant, u64),
        totals: &Totals,
        tokens: &mut Tokens,
    ) -> Result<Published, Closed> {
        let mut guard = self.live()?;
        let state = &mut *guard;
        // During a reload a read of the new generation may come before the room was told of it.
        if generation.serial > state.serial
            && let Some(config) = generation.policy(&self.name)
        {
            state.adopt(generation.policy_of(config), now_ms, totals);
        }
        let is_of_this_generation = generation.serial == state.serial;
        let body = state.body.as_mut().expect("a publisher opens a room before it publishes there");
        let mut published = Published::default();
        let head = body.log.head();
        let change = totals.change(body.held());
        match &state.config.buffer {
            Some(config) if is_of_this_generation => {
                let keys = generation.limits.keys;
                staged.drain(|Taken { event, group, key, urgent }| {
                    let pushed = body.buffer.push(config, keys, event, group, key, now);
                    published.replaced += u64::from(pushed.replaced);
                    if pushed.full || urgent {
                        body.flush(now_ms);
                    }
                });
                if let (Some(opened), false) = (body.buffer.opened_at(), body.on_clock) {
                    body.on_clock = true;
                    published.flush_at = Some(opened + config.flush_interval);
                }
            }
            _ => {
                // A read that another generation routed has not the keys and groups of this one's buffer.
                if body.buffer.opened_at().is_some() {
                    body.flush(now_ms);
                }
                let same_key = |config: &Arc<RoomConfig>| config.key == state.config.key;
                let has_keys = is_of_this_generation || generation.policy(&self.name).is_some_and(same_key);
                staged.drain(|Taken { event, key, .. }| body.append(event, if has_keys { key } else { "" }));
            }
        }
        body.trim(&state.config.history, now_ms, state.seats.passed());
        change.apply(body.held());
        if body.log.head() > head {
            state.seats.tell(tokens);
        }
        self.note_due(state);
        Ok(published)
    }

    /// Counts events of the daemon's own that were published just now.
    pub(super) fn count_own(&self, events: u64) {
        if let Some(body) = &mut self.lock().body {
            body.count_own(events);
        }
    }

    /// Follows another generation: a buffer that is not what it was is flushed, and history is trimmed at once.
    pub(super) fn reconfigure(&self, policy: Policy, now_ms: u64, totals: &Totals, tokens: &mut Tokens) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if policy.serial <= state.serial {
            return;
        }
        let head = state.body.as_ref().map(|body| body.log.head());
        state.adopt(policy, now_ms, totals);
        if let Some(body) = &mut state.body {
            let change = totals.change(body.held());
            body.trim(&state.config.history, now_ms, state.seats.passed());
            change.apply(body.held());
        }
        if state.body.as_ref().map(|body| body.log.head()) > head {
            state.seats.tell(tokens);
        }
        self.note_due(state);
    }

    /// Closes the room for good, since the configuration no longer has its name. What its buffer holds is flushed, and
    /// readers are told, so that they come and see.
    pub(super) fn close(&self, now_ms: u64, totals: &Totals, tokens: &mut Tokens) {
        let mut guard = self.lock();
        let state = &mut *guard;
        (state.closed, state.removed) = (true, true);
        if let Some(body) = &mut state.body {
            let change = totals.change(body.held());
            body.flush(now_ms);
            change.apply(body.held());
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
        (now, now_ms): (Instant, u64),
        force: bool,
        totals: &Totals,
        tokens: &mut Tokens,
    ) -> Option<Instant> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let body = state.body.as_mut()?;
        body.on_clock = false;
        let interval =
            state.config.buffer.as_ref().map_or(std::time::Duration::ZERO, |config| config.flush_interval);
        let due = body.buffer.opened_at()? + interval;
        if due > now && !force {
            body.on_clock = true;
            return Some(due);
        }
        let change = totals.change(body.held());
        body.flush(now_ms);
        body.trim(&state.config.history, now_ms, state.seats.passed());
        change.apply(body.held());
        state.seats.tell(tokens);
        self.note_due(state);
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
        self.note_due(state);
        state.seats.is_empty()
    }

    /// Reads events after `after` into `out` for a shard's view, and notes that the shard has been told. Returns the
    /// offset of the first event read, when that was flushed (log time; 0 where it waited in no buffer), and the log's
    /// head. The wait for the lock is added to `lock_wait_ns`.
    pub fn take(
        &self,
        shard: u16,
        after: u64,
        limit: ReadLimit,
        out: &mut Vec<Entry>,
        lock_wait_ns: &mut u64,
    ) -> (u64, u64, u64) {
        let mut state = self.lock_timed(lock_wait_ns);
        state.seats.reads(shard);
        match &state.body {
            None => (state.first_after(after), 0, state.head),
            Some(body) => {
                let first = body.log.read(after, limit, out);
                (first, body.flushes.at_ms(first), body.log.head())
            }
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

    /// Reads the newest events of keys after `after` and up to `upto` into `out`, each with its offset, and says how far
    /// that leads.
    pub fn read_keys(
        &self,
        after: u64,
        upto: u64,
        limit: ReadLimit,
        out: &mut Vec<(u64, Entry)>,
    ) -> KeysRead {
        let state = self.lock();
        match state.body.as_ref().and_then(|body| body.keys.as_ref()) {
            None => KeysRead { to: upto.max(after), is_all: true },
            Some(keys) => keys.read(after, upto, limit, out),
        }
    }

    /// Every key, for who writes them down: a number, a text, and the newest event with its offset where history no longer
    /// has it.
    pub(super) fn keys(&self) -> Vec<KnownKey> {
        let state = self.lock();
        let Some(body) = &state.body else { return Vec::new() };
        let first = body.log.history_first();
        let keys = body.keys.iter().flat_map(|keys| keys.iter());
        keys.map(|(id, text, offset, event)| KnownKey {
            id,
            text: text.to_owned(),
            newest: (offset < first).then(|| (offset, event.clone())),
        })
        .collect()
    }

    /// Offset of the oldest event that the log still has, backlog or history, or of the next one.
    pub fn log_first(&self) -> u64 {
        let state = self.lock();
        state.body.as_ref().map_or(state.head + 1, |body| body.log.first())
    }

    /// Offset of the oldest event of history, or of the next one.
    pub fn history_first(&self) -> u64 {
        self.tail(&self.lock()).first
    }

    /// The offset after which everything was accepted at `since_ms` (log time) or later.
    pub fn offset_before(&self, since_ms: u64) -> u64 {
        let state = self.lock();
        state.body.as_ref().map_or(state.head, |body| body.log.offset_before(since_ms))
    }

    /// Whether a sweep may have something to do here. Takes no lock.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms / 1000 >= u64::from(self.due_s.load(Ordering::Relaxed))
    }

    /// Lets history and keys that are too old go; closes the room if `reclaim` and nobody needs it. Returns its epoch and head if
    /// it was closed.
    pub(super) fn sweep(&self, now_ms: u64, reclaim: bool, totals: &Totals) -> Option<(Epoch, u64)> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(body) = &mut state.body {
            let change = totals.change(body.held());
            body.trim(&state.config.history, now_ms, state.seats.passed());
            body.expire_keys(&state.config, now_ms);
            change.apply(body.held());
        }
        self.note_due(state);
        let unused = state.is_empty() && state.seats.is_empty() && reclaim && !state.closed;
        unused.then(|| {
            state.closed = true;
            (self.epoch, self.tail(state).head)
        })
    }

    /// Bytes of history, and of what keys hold.
    pub(super) fn history_bytes(&self) -> u64 {
        self.lock().body.as_ref().map_or(0, |body| body.held().history)
    }

    /// Lets the oldest history go, and then keys, until at most `bytes` are left.
    pub(super) fn shrink(&self, bytes: u64, now_ms: u64, totals: &Totals) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(body) = &mut state.body {
            let change = totals.change(body.held());
            body.shrink(bytes, &state.config.history, now_ms, state.seats.passed());
            change.apply(body.held());
        }
        self.note_due(state);
    }

    /// Notes when a sweep has something to do here, after whatever may have changed that. Who comes to read changes it too, and
    /// is seen by the next sweep.
    fn note_due(&self, state: &mut State) {
        self.due_s.store(state.due_s(), Ordering::Relaxed);
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

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Room({})", self.name)
    }
}
