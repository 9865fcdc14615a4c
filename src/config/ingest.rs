//! `[ingest]`: where producers write, and what happens to what they write.

use super::UnixAddr;
use std::net::SocketAddr;
use std::time::Duration;

/// `[ingest]`.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestConfig {
    /// Where producers write.
    pub listen: Vec<IngestListenConfig>,
    /// Names, without port and in any case, that requests may come to beside loopback and the listener's address.
    pub hosts: Vec<String>,
    /// Producers connected at once, at each listener.
    pub connections: usize,
    /// How long a producer may be quiet between two lines; None: for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a line may neither end nor make progress.
    pub line_timeout: Duration,
    /// Longest line or JSON object, in bytes.
    pub max_event_size: usize,
    /// Bytes kept because a shard has not passed them yet, over all rooms, and of unfinished lines.
    pub backlog: u64,
    /// What happens to an event that no room takes by its type.
    pub unrouted: Unrouted,
    /// What happens to an event whose fields are not what its type says.
    pub invalid: Invalid,
    /// Threads that read and parse.
    pub threads: usize,
    /// Whether `auth = "none"` is spelled out.
    pub auth_none: bool,
}

/// One place that producers write to.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestListenConfig {
    /// The place.
    pub addr: IngestAddr,
    /// Which lines are answered on a raw stream.
    pub ack: Ack,
    /// What happens while the backlog is full.
    pub when_full: WhenFull,
    /// Name of the field that holds an event's type.
    pub type_field: String,
    /// Whether `timestamp` is added to events that have none.
    pub add_timestamp: bool,
}

impl Default for IngestListenConfig {
    /// Standard input, with every other key as it is by default.
    fn default() -> IngestListenConfig {
        IngestListenConfig {
            addr: IngestAddr::Stdin,
            ack: Ack::Errors,
            when_full: WhenFull::Wait,
            type_field: "type".to_owned(),
            add_timestamp: true,
        }
    }
}

/// The place of an ingest listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixAddr),
    /// A named pipe.
    Fifo(UnixAddr),
    /// Standard input (`--stdin`).
    Stdin,
}

/// `ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// No answers.
    None,
    /// A line for each rejected line, and a total at the end.
    Errors,
    /// Totals in between as well.
    All,
}

/// `when_full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Stop reading that producer.
    Wait,
    /// Refuse with a code and a count.
    Shed,
}

/// `unrouted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// Refuse, with the TOML to add.
    Reject,
    /// Count only.
    Count,
    /// Put into a room.
    Room(String),
}

/// `invalid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Refuse.
    Reject,
    /// Take, and count.
    Warn,
    /// Put into a room.
    Room(String),
}
