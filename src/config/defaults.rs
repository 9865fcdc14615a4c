//! The built-in configuration: what runs without a file, and what the shipped `broadcast.toml` says.

use super::{
    Ack, AdminConfig, BufferConfig, ClientLimits, Config, Expose, HistoryConfig, IngestAddr, IngestConfig,
    IngestListenConfig, Invalid, LimitsConfig, ListenAddr, LogConfig, OriginPattern, OverDeliveries, Rate,
    RoomConfig, ServerConfig, SlowClient, SnapshotConfig, SocketIoConfig, SourcesConfig, UnixAddr, Unrouted,
    WhenFull,
};
use crate::pattern::{Condition, Path, Template, TypePattern};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where a Unix socket of the built-in configuration lies, when the runtime directory is known.
const INGEST_SOCKET: &str = "ingest.sock";

impl Config {
    /// The built-in configuration, with relative sockets under a runtime directory.
    pub fn built_in(runtime_dir: &std::path::Path) -> Config {
        let history = HistoryConfig { events: 1000, age: Duration::from_secs(600), bytes: 4 << 20 };
        Config {
            server: ServerConfig {
                listen: vec![ListenAddr::Tcp(loopback(9999))],
                allowed_origins: vec![OriginPattern::Local],
                trusted_proxies: Vec::new(),
                expose: vec![Expose::Page, Expose::Health, Expose::Status, Expose::Test],
                drain_timeout: Duration::from_secs(10),
                shards: std::thread::available_parallelism().map_or(1, usize::from),
                heartbeat: Duration::from_secs(25),
                handshake_timeout: Duration::from_secs(10),
                handshakes: 256,
                watch: true,
                keep_on_restart: true,
                auth_none: false,
            },
            admin: AdminConfig { listen: vec![ListenAddr::Tcp(loopback(9997))], auth_none: false },
            ingest: IngestConfig {
                listen: vec![
                    producers(IngestAddr::Tcp(loopback(9998))),
                    producers(IngestAddr::Unix(UnixAddr {
                        path: runtime_dir.join(INGEST_SOCKET),
                        mode: 0o660,
                        group: None,
                    })),
                ],
                hosts: Vec::new(),
                connections: 4096,
                idle_timeout: None,
                line_timeout: Duration::from_secs(300),
                max_event_size: 1 << 20,
                backlog: 64 << 20,
                unrouted: Unrouted::Room("events".to_owned()),
                invalid: Invalid::Reject,
                threads: 1,
                auth_none: false,
            },
            log: LogConfig::default(),
            sources: SourcesConfig::default(),
            limits: limits(),
            socketio: SocketIoConfig::default(),
            rooms: rooms(history),
            types: Vec::new(),
            tests: Vec::new(),
        }
    }
}

impl Default for Config {
    /// The built-in configuration with its socket in the working directory.
    fn default() -> Config {
        Config::built_in(&PathBuf::new())
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn producers(addr: IngestAddr) -> IngestListenConfig {
    IngestListenConfig {
        addr,
        ack: Ack::Errors,
        when_full: WhenFull::Wait,
        type_field: "type".to_owned(),
        add_timestamp: true,
    }
}

fn limits() -> LimitsConfig {
    LimitsConfig {
        clients: 100_000,
        rooms: 20_000,
        history_memory: 512 << 20,
        views: 1000,
        keys: 10_000,
        clients_per_ip: None,
        client: ClientLimits {
            rooms: 256,
            message_size: 64 << 10,
            messages: Rate { per_second: 20.0, burst: 40 },
            subscriptions: Rate { per_second: 50.0, burst: 512 },
            deliveries: None,
            over_deliveries: OverDeliveries::Pace,
            unsent: 128 << 10,
            user_timeout: Duration::from_secs(30),
        },
    }
}

fn rooms(history: HistoryConfig) -> Vec<RoomConfig> {
    let room = |name: &str, types: &[&str]| RoomConfig {
        name: Template::parse(name).expect("a built-in name is right"),
        types: types
            .iter()
            .map(|text| TypePattern::parse(text).expect("a built-in pattern is right"))
            .collect(),
        condition: None,
        key: Vec::new(),
        snapshot: SnapshotConfig::ASKED,
        buffer: None,
        urgent: None,
        history,
        slow_client: SlowClient::Replay,
        subscribers: None,
        emitted_as: None,
    };
    let path = |text: &str| Path::parse(text).expect("a built-in path is right");
    let condition = |text: &str| Some(Condition::parse(text).expect("a built-in condition is right"));
    let buffer = |events, seconds, group_by, keep_newest| {
        Some(BufferConfig { events, flush_interval: Duration::from_secs(seconds), group_by, keep_newest })
    };
    vec![
        room("events", &[]),
        RoomConfig {
            key: vec![path("agentId")],
            snapshot: SnapshotConfig { by_default: true, ..SnapshotConfig::ASKED },
            ..room("agent_states", &["agent_state"])
        },
        RoomConfig {
            key: vec![path("agentId"), path("metricName")],
            buffer: buffer(Some(50), 1, Some(path("category")), false),
            emitted_as: Some("\"performance_metrics_batch\"".into()),
            ..room("performance_metrics", &["performance_metric"])
        },
        RoomConfig {
            key: vec![path("agentId"), path("metricName")],
            buffer: buffer(None, 2, None, true),
            urgent: condition("value > 95 && unit == \"percent\""),
            ..room("metrics_board", &["performance_metric"])
        },
        room("workflow_executions", &["workflow_execution"]),
        room("memory_timeline", &["memory_timeline"]),
        room("system_alerts", &["system_alert"]),
        RoomConfig {
            condition: condition("severity in [\"error\", \"critical\"]"),
            ..room("critical", &["system_alert"])
        },
        room("agent:{agentId}", &["*"]),
        room("workflow:{workflowId}", &["*"]),
        room("run:{runId}", &["*"]),
    ]
}
