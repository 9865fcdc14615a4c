//! A list in place of the rooms, for tests of everything before them.

use crate::config::{
    Ack, AdminConfig, ClientLimits, Config, HistoryConfig, IngestAddr, IngestConfig, IngestListenConfig,
    Invalid, LimitsConfig, LogConfig, OverDeliveries, Rate, RoomConfig, ServerConfig, SlowClient,
    SnapshotConfig, SocketIoConfig, SourcesConfig, Unrouted, WhenFull,
};
use crate::event::Event;
use crate::pattern::{Template, TypePattern};
use crate::room::Totals;
use crate::route::Routes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Takes every event of type `e`, `e1`, `e2` …
pub(super) struct Gathered {
    routes: Arc<Routes>,
    next: AtomicU64,
    staged: Mutex<Vec<Event>>,
    published: Mutex<Vec<Event>>,
    grown: Notify,
    totals: Totals,
}

impl Gathered {
    pub(super) fn new() -> Arc<Gathered> {
        let config = config();
        let list = Arc::new(Gathered {
            routes: Arc::new(Routes::compile(&config, &config.ingest.listen[0])),
            next: AtomicU64::new(1),
            staged: Mutex::default(),
            published: Mutex::default(),
            grown: Notify::new(),
            totals: Totals::default(),
        });
        list.set_full(false);
        list
    }

    pub(super) fn routes(&self) -> Arc<Routes> {
        self.routes.clone()
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn stage(&self, event: Event) -> bool {
        self.staged.lock().unwrap().push(event);
        true
    }

    pub(super) fn commit(&self) {
        self.published.lock().unwrap().append(&mut self.staged.lock().unwrap());
        self.grown.notify_waiters();
    }

    pub(super) fn set_full(&self, full: bool) {
        self.set_backlog(if full { 0 } else { 1 << 20 });
    }

    pub(super) fn set_backlog(&self, bytes: u64) {
        self.totals.set_backlog_limit(bytes);
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The published events' texts so far.
    pub(super) fn texts(&self) -> Vec<String> {
        let text = |event: &Event| String::from_utf8(event.json().to_vec()).unwrap();
        self.published.lock().unwrap().iter().map(text).collect()
    }

    /// The fields beside the published events.
    pub(super) fn besides(&self) -> Vec<String> {
        let text = |event: &Event| String::from_utf8(event.beside().to_vec()).unwrap();
        self.published.lock().unwrap().iter().map(text).collect()
    }

    /// Returns when so many events are published.
    pub(super) async fn reaches(&self, count: usize) {
        let wait = async {
            loop {
                let grown = self.grown.notified();
                if self.published.lock().unwrap().len() >= count {
                    return;
                }
                grown.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
        assert!(waited.is_ok(), "waiting for {count} events, have {:?}", self.texts());
    }
}

/// A listener's configuration with timestamps off, so that events are as they were sent.
pub(super) fn listener(addr: IngestAddr, ack: Ack, when_full: WhenFull) -> IngestListenConfig {
    IngestListenConfig { addr, ack, when_full, type_field: "type".to_owned(), add_timestamp: false }
}

/// A small configuration: one room for the types `e*`.
pub(super) fn config() -> Config {
    let rate = Rate { per_second: 1.0, burst: 1 };
    let second = Duration::from_secs(1);
    Config {
        server: ServerConfig {
            listen: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            expose: Vec::new(),
            drain_timeout: second,
            shards: 1,
            heartbeat: second,
            handshake_timeout: second,
            handshakes: 1,
            watch: false,
            keep_on_restart: false,
            auth_none: false,
        },
        admin: AdminConfig { listen: Vec::new(), auth_none: false },
        ingest: IngestConfig {
            listen: vec![listener(IngestAddr::Stdin, Ack::Errors, WhenFull::Wait)],
            hosts: Vec::new(),
            connections: 100,
            max_event_size: 1000,
            backlog: 1,
            idle_timeout: None,
            line_timeout: Duration::from_secs(300),
            unrouted: Unrouted::Reject,
            invalid: Invalid::Reject,
            threads: 1,
            auth_none: false,
        },
        log: LogConfig::default(),
        sources: SourcesConfig::default(),
        socketio: SocketIoConfig::default(),
        limits: LimitsConfig {
            clients: 1,
            rooms: 1,
            history_memory: 1,
            views: 1,
            keys: 1,
            clients_per_ip: None,
            client: ClientLimits {
                rooms: 1,
                message_size: 1,
                messages: rate,
                subscriptions: rate,
                deliveries: None,
                over_deliveries: OverDeliveries::Pace,
                unsent: 1,
                user_timeout: second,
            },
        },
        rooms: vec![RoomConfig {
            name: Template::parse("all").unwrap(),
            types: vec![TypePattern::parse("e*").unwrap()],
            condition: None,
            key: Vec::new(),
            snapshot: SnapshotConfig::ASKED,
            buffer: None,
            urgent: None,
            history: HistoryConfig { events: 10, age: second, bytes: 1000 },
            slow_client: SlowClient::Replay,
            subscribers: None,
            emitted_as: None,
        }],
        types: Vec::new(),
        tests: Vec::new(),
    }
}
