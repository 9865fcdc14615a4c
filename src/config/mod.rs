//! The configuration as every other module sees it: typed, complete and checked.
//!
//! Owns the sections' types and their defaults. Reading a file into them, and everything that can be wrong with one,
//! is in the submodules; after loading no code asks whether a value makes sense.

mod address;
mod defaults;
mod dirs;
mod effective;
mod ingest;
mod load;
mod namespace;
mod node;
mod own_event;
mod problem;
mod reader;
mod rooms;
mod sections;
mod socketio;
mod sources;
mod syntax;
mod units;

pub use address::NULL_ORIGIN;
pub use dirs::{Dirs, instance_of};
pub use ingest::{Ack, IngestAddr, IngestConfig, IngestListenConfig, Invalid, Unrouted, WhenFull};
pub use load::{Input, Loaded};
pub use namespace::Namespace;
pub use own_event::{OwnEvent, is_reserved_event};
pub use problem::{Code, MOST_SHOWN, Problem, Problems, Source};
pub(crate) use reader::join;
pub use socketio::{SocketIoConfig, UnknownEmit};
pub use units::{parse_duration, parse_rate, parse_size, show_duration, show_rate, show_size};

use crate::pattern::{Condition, Path, Template, TypePattern};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What clients connect to.
    pub server: ServerConfig,
    /// The operators' listener.
    pub admin: AdminConfig,
    /// What producers write to.
    pub ingest: IngestConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What the daemon publishes itself.
    pub sources: SourcesConfig,
    /// Bounds.
    pub limits: LimitsConfig,
    /// Clients that speak Socket.IO.
    pub socketio: SocketIoConfig,
    /// Rooms and room templates, in the file's order.
    pub rooms: Vec<RoomConfig>,
    /// Field checks of event types beside the five built in.
    pub types: Vec<TypeConfig>,
    /// `[[test]]` blocks.
    pub tests: Vec<TestConfig>,
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// The least grave that is logged.
    pub level: LogLevel,
    /// How.
    pub format: LogFormat,
}

/// How grave something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing works without it.
    Error,
    /// Something is wrong.
    Warn,
    /// A handful of lines a day.
    #[default]
    Info,
    /// What connections do.
    Debug,
    /// Every detail.
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// To the journal with its fields where systemd listens, else for people.
    #[default]
    Auto,
    /// For people, on standard error.
    Human,
    /// One JSON object a line, on standard error.
    Json,
    /// To the journal, with its fields.
    Journald,
}

/// `[sources]`: the daemon as a producer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourcesConfig {
    /// `[sources.alerts]`.
    pub alerts: AlertsConfig,
    /// `[sources.system]`.
    pub system: SystemConfig,
}

/// `[sources.alerts]`: what the daemon says of itself, as `system_alert`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertsConfig {
    /// Whether it says anything.
    pub enabled: bool,
    /// Whether it tells of every client that comes and goes.
    pub clients: bool,
    /// An alert that still holds is said again after this time, and not before.
    pub repeat: Duration,
}

/// `[sources.system]`: the machine and chosen processes, as `performance_metric`.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemConfig {
    /// Between two looks; none when off.
    pub every: Option<Duration>,
    /// Processes that are looked at beside the machine.
    pub processes: Vec<ProcessConfig>,
}

/// Processes of one name in the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessConfig {
    /// Every process of this name (`comm`).
    Name(String),
    /// Every process of a systemd unit.
    Unit(String),
    /// The process whose number is in this file, and those it has started.
    PidFile(PathBuf),
}

impl Default for AlertsConfig {
    fn default() -> AlertsConfig {
        AlertsConfig { enabled: true, clients: false, repeat: Duration::from_secs(60) }
    }
}

impl Default for SystemConfig {
    fn default() -> SystemConfig {
        SystemConfig { every: Some(Duration::from_secs(5)), processes: Vec::new() }
    }
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Where clients connect.
    pub listen: Vec<ListenAddr>,
    /// Which web pages may connect; empty strings from unset environment variables are already gone.
    pub allowed_origins: Vec<OriginPattern>,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNetwork>,
    /// What of the API answers at the clients' listener.
    pub expose: Vec<Expose>,
    /// How long stopping may take.
    pub drain_timeout: Duration,
    /// How many shards; `auto` is resolved to the number of cores.
    pub shards: usize,
    /// Interval of WebSocket pings.
    pub heartbeat: Duration,
    /// How long a handshake may take from accept to upgrade.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// Whether the configuration file is watched for changes.
    pub watch: bool,
    /// Whether rooms go on after an orderly restart where they were.
    pub keep_on_restart: bool,
    /// Whether `auth = "none"` is spelled out.
    pub auth_none: bool,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Where operators connect.
    pub listen: Vec<ListenAddr>,
    /// Whether `auth = "none"` is spelled out.
    pub auth_none: bool,
}

/// A stream socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// `HOST:PORT`.
    Tcp(SocketAddr),
    /// `unix:PATH`, resolved against the runtime directory.
    Unix(UnixAddr),
}

/// A Unix socket's place and who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixAddr {
    /// Resolved path.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Group that owns the socket; none: the process's own.
    pub group: Option<String>,
}

/// What of the API answers at the clients' listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expose {
    /// The page at `/`.
    Page,
    /// `GET /api/v1/health`.
    Health,
    /// `GET /api/v1/websocket/status`.
    Status,
    /// `POST /api/v1/websocket/broadcast/test`.
    Test,
}

/// One entry of `allowed_origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `local`: loopback names, any port, http and https.
    Local,
    /// `*`.
    Any,
    /// `scheme://host[:port]`, lower case; a port of `*` is any.
    Exact {
        /// `http` or `https`, or an application's own scheme.
        scheme: String,
        /// Host without port.
        host: String,
        /// Port, if it is fixed; `None` with `any_port` false means the scheme's default.
        port: Option<u16>,
        /// Whether the port is `*`.
        any_port: bool,
    },
}

/// An address or a network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    /// The network's address.
    pub addr: std::net::IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Clients connected at once.
    pub clients: usize,
    /// Rooms that hold events, made from templates or not.
    pub rooms: usize,
    /// Bytes of history over all rooms.
    pub history_memory: u64,
    /// Views with a filter or a pace, over all shards.
    pub views: usize,
    /// Keys of a room.
    pub keys: usize,
    /// Clients of one address.
    pub clients_per_ip: Option<usize>,
    /// Limits of each client.
    pub client: ClientLimits,
}

/// `[limits.client]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientLimits {
    /// Rooms subscribed at once.
    pub rooms: usize,
    /// Longest message from a client, in bytes.
    pub message_size: usize,
    /// Messages from a client.
    pub messages: Rate,
    /// Rooms subscribed or unsubscribed.
    pub subscriptions: Rate,
    /// Events sent to a client; none: as many as it reads.
    pub deliveries: Option<Rate>,
    /// What happens to a client that would get more.
    pub over_deliveries: OverDeliveries,
    /// Bytes not sent yet in the kernel's socket buffer (`TCP_NOTSENT_LOWAT`).
    pub unsent: usize,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Duration,
}

/// `limits.client.over_deliveries`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverDeliveries {
    /// It waits.
    #[default]
    Pace,
    /// It is closed with 4002.
    Disconnect,
}

/// A token bucket: so many a second, so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens a second.
    pub per_second: f64,
    /// Tokens at most.
    pub burst: u32,
}

/// `[rooms.x]`, merged over `[room_defaults]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomConfig {
    /// Name; one without fields is a static room.
    pub name: Template,
    /// Types it takes; none where it takes what no other room takes (`types = "unrouted"`).
    pub types: Vec<TypePattern>,
    /// Condition on what it takes.
    pub condition: Option<Condition>,
    /// What its newest-per is counted by; empty: no key.
    pub key: Vec<Path>,
    /// The newest event of every key, for new subscribers.
    pub snapshot: SnapshotConfig,
    /// What waits before the log.
    pub buffer: Option<BufferConfig>,
    /// Flushes the buffer at once.
    pub urgent: Option<Condition>,
    /// What is kept for late and returning readers.
    pub history: HistoryConfig,
    /// What happens to a client that falls behind.
    pub slow_client: SlowClient,
    /// Subscriptions at most; none: no limit.
    pub subscribers: Option<usize>,
    /// What its events are emitted as to Socket.IO clients (`[socketio.names]`), as a JSON string; none: as their types, or as
    /// the room's name where they come in arrays.
    pub emitted_as: Option<Box<str>>,
}

/// `snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// Whether a new subscriber gets it that does not say otherwise.
    pub by_default: bool,
    /// A key whose newest event is older leaves it.
    pub age: Duration,
}

impl SnapshotConfig {
    /// To those who ask, of keys that had an event within a day: what has been silent for longer is gone more often than
    /// not, and every key costs memory.
    pub const ASKED: SnapshotConfig =
        SnapshotConfig { by_default: false, age: Duration::from_secs(24 * 3600) };
}

impl Default for SnapshotConfig {
    fn default() -> SnapshotConfig {
        SnapshotConfig::ASKED
    }
}

/// `history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Events at most.
    pub events: usize,
    /// Age at most.
    pub age: Duration,
    /// Bytes at most.
    pub bytes: u64,
}

/// `buffer`.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferConfig {
    /// Flush at so many events; none: only by time.
    pub events: Option<usize>,
    /// Flush after so long.
    pub flush_interval: Duration,
    /// Groups that are flushed one after the other, each contiguous.
    pub group_by: Option<Path>,
    /// Whether only the newest event of every key is kept (`keep = "newest"`).
    pub keep_newest: bool,
}

/// `slow_client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowClient {
    /// Gets what it missed.
    Replay,
    /// Goes on with the newest, after a gap.
    Skip,
    /// Is disconnected.
    Disconnect,
}

/// `[types.x]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeConfig {
    /// The type's name.
    pub name: String,
    /// Fields that must be there.
    pub required: Vec<(Path, FieldKind)>,
    /// Fields that may be there.
    pub optional: Vec<(Path, FieldKind)>,
}

/// What a field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Anything.
    Any,
    /// A string.
    String,
    /// A number.
    Number,
    /// A number from 0 to 100.
    Percent,
    /// True or false.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
    /// An array of strings.
    Strings,
    /// One of these strings.
    OneOf(Vec<String>),
}

/// `[[test]]`: a line, and the rooms it must reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestConfig {
    /// The line as a producer writes it.
    pub line: String,
    /// Rooms it must reach, no more and no fewer, in any order.
    pub rooms: Vec<String>,
    /// Fields beside the event (`with`).
    pub with: Vec<(String, String)>,
    /// The bytes of the file where the block begins.
    pub span: std::ops::Range<usize>,
}
