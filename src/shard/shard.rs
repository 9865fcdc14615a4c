//! A shard: one thread, its poll loop, and everything it owns.
//!
//! Each turn serves what is ready on its sockets, takes what others handed over, and then spends a bounded slice on
//! passes and on clients who catch up. Nothing here waits but the poll.

use super::client::Client;
use super::composed::Compositions;
use super::drain::Drain;
use super::every::Due;
use super::gathered::Gathered;
use super::heartbeat::{BEATS, SLOW_LOG};
use super::inbox::{Inbox, Message};
use super::pace::Paced;
use super::pages::PageCache;
use super::recovery::Recovery;
use super::socketio::Beats;
use super::stats::Stats;
use super::view::{Active, Seat, View};
use crate::alert::Alerts;
use crate::config::{ClientLimits, OverDeliveries, Rate};
use crate::event::Entry;
use crate::limits::Bucket;
use crate::metrics::{Metrics, ShardFigures};
use crate::room::{Bell, Rooms};
use crate::view::Pool;
use crate::wire::FrameReader;
use mio::{Events, Poll, Token};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The poll's own token; clients' are their places in the slab.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Sockets reported by one poll.
const POLLED: usize = 1024;
/// What is read from a socket at once. Shared by all clients of the shard.
const READ_BYTES: usize = 64 << 10;
/// Clients that memory is reserved for.
const RESERVED: usize = 100_000;
/// Longest sleep of a shard with nothing to do.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How often a held pass is looked at again while nothing else happens.
const HELD_WAIT: Duration = Duration::from_millis(5);

/// What a shard needs from outside.
pub(super) struct Parts {
    pub(super) index: u16,
    pub(super) poll: Poll,
    pub(super) bell: Arc<Bell>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) alerts: Alerts,
    /// Clients of this shard, for those who choose one.
    pub(super) population: Arc<AtomicUsize>,
    /// Numbers clients, over all shards.
    pub(super) numbers: Arc<std::sync::atomic::AtomicU64>,
    /// Views with a filter or a pace, over all shards.
    pub(super) shaped_views: Arc<AtomicUsize>,
    /// Clients of Socket.IO that may come back, over all shards.
    pub(super) recovery: Arc<Recovery>,
}

/// A shard's state. Owned by its thread; nobody else sees it.
pub(super) struct Shard {
    pub(super) parts: Parts,
    pub(super) clients: Slab<Client>,
    pub(super) seats: Slab<Seat>,
    pub(super) views: Slab<View>,
    /// Views to begin or go on with a pass, in turn.
    pub(super) ready: VecDeque<u32>,
    /// Clients to be served from behind, in turn.
    pub(super) catching: VecDeque<u32>,
    /// Views whose pass is held.
    pub(super) held: Vec<u32>,
    /// Passes under way.
    pub(super) passing: usize,
    /// Passes that were begun, ever: the number of the last one.
    pub(super) passes_begun: u64,
    pub(super) pages: PageCache,
    pub(super) pool: Pool,
    /// Boxed, as views hold them: an idle view has a pointer.
    #[allow(clippy::vec_box)]
    pub(super) actives: Vec<Box<Active>>,
    pub(super) reader: Option<FrameReader>,
    pub(super) read_buffer: Box<[u8]>,
    /// Clients with more to read than one turn allows.
    pub(super) unread: Vec<u32>,
    /// Clients that are closing, and until when they are waited for.
    pub(super) closing: VecDeque<(Instant, u32, u64)>,
    pub(super) entries: Vec<Entry>,
    /// Events with their offsets, where others between them were left out.
    pub(super) keyed: Vec<(u64, Entry)>,
    pub(super) room_json: Vec<u8>,
    /// What is put together for one client. Kept for its memory.
    pub(super) gathered: Gathered,
    /// What passes have for clients in several rooms, where it has to be put together.
    pub(super) composed: Compositions,
    pub(super) stats: Stats,
    /// What others see of the shard.
    pub(super) figures: Arc<ShardFigures>,
    /// Slow clients that may be logged.
    pub(super) slow_log: Bucket,
    /// Events that the subscription furthest behind lacks, as far as this heartbeat has looked.
    pub(super) behind_events: u64,
    pub(super) started: Instant,
    pub(super) now: Instant,
    /// `server.heartbeat`.
    pub(super) heartbeat: Duration,
    /// `limits.client.deliveries`, and what is done above it.
    pub(super) deliveries: Option<Rate>,
    pub(super) over_deliveries: OverDeliveries,
    /// Clients that wait because of it.
    pub(super) paced: Paced,
    /// Views with a pace that have something to send, and when.
    pub(super) due: Due,
    /// `sources.alerts.clients`.
    pub(super) tells_clients: bool,
    pub(super) next_beat: Instant,
    /// The heartbeat's step, and the next client of it to be asked, while there are some to go.
    pub(super) beat: usize,
    pub(super) asking: Option<usize>,
    /// The next client whose socket gets the limits in force, while there are some to go.
    pub(super) refitting: Option<usize>,
    /// Seats of rooms that the configuration no longer has, and until when those who are behind there are waited for.
    pub(super) removed: Vec<(u32, Instant)>,
    /// When clients of Socket.IO are to be asked whether they are there.
    pub(super) beats: Beats,
    /// Clients that are served by polling, by their sessions' ids.
    pub(super) sessions: HashMap<Box<str>, u32>,
    pub(super) drain: Option<Drain>,
    pub(super) stopped: bool,
    /// How far the shard's clock is ahead of the real one; only a simulation moves it.
    pub(super) ahead: Duration,
    grown: Vec<u32>,
    polled: Vec<(Token, bool, bool)>,
}

impl Shard {
    pub(super) fn new(parts: Parts) -> Shard {
        let now = Instant::now();
        let generation = parts.rooms.generation();
        let places = generation.limits.clients.min(RESERVED);
        let heartbeat = generation.config.server.heartbeat;
        Shard {
            next_beat: now + heartbeat / BEATS as u32,
            heartbeat,
            figures: parts.metrics.shard(),
            deliveries: generation.limits.client.deliveries,
            over_deliveries: generation.limits.client.over_deliveries,
            paced: Paced::default(),
            due: Due::default(),
            tells_clients: generation.config.sources.alerts.clients,
            parts,
            // Reserved, so that they never move: a move leaves the old place resident for a while. Memory that was
            // never written to costs nothing but addresses.
            clients: Slab::with_capacity(places),
            seats: Slab::with_capacity(places),
            views: Slab::with_capacity(places),
            ready: VecDeque::new(),
            catching: VecDeque::new(),
            held: Vec::new(),
            passing: 0,
            passes_begun: 0,
            pages: PageCache::default(),
            pool: Pool::default(),
            actives: Vec::new(),
            reader: Some(FrameReader::new()),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            unread: Vec::new(),
            closing: VecDeque::new(),
            entries: Vec::new(),
            keyed: Vec::new(),
            room_json: Vec::new(),
            gathered: Gathered::default(),
            composed: Compositions::default(),
            stats: Stats::default(),
            slow_log: Bucket::new(SLOW_LOG, 0),
            behind_events: 0,
            started: now,
            now,
            beat: 0,
            asking: None,
            refitting: None,
            removed: Vec::new(),
            beats: Beats::default(),
            sessions: HashMap::new(),
            drain: None,
            stopped: false,
            ahead: Duration::ZERO,
            grown: Vec::new(),
            polled: Vec::new(),
        }
    }

    /// Runs until the shard is drained or stopped. Returns how many clients were left with something undelivered.
    pub(super) fn run(mut self) -> usize {
        let mut events = Events::with_capacity(POLLED);
        while !self.stopped {
            self.turn(&mut events, Duration::MAX);
        }
        self.stats.publish(&self.parts.metrics);
        self.unfinished()
    }

    /// One turn, which waits for something to do for `longest` at most.
    pub(super) fn turn(&mut self, events: &mut Events, longest: Duration) {
        let timeout = self.sleep_for().min(longest);
        if let Err(error) = self.parts.poll.poll(events, Some(timeout))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            tracing::error!(%error, shard = self.parts.index, "poll failed");
            self.stopped = true;
        }
        self.parts.bell.awake();
        self.now = Instant::now() + self.ahead;
        self.serve_sockets(events);
        self.take_messages();
        self.take_grown();
        self.slice();
        if self.passing == 0 {
            self.composed.rest();
        }
        self.keep_time();
        self.stats.publish(&self.parts.metrics);
        let ended = Instant::now() + self.ahead;
        self.stats.turned(ended.duration_since(self.now), ended, &self.figures);
    }

    /// How long the poll may wait: not at all while there is work.
    fn sleep_for(&mut self) -> Duration {
        let busy = !self.ready.is_empty()
            || !self.catching.is_empty()
            || !self.unread.is_empty()
            || self.asking.is_some()
            || self.refitting.is_some();
        if busy || !self.parts.bell.prepare_sleep() || !self.parts.inbox.is_empty() {
            self.parts.bell.awake();
            return Duration::ZERO;
        }
        // Never for long, so that others see that the shard turns.
        let until_beat = self
            .next_beat
            .saturating_duration_since(Instant::now())
            .min(LONGEST_SLEEP)
            .min(self.until_paced())
            .min(self.until_due())
            .min(self.until_socketio());
        let nothing_pressing = self.held.is_empty()
            && self.drain.is_none()
            && self.closing.is_empty()
            && self.removed.is_empty();
        // Rounded up by the kernel to a millisecond.
        if nothing_pressing { until_beat } else { until_beat.min(HELD_WAIT) }
    }

    fn serve_sockets(&mut self, events: &Events) {
        let mut polled = std::mem::take(&mut self.polled);
        polled.extend(events.iter().filter(|event| event.token() != WAKE).map(|event| {
            (event.token(), event.is_readable() || event.is_read_closed(), event.is_writable())
        }));
        for (Token(client), readable, writable) in polled.drain(..) {
            // A client may have gone since the poll; its place is only reused by a later message.
            if writable && self.clients.contains(client) {
                self.drained(client as u32);
            }
            if readable && self.clients.contains(client) {
                self.readable(client as u32);
            }
        }
        self.polled = polled;
        for client in std::mem::take(&mut self.unread) {
            if self.clients.contains(client as usize) {
                self.readable(client);
            }
        }
    }

    fn take_messages(&mut self) {
        for message in self.parts.inbox.take() {
            match message {
                Message::Adopt(client) => self.adopt(*client),
                Message::Upgrade(upgraded) => self.upgrade(*upgraded),
                // Whoever asked may be gone.
                Message::List(room, most, reply) => {
                    let _ = reply.send(self.list_clients(room.as_deref(), most));
                }
                Message::End(number, reply) => {
                    let _ = reply.send(self.end_client(number));
                }
                Message::Reconfigure => self.reconfigure(),
                Message::Drain(deadline) => self.drain = Some(Drain::new(deadline, self.now)),
            }
        }
    }

    pub(super) fn take_grown(&mut self) {
        let mut grown = std::mem::take(&mut self.grown);
        self.parts.bell.take(&mut grown);
        for seat in grown.drain(..) {
            // A token may be older than the seat that has the place now: nothing is new there then.
            let Some(state) = self.seats.get(seat as usize) else { continue };
            if state.room.is_removed() {
                self.begin_removal(seat);
            }
            for view in self.seats[seat as usize].views.clone() {
                self.views[view as usize].grown = true;
                self.make_ready(view);
            }
        }
        self.grown = grown;
    }

    /// Puts a view into the queue of passes.
    pub(super) fn make_ready(&mut self, view: u32) {
        let state = &mut self.views[view as usize];
        if !state.ready {
            state.ready = true;
            self.ready.push_back(view);
        }
    }

    fn keep_time(&mut self) {
        self.keep_beat();
        for view in std::mem::take(&mut self.held) {
            if self.views.contains(view as usize) {
                self.make_ready(view);
            }
        }
        self.beat_socketio();
        self.end_closing();
        self.wake_paced();
        self.wake_due();
        self.refit_some();
        self.go_on_removing();
        self.go_on_draining();
    }

    /// Milliseconds since the shard began.
    pub(super) fn elapsed_ms(&self) -> u64 {
        self.now.duration_since(self.started).as_millis() as u64
    }

    /// Milliseconds since the shard began, by a clock that goes on within a turn.
    pub(super) fn elapsed_now_ms(&self) -> u64 {
        (Instant::now() + self.ahead).duration_since(self.started).as_millis() as u64
    }

    /// The limits of each client that are in force.
    pub(super) fn client_limits(&self) -> ClientLimits {
        self.parts.rooms.generation().limits.client.clone()
    }

    /// Notes how many clients the shard has.
    pub(super) fn count_clients(&self) {
        self.parts.population.store(self.clients.len(), Ordering::Relaxed);
    }
}
