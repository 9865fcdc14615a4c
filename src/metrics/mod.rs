//! The daemon's figures: handles of the `metrics` crate, made once and held.
//!
//! Series are fixed and of low cardinality. Hot paths add up in plain integers of their own and add those here once a
//! read or a slice. Every instance has a recorder of its own, so that several daemons fit in one process.

mod age;
mod exposition;
mod help;
mod process;
mod trend;

pub use age::Ages;
pub use exposition::Exposition;
pub use trend::{COLUMNS, RoomLevels, Sampler, Trend};

use crate::liveness::{Liveness, Sign};
use crate::log;
use crate::route::RejectionCode;
use crate::time;
use crate::wire::{GapReason, Transport};
use metrics::{Counter, Gauge, counter, describe_counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Why a handshake was refused; label of `broadcastd_handshakes_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeRefusal {
    /// Not a proper WebSocket request.
    BadRequest,
    /// A page of an origin that is not allowed.
    Origin,
    /// `limits.clients` is reached.
    Clients,
    /// `limits.clients_per_ip` is reached.
    ClientsPerIp,
    /// `server.handshakes` is reached.
    Handshakes,
    /// `server.handshake_timeout` passed.
    Timeout,
}

/// Why the daemon closed a producer; label of `broadcastd_producers_closed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerEnd {
    /// `ingest.idle_timeout` passed.
    Idle,
    /// A new producer needed its place.
    GaveWay,
}

/// A counter that the daemon looks at itself: those of the `metrics` crate can only be added to.
#[derive(Clone)]
pub struct Watched {
    counter: Counter,
    total: Arc<AtomicU64>,
}

impl Watched {
    fn new(counter: Counter) -> Watched {
        Watched { counter, total: Arc::default() }
    }

    /// Adds.
    pub fn increment(&self, count: u64) {
        self.counter.increment(count);
        self.total.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// A gauge that the daemon looks at itself.
pub struct Level {
    gauge: Gauge,
    now: AtomicI64,
}

impl Level {
    fn new(gauge: Gauge) -> Level {
        Level { gauge, now: AtomicI64::new(0) }
    }

    /// Raises or lowers it.
    pub fn add(&self, change: i64) {
        self.gauge.increment(change as f64);
        self.now.fetch_add(change, Ordering::Relaxed);
    }

    /// Where it is.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed).max(0) as u64
    }
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events accepted of producers.
    pub accepted: u64,
    /// Events that the daemon published itself.
    pub own: u64,
    /// Events sent, once for each client.
    pub delivered: u64,
    /// Lines refused.
    pub rejected: u64,
}

/// Handles of every series.
pub struct Metrics {
    handle: PrometheusHandle,
    /// Signs of life of the daemon's threads.
    pub liveness: Liveness,
    log: OnceLock<log::Handle>,
    started: Instant,
    started_at_ms: u64,
    trend: Mutex<Trend>,
    /// `broadcastd_config_hash`, to be looked at.
    hash: AtomicU64,
    /// Events accepted.
    pub ingest_events: Counter,
    /// Bytes read from producers.
    pub ingest_bytes: Counter,
    /// Lines refused, in the order of [`RejectionCode::ALL`].
    pub ingest_rejected: Vec<Watched>,
    /// Events taken although a field is not what its type says (`invalid`).
    pub ingest_invalid: Counter,
    /// Valid events that no room took (`unrouted = "count"`).
    pub ingest_unrouted: Counter,
    /// Room names left out because they were over 200 bytes.
    pub ingest_names_too_long: Counter,
    /// Error lines that were not sent to a producer, which had too many pending.
    pub ingest_answers_dropped: Counter,
    /// Producers connected.
    pub producers: Level,
    /// Producers refused at `ingest.connections`.
    pub producers_refused: Watched,
    /// Producers that the daemon closed, in the order of [`ProducerEnd`].
    producers_closed: [Counter; 2],
    /// Accept calls that failed.
    pub accept_errors: Watched,
    /// Events that rooms took, counted once per room.
    pub room_events: Counter,
    /// Events kept out of a room that did not exist yet by `limits.rooms`, counted once per room.
    pub room_refused: Watched,
    /// Events replaced in a buffer by a newer one of the same key.
    pub room_replaced: Counter,
    /// Rooms that hold events.
    pub rooms: Gauge,
    /// Rooms that are only subscribed to.
    pub interests: Gauge,
    /// Bytes of history.
    pub history_bytes: Gauge,
    /// Bytes kept because a shard has not passed them, and of unfinished lines.
    pub backlog_bytes: Gauge,
    /// `limits.clients`, lowered to what descriptors allow.
    pub clients_limit: Gauge,
    /// Clients that have connected.
    pub clients_opened: Counter,
    /// Clients whose socket is full.
    pub clients_blocked: Level,
    /// Clients connected, by transport, in the order of [`Transport::ALL`].
    clients: [Level; Transport::ALL.len()],
    /// Subscriptions behind their view's cursor.
    pub subscriptions_catching_up: Gauge,
    /// Bytes kept for blocked clients: the rests of cut frames, and answers.
    pub pinned_bytes: Gauge,
    /// Bytes of encoded chunks that views keep.
    pub chunk_bytes: Gauge,
    /// Messages of clients refused by a rate, and times a client had to wait for `limits.client.deliveries` or was closed
    /// for it.
    pub rate_limited: Counter,
    /// Events that clients of Socket.IO emitted and nobody knows, where they are ignored.
    pub ignored_emits: Counter,
    /// `broadcastd_deliveries_total`: events sent, counted once per client. Shards add to it once a turn.
    pub deliveries: AtomicU64,
    /// Sends that the kernel took, whole or in part.
    pub sends: Counter,
    /// Sends that the kernel did not take whole.
    pub short_sends: Counter,
    /// Passes finished.
    pub passes: Counter,
    /// Passes put off because a client that goes on reading still needed the oldest chunk.
    pub holds: Counter,
    /// `broadcastd_event_age_seconds`: from acceptance, or the flush, to the end of a pass; one sample for each pass.
    pub event_age: Ages,
    /// What shards note of themselves, by their index.
    shards: Mutex<Vec<Arc<ShardFigures>>>,
    /// What ingest listeners note of themselves, by their slots.
    listeners: Mutex<Vec<Arc<ListenerFigures>>>,
    gaps: [Counter; 4],
    gap_events: [Counter; 4],
    closed: Vec<(u16, Counter)>,
    closed_other: Counter,
    refused: [Watched; 6],
    /// Events that the daemon published itself: alerts, metrics of the machine.
    pub own_events: Watched,
    /// Events of its own that no room took.
    pub own_unrouted: Counter,
    /// Alerts that were not published because they came too fast.
    pub alerts_suppressed: Counter,
    /// `broadcastd_config_reloads_total`, by outcome: applied, unchanged, refused
    reloads: [Counter; 3],
    /// `broadcastd_config_last_reload_successful`: 1, or 0 while the newest configuration is refused.
    reload_ok: Gauge,
    /// `broadcastd_config_last_reload_success_timestamp_seconds`: when the configuration in force was read.
    reload_at: Gauge,
    /// `broadcastd_config_hash`: a number for what the configuration in force means.
    config_hash: Gauge,
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// In force.
    Applied,
    /// It means the same as what is in force.
    Unchanged,
    /// Wrong; what was in force stays.
    Refused,
}

/// What a shard notes of itself, once a turn.
#[derive(Debug)]
pub struct ShardFigures {
    /// Time it did not wait.
    pub busy_ns: AtomicU64,
    /// Time it waited for rooms' locks.
    pub lock_wait_ns: AtomicU64,
    /// Longest turn since this was last read.
    pub longest_turn_ns: AtomicU64,
    /// Events that passes encoded.
    pub pass_events: AtomicU64,
    /// Events that the subscription furthest behind lacks.
    pub behind_events: AtomicU64,
    /// Its sign of life.
    pub sign: Sign,
}

/// What a listener of ingest notes of what comes through it, once a read.
#[derive(Debug, Default)]
pub struct ListenerFigures {
    name: String,
    /// Events accepted.
    pub events: AtomicU64,
    /// Lines refused.
    pub rejected: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
}

impl ListenerFigures {
    /// The listener, as its series name it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Close codes that have a series of their own.
const CLOSE_CODES: [u16; 11] = [1000, 1001, 1002, 1005, 1006, 1007, 1008, 1009, 4000, 4001, 4002];

/// `broadcastd_build_info`: always 1, with what was built as labels.
fn build_info() -> Gauge {
    gauge!(
        "broadcastd_build_info",
        "version" => env!("CARGO_PKG_VERSION"),
        "os" => std::env::consts::OS,
        "arch" => std::env::consts::ARCH,
        "profile" => if cfg!(debug_assertions) { "debug" } else { "release" },
    )
}

impl Metrics {
    /// Makes a recorder and every series in it.
    pub fn new() -> Metrics {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || Metrics::register(handle))
    }

    fn register(handle: PrometheusHandle) -> Metrics {
        for (name, help) in help::HELP {
            // The exporter keeps descriptions by name alone, of whatever kind the series is.
            describe_counter!(name, help);
        }
        build_info().set(1.0);
        let reason = |name: &'static str, reason: &'static str| counter!(name, "reason" => reason);
        let gap_reasons = ["history_expired", "epoch_changed", "slow_client", "room_closed"];
        let refusals = ["bad_request", "origin", "clients", "clients_per_ip", "handshakes", "timeout"];
        Metrics {
            handle,
            liveness: Liveness::default(),
            log: OnceLock::new(),
            started: Instant::now(),
            started_at_ms: time::now_ms(),
            trend: Mutex::default(),
            hash: AtomicU64::new(0),
            ingest_events: counter!("broadcastd_ingest_events_total"),
            ingest_bytes: counter!("broadcastd_ingest_bytes_total"),
            ingest_rejected: RejectionCode::ALL
                .iter()
                .map(|code| Watched::new(reason("broadcastd_ingest_rejected_total", code.as_str())))
                .collect(),
            ingest_invalid: counter!("broadcastd_ingest_invalid_total"),
            ingest_unrouted: counter!("broadcastd_ingest_unrouted_total"),
            ingest_names_too_long: counter!("broadcastd_ingest_names_too_long_total"),
            ingest_answers_dropped: counter!("broadcastd_ingest_answers_dropped_total"),
            producers: Level::new(gauge!("broadcastd_producers")),
            producers_refused: Watched::new(counter!("broadcastd_producers_refused_total")),
            producers_closed: ["idle", "gave_way"]
                .map(|name| reason("broadcastd_producers_closed_total", name)),
            accept_errors: Watched::new(counter!("broadcastd_accept_errors_total")),
            room_events: counter!("broadcastd_room_events_total"),
            room_refused: Watched::new(counter!("broadcastd_room_refused_total")),
            room_replaced: counter!("broadcastd_room_replaced_total"),
            rooms: gauge!("broadcastd_rooms"),
            interests: gauge!("broadcastd_interests"),
            history_bytes: gauge!("broadcastd_history_bytes"),
            backlog_bytes: gauge!("broadcastd_backlog_bytes"),
            clients_limit: gauge!("broadcastd_clients_limit"),
            clients_opened: counter!("broadcastd_clients_opened_total"),
            clients_blocked: Level::new(gauge!("broadcastd_clients_blocked")),
            clients: Transport::ALL
                .map(|transport| Level::new(gauge!("broadcastd_clients", "transport" => transport.as_str()))),
            subscriptions_catching_up: gauge!("broadcastd_subscriptions_catching_up"),
            pinned_bytes: gauge!("broadcastd_pinned_bytes"),
            chunk_bytes: gauge!("broadcastd_chunk_bytes"),
            rate_limited: counter!("broadcastd_clients_rate_limited_total"),
            ignored_emits: counter!("broadcastd_socketio_ignored_emits_total"),
            deliveries: AtomicU64::new(0),
            sends: counter!("broadcastd_sends_total"),
            short_sends: counter!("broadcastd_short_sends_total"),
            passes: counter!("broadcastd_passes_total"),
            holds: counter!("broadcastd_holds_total"),
            event_age: Ages::default(),
            shards: Mutex::default(),
            listeners: Mutex::default(),
            gaps: gap_reasons.map(|name| reason("broadcastd_gaps_total", name)),
            gap_events: gap_reasons.map(|name| reason("broadcastd_gap_events_total", name)),
            closed: CLOSE_CODES
                .iter()
                .map(|code| (*code, counter!("broadcastd_clients_closed_total", "code" => code.to_string())))
                .collect(),
            closed_other: counter!("broadcastd_clients_closed_total", "code" => "other"),
            refused: refusals.map(|name| Watched::new(reason("broadcastd_handshakes_refused_total", name))),
            own_events: Watched::new(counter!("broadcastd_own_events_total")),
            own_unrouted: counter!("broadcastd_own_unrouted_total"),
            alerts_suppressed: counter!("broadcastd_alerts_suppressed_total"),
            reloads: ["applied", "unchanged", "refused"]
                .map(|outcome| counter!("broadcastd_config_reloads_total", "outcome" => outcome)),
            reload_ok: gauge!("broadcastd_config_last_reload_successful"),
            reload_at: gauge!("broadcastd_config_last_reload_success_timestamp_seconds"),
            config_hash: gauge!("broadcastd_config_hash"),
        }
    }

    /// The Prometheus text of every series but those of rooms. Not for a shard's thread.
    pub fn render(&self) -> String {
        let mut out = Exposition::default();
        let delivered = self.deliveries.load(Ordering::Relaxed);
        let help = "Events sent, counted once per client.";
        out.single("broadcastd_deliveries_total", "counter", help, delivered);
        self.event_age.render(&mut out);
        self.render_shards(&mut out);
        self.render_listeners(&mut out);
        let dropped = self.log.get().map_or(0, log::Handle::dropped);
        out.single("broadcastd_log_dropped_total", "counter", "Lines of the log that were dropped.", dropped);
        process::render(&mut out);
        self.handle.render() + &out.into_text()
    }

    /// Shows what the log drops. Only the first call counts.
    pub fn show_log(&self, log: log::Handle) {
        let _ = self.log.set(log);
    }

    /// Where a shard notes what it does.
    pub fn shard(&self) -> Arc<ShardFigures> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = Arc::new(ShardFigures {
            busy_ns: AtomicU64::default(),
            lock_wait_ns: AtomicU64::default(),
            longest_turn_ns: AtomicU64::default(),
            pass_events: AtomicU64::default(),
            behind_events: AtomicU64::default(),
            sign: self.liveness.thread(format!("shard-{}", shards.len())),
        });
        shards.push(Arc::clone(&figures));
        figures
    }

    /// When these figures were made.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The same in milliseconds since 1970.
    pub fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    /// The last ten minutes.
    pub fn trend(&self) -> MutexGuard<'_, Trend> {
        self.trend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sums since the start.
    pub fn totals(&self) -> Totals {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        Totals {
            accepted: listeners.iter().map(|listener| listener.events.load(Ordering::Relaxed)).sum(),
            own: self.own_events.total(),
            delivered: self.deliveries.load(Ordering::Relaxed),
            rejected: self.ingest_rejected.iter().map(Watched::total).sum(),
        }
    }

    /// Where a listener notes what comes through it. One at the same place goes on with the figures that it has.
    pub fn listener(&self, name: &str) -> Arc<ListenerFigures> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = listeners.iter().find(|known| known.name == name) {
            return Arc::clone(known);
        }
        let figures = Arc::new(ListenerFigures { name: name.to_owned(), ..ListenerFigures::default() });
        listeners.push(Arc::clone(&figures));
        figures
    }

    fn render_shards(&self, out: &mut Exposition) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&ShardFigures) -> f64| {
            out.family(name, kind, help);
            for (index, shard) in shards.iter().enumerate() {
                out.sample(name, &[("shard", &index.to_string())], value(shard));
            }
        };
        family("broadcastd_shard_busy_seconds_total", "counter", "Time a shard did not wait.", &|shard| {
            seconds(shard.busy_ns.load(Ordering::Relaxed))
        });
        family(
            "broadcastd_shard_lock_wait_seconds_total",
            "counter",
            "Time a shard waited for the locks of rooms.",
            &|shard| seconds(shard.lock_wait_ns.load(Ordering::Relaxed)),
        );
        family(
            "broadcastd_shard_longest_turn_seconds",
            "gauge",
            "Longest time that a shard did not look at its sockets, since the last scrape.",
            &|shard| seconds(shard.longest_turn_ns.swap(0, Ordering::Relaxed)),
        );
        family(
            "broadcastd_shard_pass_events_total",
            "counter",
            "Events that passes encoded; divided by passes, how many go out together.",
            &|shard| shard.pass_events.load(Ordering::Relaxed) as f64,
        );
        family(
            "broadcastd_shard_behind_events",
            "gauge",
            "Events that the subscription furthest behind lacks, looked at once a heartbeat.",
            &|shard| shard.behind_events.load(Ordering::Relaxed) as f64,
        );
    }

    fn render_listeners(&self, out: &mut Exposition) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&ListenerFigures) -> u64| {
            out.family(name, kind, help);
            for listener in listeners.iter() {
                out.sample(name, &[("listener", &listener.name)], value(listener));
            }
        };
        family("broadcastd_listener_events_total", "counter", "Events accepted, by listener.", &|listener| {
            listener.events.load(Ordering::Relaxed)
        });
        family("broadcastd_listener_rejected_total", "counter", "Lines refused, by listener.", &|listener| {
            listener.rejected.load(Ordering::Relaxed)
        });
        family("broadcastd_listener_bytes_total", "counter", "Bytes read, by listener.", &|listener| {
            listener.bytes.load(Ordering::Relaxed)
        });
    }

    /// The counter of lines refused for one reason.
    pub fn rejected(&self, code: RejectionCode) -> &Watched {
        &self.ingest_rejected[code as usize]
    }

    /// Counts a producer that the daemon closed.
    pub fn producer_closed(&self, end: ProducerEnd) {
        self.producers_closed[end as usize].increment(1);
    }

    /// Counts a gap and the events in it (0 when unknown).
    pub fn gap(&self, reason: GapReason, missed: u64) {
        self.gaps[reason as usize].increment(1);
        self.gap_events[reason as usize].increment(missed);
    }

    /// Counts a client that is gone, by the close code it got or gave (1006: none).
    pub fn closed(&self, code: u16) {
        let counter =
            self.closed.iter().find(|(known, _)| *known == code).map_or(&self.closed_other, |(_, c)| c);
        counter.increment(1);
    }

    /// Notes the configuration in force, since when.
    pub fn configured(&self, hash: u64, since_ms: u64) {
        self.reload_ok.set(1.0);
        self.reload_at.set(since_ms as f64 / 1000.0);
        self.config_hash.set(hash as f64);
        self.hash.store(hash, Ordering::Relaxed);
    }

    /// The number for what the configuration in force means, as it was read: without systemd's sockets in it.
    pub fn configuration(&self) -> u64 {
        self.hash.load(Ordering::Relaxed)
    }

    /// Counts a reload.
    pub fn reloaded(&self, result: ReloadResult) {
        self.reloads[result as usize].increment(1);
        self.reload_ok.set(if result == ReloadResult::Refused { 0.0 } else { 1.0 });
    }

    /// Notes that so many more clients, or fewer, are connected over a transport.
    pub fn add_clients(&self, transport: Transport, change: i64) {
        self.clients[transport as usize].add(change);
    }

    /// Clients connected over a transport.
    pub fn clients_over(&self, transport: Transport) -> u64 {
        self.clients[transport as usize].now()
    }

    /// Clients connected.
    pub fn clients_now(&self) -> u64 {
        Transport::ALL.iter().map(|transport| self.clients_over(*transport)).sum()
    }

    /// Handshakes refused so far for one reason.
    pub fn refused_so_far(&self, refusal: HandshakeRefusal) -> u64 {
        self.refused[refusal as usize].total()
    }

    /// Counts a refused handshake.
    pub fn refused(&self, refusal: HandshakeRefusal) {
        self.refused[refusal as usize].increment(1);
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}
