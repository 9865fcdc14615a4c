//! What a line costs on its way in, against serde_json alone on the same line.
//!
//! `cargo bench --bench ingest`. Times and allocations: of one line, or of one read of 256 lines. The ratio of `a_read_into_rooms` to `a_read_by_serde_json_alone` is what docs/performance.md records.

#![allow(missing_docs, reason = "a program, not a library")]

use broadcastd::config::{
    Ack, AdminConfig, ClientLimits, Config, HistoryConfig, IngestAddr, IngestConfig, IngestListenConfig,
    Invalid, LimitsConfig, LogConfig, OverDeliveries, Rate, RoomConfig, ServerConfig, SlowClient,
    SnapshotConfig, SocketIoConfig, SourcesConfig, Unrouted, WhenFull,
};
use broadcastd::event::{Event, Filter};
use broadcastd::metrics::Metrics;
use broadcastd::pattern::{Condition, Path, Template, TypePattern};
use broadcastd::room::{Publisher, Rooms};
use broadcastd::route::{Beside, Outcome, Routes, Scratch};
use broadcastd::time::Moment;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// 250 bytes, as an agent reports itself.
const AGENT_STATE: &str = concat!(
    r#"{"type":"agent_state","agentId":"agent-0042","status":"busy","currentTask":"summarise the open tickets","#,
    r#""resourceUsage":{"cpu":12.5,"memory":402.5,"activeConnections":3},"#,
    r#""metadata":{"region":"eu-west-1","model":"small","attempt":2,"queue":"default"}}"#
);

fn main() {
    assert_eq!(AGENT_STATE.len(), 250);
    divan::main();
}

/// The type's fields, borrowed: the least that a check of the line can parse.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "parsed, not read")]
struct AgentState<'a> {
    r#type: &'a str,
    agent_id: &'a str,
    status: &'a str,
    current_task: Option<&'a str>,
    resource_usage: ResourceUsage,
    metadata: Option<serde::de::IgnoredAny>,
    timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "parsed, not read")]
struct ResourceUsage {
    cpu: f64,
    memory: f64,
    active_connections: f64,
}

#[divan::bench(sample_count = 200, sample_size = 500)]
fn serde_json_alone(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        let text = std::str::from_utf8(black_box(AGENT_STATE.as_bytes())).expect("the line is UTF-8");
        let event: AgentState<'_> = serde_json::from_str(text).expect("the line is an agent_state");
        black_box(event.agent_id.len())
    });
}

/// Two rooms: `agent_states` and `agent:{agentId}`, among the rooms of the built-in configuration.
#[divan::bench(sample_count = 200, sample_size = 500)]
fn read_and_route(bencher: Bencher<'_, '_>) {
    let config = config();
    let routes = Routes::compile(&config, &config.ingest.listen[0]);
    let beside = Beside::default();
    let mut scratch = Scratch::default();
    let (mut seq, now) = (0, Moment::now());
    bencher.bench_local(|| {
        let line = black_box(AGENT_STATE.as_bytes());
        let outcome = routes.read(&mut scratch, line, &beside, now, || {
            seq += 1;
            seq
        });
        assert_eq!(scratch.destinations.len(), 2);
        let Ok(Outcome::Event(event)) = outcome else { panic!("the line is an event") };
        black_box(event.size())
    });
}

/// The same for every line of a read.
#[divan::bench(sample_count = 200, sample_size = 4)]
fn a_read_by_serde_json_alone(bencher: Bencher<'_, '_>) {
    let read = read();
    bencher.counter(ItemsCount::new(LINES)).bench(|| {
        for line in lines(black_box(&read)) {
            let text = std::str::from_utf8(line).expect("the line is UTF-8");
            let event: AgentState<'_> = serde_json::from_str(text).expect("the line is an agent_state");
            black_box(event.agent_id.len());
        }
    });
}

/// Everything between the socket and a shard: lines are cut, parsed, checked, routed, numbered, and appended to two rooms
/// with history. Nobody is subscribed.
#[divan::bench(sample_count = 200, sample_size = 4)]
fn a_read_into_rooms(bencher: Bencher<'_, '_>) {
    into_rooms(bencher, config());
}

/// The same into two rooms with a key.
#[divan::bench(sample_count = 200, sample_size = 4)]
fn a_read_into_rooms_with_keys(bencher: Bencher<'_, '_>) {
    let mut config = config();
    for room in config.rooms.iter_mut().filter(|room| room.name.source().starts_with("agent")) {
        room.key = vec![Path::top("agentId")];
    }
    into_rooms(bencher, config);
}

/// Events of 64 KiB that are one long text, as tools and models answer.
#[divan::bench(sample_count = 200, sample_size = 4)]
fn long_events_into_rooms(bencher: Bencher<'_, '_>) {
    read_into_rooms(bencher, config(), &long_read(), LONG_LINES);
}

/// Of the same, what serde_json alone takes.
#[divan::bench(sample_count = 200, sample_size = 4)]
fn long_events_by_serde_json_alone(bencher: Bencher<'_, '_>) {
    let read = long_read();
    bencher.counter(ItemsCount::new(LONG_LINES)).bench(|| {
        for line in lines(black_box(&read)) {
            let text = std::str::from_utf8(line).expect("the line is UTF-8");
            let event: AgentState<'_> = serde_json::from_str(text).expect("the line is an agent_state");
            black_box(event.agent_id.len());
        }
    });
}

fn into_rooms(bencher: Bencher<'_, '_>, config: Config) {
    read_into_rooms(bencher, config, &read(), LINES);
}

fn read_into_rooms(bencher: Bencher<'_, '_>, config: Config, read: &[u8], count: usize) {
    let rooms = Rooms::new(&Arc::new(config), Vec::new(), Arc::new(Metrics::new()))
        .expect("the system has random numbers");
    let mut publisher = Publisher::new(rooms);
    let beside = Beside::default();
    let mut scratch = Scratch::default();
    let mut ingest = || {
        let (routes, now) = (publisher.begin(0), Moment::now());
        for line in lines(black_box(read)) {
            let number = || publisher.number();
            let outcome = routes.read(&mut scratch, line, &beside, now, number);
            let Ok(Outcome::Event(event)) = outcome else { panic!("the line is an event") };
            assert!(publisher.stage(&event, &scratch));
        }
        publisher.commit();
    };
    // History is full from the start, so that what comes in lets as much go.
    for _ in 0..100 {
        ingest();
    }
    bencher.counter(ItemsCount::new(count)).bench_local(ingest);
}

/// Lines of one read: 64 KiB.
const LINES: usize = 256;

fn read() -> Vec<u8> {
    [AGENT_STATE.as_bytes(), b"\n"].concat().repeat(LINES)
}

/// Long lines in a row.
const LONG_LINES: usize = 4;

fn long_read() -> Vec<u8> {
    let text = "A sentence, and another one: forty-two. ".repeat(1638);
    let line = AGENT_STATE.replace("summarise the open tickets", &text);
    [line.as_bytes(), b"\n"].concat().repeat(LONG_LINES)
}

fn lines(read: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', read).map(move |end| {
        let line = &read[start..end];
        start = end + 1;
        line
    })
}

#[divan::bench(sample_count = 200, sample_size = 500)]
fn filter_a_stored_event(bencher: Bencher<'_, '_>) {
    let condition = "status == \"busy\" && resourceUsage.cpu > 10";
    let filter = Filter::new(Condition::parse(condition).expect("a condition"));
    let event = Event::new(1, 2, &[AGENT_STATE.as_bytes()], &[], &mut Vec::new());
    bencher.bench(|| assert!(filter.passes(black_box(&event))));
}

fn room(name: &str, types: &str, condition: Option<&str>) -> RoomConfig {
    RoomConfig {
        name: Template::parse(name).expect("a name"),
        types: vec![TypePattern::parse(types).expect("a pattern")],
        condition: condition.map(|condition| Condition::parse(condition).expect("a condition")),
        key: Vec::new(),
        snapshot: SnapshotConfig::ASKED,
        buffer: None,
        urgent: None,
        history: HistoryConfig { events: 1000, age: Duration::from_secs(600), bytes: 4 << 20 },
        slow_client: SlowClient::Replay,
        subscribers: None,
        emitted_as: None,
    }
}

fn config() -> Config {
    let rate = Rate { per_second: 20.0, burst: 40 };
    let listener = IngestListenConfig {
        addr: IngestAddr::Stdin,
        ack: Ack::Errors,
        when_full: WhenFull::Wait,
        type_field: "type".to_owned(),
        add_timestamp: true,
    };
    Config {
        server: ServerConfig {
            listen: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            expose: Vec::new(),
            drain_timeout: Duration::from_secs(10),
            shards: 1,
            heartbeat: Duration::from_secs(25),
            handshake_timeout: Duration::from_secs(10),
            handshakes: 256,
            watch: false,
            keep_on_restart: false,
            auth_none: false,
        },
        admin: AdminConfig { listen: Vec::new(), auth_none: false },
        ingest: IngestConfig {
            listen: vec![listener],
            hosts: Vec::new(),
            connections: 4096,
            max_event_size: 1 << 20,
            backlog: 64 << 20,
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
            clients: 100_000,
            rooms: 20_000,
            history_memory: 512 << 20,
            views: 1000,
            keys: 10_000,
            clients_per_ip: None,
            client: ClientLimits {
                rooms: 256,
                message_size: 64 << 10,
                messages: rate,
                subscriptions: rate,
                deliveries: None,
                over_deliveries: OverDeliveries::Pace,
                unsent: 128 << 10,
                user_timeout: Duration::from_secs(30),
            },
        },
        rooms: vec![
            room("agent_states", "agent_state", None),
            room("performance_metrics", "performance_metric", None),
            room("workflow_executions", "workflow_execution", None),
            room("memory_timeline", "memory_timeline", None),
            room("system_alerts", "system_alert", None),
            room("critical", "system_alert", Some(r#"severity in ["error", "critical"]"#)),
            room("agent:{agentId}", "*", None),
            room("workflow:{workflowId}", "*", None),
            room("run:{runId}", "*", None),
        ],
        types: Vec::new(),
        tests: Vec::new(),
    }
}
