//! The command line, and what each scenario takes where an option is left out.

use crate::meanwhile::Meanwhile;
use crate::measure::Counter;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Loads a broadcastd of its own with clients and events, checks every delivery, and prints what it cost.
///
/// Prints one JSON line for each run as it ends, then a table of medians. Exits 1 if anything was lost, doubled or
/// reordered without a gap that says so.
#[derive(Parser, Clone, Debug)]
#[command(name = "load", bin_name = "cargo bench --bench load --")]
pub(crate) struct Options {
    /// What to do; without one, nothing is run.
    #[arg(value_enum)]
    pub(crate) scenario: Option<Scenario>,
    /// The program to load.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_broadcastd"))]
    pub(crate) daemon: PathBuf,
    /// Cores of the daemon.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub(crate) daemon_cores: Vec<usize>,
    /// Core of the load.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
    /// What counts instructions. `clock` is for `benches/instructions/run`.
    #[arg(long, value_enum, default_value = "perf")]
    pub(crate) counter: Counter,
    /// Do not move into a network namespace of its own (which needs root).
    #[arg(long)]
    pub(crate) no_isolate: bool,
    /// Rounds; variants take turns in each, and medians are printed.
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: u32,
    /// Seconds of each measured window.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Seconds under the same load before it.
    #[arg(long, default_value_t = 0.7)]
    pub(crate) warm_up: f64,
    /// Do not run the floor beside the daemon.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Run the floor alone: tries the load program itself, without a daemon.
    #[arg(long)]
    pub(crate) floor_only: bool,
    /// Clients in all.
    #[arg(long)]
    pub(crate) clients: Option<usize>,
    /// Rooms; of several numbers each is a variant.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rooms: Option<Vec<usize>>,
    /// Clients of each room, instead of `--clients`.
    #[arg(long)]
    pub(crate) per_room: Option<usize>,
    /// How clients are connected; of several each is a variant.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "websocket")]
    pub(crate) transport: Vec<Transport>,
    /// Rooms of each client.
    #[arg(long, default_value_t = 1)]
    pub(crate) rooms_each: usize,
    /// Clients that come back.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) resuming: usize,
    /// Events that each of them has missed.
    #[arg(long, default_value_t = 100)]
    pub(crate) missed: u64,
    /// Shards; of several numbers each is a variant.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub(crate) shards: Vec<usize>,
    /// Bytes of an event as its producer writes it, without the line's end; no smaller than its fields.
    #[arg(long)]
    pub(crate) size: Option<usize>,
    /// Events a second, or groups of `--at-once`, where events are paced.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Events under way at once, where events are written as fast as they arrive.
    #[arg(long)]
    pub(crate) under_way: Option<usize>,
    /// Events written at once.
    #[arg(long)]
    pub(crate) at_once: Option<usize>,
    /// Events in all, where their number is fixed.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Clients that do not read, or in bursts; of several numbers each is a variant.
    #[arg(long, value_delimiter = ',')]
    pub(crate) stalled: Option<Vec<usize>>,
    /// Percent of the offered rate at which slow clients read; each number is a phase.
    #[arg(long, value_delimiter = ',', default_value = "95,105")]
    pub(crate) percent: Vec<u32>,
    /// Bytes of the clients' receive buffers; 0 leaves the system's.
    #[arg(long)]
    pub(crate) receive_buffer: Option<usize>,
    /// `server.heartbeat`.
    #[arg(long)]
    pub(crate) heartbeat: Option<String>,
    /// `server.handshakes`.
    #[arg(long, default_value_t = 4096)]
    pub(crate) handshakes: usize,
    /// `history.events` of the rooms.
    #[arg(long)]
    pub(crate) history: Option<usize>,
    /// `ingest.backlog`.
    #[arg(long)]
    pub(crate) backlog: Option<String>,
    /// `when_full` of the ingest listener.
    #[arg(long, value_parser = ["wait", "shed"])]
    pub(crate) when_full: Option<String>,
    /// What is done over and over meanwhile; the variant with nothing done is measured beside it.
    #[arg(long)]
    pub(crate) meanwhile: Option<Meanwhile>,
    /// `every` of paced clients.
    #[arg(long, default_value = "2s")]
    pub(crate) every: String,
    /// Keys of the events of a room with a key.
    #[arg(long, default_value_t = 200)]
    pub(crate) keys: u64,
    /// Seed of whatever is random.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Be the floor (started by the load itself): events joined in one send.
    #[arg(long, hide = true)]
    pub(crate) floor_joined: Option<usize>,
    /// Bytes of the floor's frames.
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) floor_frame: usize,
    /// Clients that the system lets a process have; found out by the program.
    #[arg(skip)]
    pub(crate) most_clients: usize,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// How a client is connected.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// WebSocket.
    Websocket,
    /// Server-Sent Events.
    Sse,
    /// Socket.IO over WebSocket.
    #[value(name = "socketio")]
    SocketIo,
}

/// What can be measured.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// One room, 1,000 clients, 20 events a second; the floor beside it.
    FanoutPaced,
    /// The same, 64 events under way; the floor beside it.
    FanoutMax,
    /// 2,000 events a second over 100 and over 20,000 rooms of one client each.
    RoomsPaced,
    /// 100 rooms of 10 clients, 1,024 events under way; the floor beside it.
    RoomsMax,
    /// 1,000 clients, 50 events at once twice a second; the floor beside it.
    Burst,
    /// 50 clients, 64 KiB, 20 events a second; the floor beside it.
    LargePaced,
    /// 10,000 clients, each in a room of its own: memory of each after pings.
    Idle,
    /// 3,000 handshakes at once, each begun and left half-way until all are: memory of each client after.
    Storm,
    /// Of 1,000 clients 0, 1, 100 and 900 never read: what the others notice.
    Stalled,
    /// Of 1,000 clients 0, 1, 100 and 900 read in bursts: what the others notice.
    Bursty,
    /// 1,000 clients read at 95 and at 105 % of the offered rate; then all stop for 2 s and go on.
    Slow,
    /// 100,000 events at once into a room with a short history, 1,000 clients: gaps and peak memory.
    Flood,
    /// Many rooms a client, filters, joins, leaves and reconnects at random: is every delivery right?
    Mixed,
    /// 1,000 clients are live, and within one second 10,000 others come back for 100 events each: on sockets that are open,
    /// with handshakes, and to `/sse`.
    Resume,
    /// 200,000 `agent_state` events, two rooms each, nobody subscribed.
    Ingest,
    /// 2,000 events a second over 200 keys to 1,000 clients: everything, and the newest of each every two seconds.
    Paced,
    /// 1,000 clients of one room without a filter, with one, and with ten different ones, each letting a tenth pass.
    Filters,
}

/// What a run does; every field from an option, or from the scenario.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: usize,
    pub(crate) rooms: usize,
    pub(crate) rooms_each: usize,
    pub(crate) transport: Transport,
    pub(crate) size: usize,
    pub(crate) rate: f64,
    pub(crate) under_way: usize,
    pub(crate) at_once: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_up: f64,
    pub(crate) receive_buffer: usize,
    /// Whether the floor runs beside the daemon.
    pub(crate) floor: bool,
    pub(crate) server: ServerPlan,
}

/// How the daemon is set up.
#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    pub(crate) shards: usize,
    pub(crate) heartbeat: String,
    pub(crate) handshakes: usize,
    pub(crate) history: usize,
    pub(crate) backlog: String,
    pub(crate) when_full: String,
}

impl Options {
    /// A plan with this many rooms and shards.
    pub(crate) fn plan(&self, scenario: Scenario, rooms: usize, shards: usize, transport: Transport) -> Plan {
        let mut plan = Plan {
            clients: 1000,
            rooms,
            rooms_each: self.rooms_each.clamp(1, rooms),
            transport,
            size: 128,
            rate: 20.0,
            under_way: 0,
            at_once: 1,
            seconds: 4.0,
            warm_up: self.warm_up,
            receive_buffer: 0,
            // The floor speaks WebSocket, with one room a client.
            floor: !self.no_floor && transport == Transport::Websocket && self.rooms_each <= 1,
            server: ServerPlan {
                shards,
                heartbeat: "60s".into(),
                handshakes: self.handshakes,
                history: 1000,
                backlog: "64MiB".into(),
                when_full: "wait".into(),
            },
        };
        plan.adjust(scenario);
        plan.clients = self.per_room.map_or(self.clients.unwrap_or(plan.clients), |each| each * rooms);
        plan.size = self.size.unwrap_or(plan.size);
        plan.rate = self.rate.unwrap_or(plan.rate);
        plan.under_way = self.under_way.unwrap_or(plan.under_way);
        plan.at_once = self.at_once.unwrap_or(plan.at_once).max(1);
        plan.seconds = self.seconds.unwrap_or(plan.seconds);
        plan.receive_buffer = self.receive_buffer.unwrap_or(plan.receive_buffer);
        let server = &mut plan.server;
        server.history = self.history.unwrap_or(server.history);
        self.heartbeat.clone_into_if(&mut server.heartbeat);
        self.backlog.clone_into_if(&mut server.backlog);
        self.when_full.clone_into_if(&mut server.when_full);
        plan
    }

    /// Numbers of rooms to try, within what the system allows.
    pub(crate) fn rooms(&self, scenario: Scenario) -> Vec<usize> {
        let default = match scenario {
            Scenario::RoomsPaced => vec![100, self.most_clients.min(20_000)],
            Scenario::RoomsMax => vec![100],
            Scenario::Idle => vec![self.clients.unwrap_or(self.most_clients.min(10_000))],
            Scenario::Storm => vec![self.clients.unwrap_or(3000)],
            Scenario::Mixed => vec![40],
            _ => vec![1],
        };
        self.rooms.clone().unwrap_or(default)
    }
}

impl Plan {
    fn adjust(&mut self, scenario: Scenario) {
        match scenario {
            Scenario::FanoutMax => (self.under_way, self.at_once) = (64, 8),
            Scenario::RoomsPaced => {
                (self.clients, self.rate, self.floor) = (self.rooms, 2000.0, false);
                // A quarter of the heartbeat: pings are part of what clients cost, and a short window has more or fewer of them
                // than its share. What thousands of handshakes leave to be done is over before it begins.
                (self.seconds, self.warm_up) = (15.0, self.warm_up.max(3.0));
            }
            Scenario::RoomsMax => (self.under_way, self.at_once) = (1024, 8),
            Scenario::Burst => (self.rate, self.at_once) = (2.0, 50),
            Scenario::LargePaced => (self.clients, self.size) = (50, 64 * 1024),
            Scenario::Idle => {
                self.clients = self.rooms;
                self.server.heartbeat = "2s".into();
            }
            Scenario::Storm => self.clients = self.rooms,
            Scenario::Slow => {
                (self.size, self.rate, self.receive_buffer) = (800, 60.0, 8192);
                (self.seconds, self.server.history) = (3.0, 100_000);
            }
            Scenario::Flood => self.flood(),
            Scenario::Mixed => {
                (self.clients, self.rate, self.seconds) = (300, 500.0, 6.0);
                self.server.history = 100_000;
            }
            Scenario::Ingest => self.size = 250,
            Scenario::Paced => (self.rate, self.seconds, self.floor) = (2000.0, 8.0, false),
            Scenario::Stalled | Scenario::Bursty => self.seconds = 2.5,
            // After thousands of handshakes the daemon gives memory back once it is quiet for a second.
            Scenario::Resume => self.warm_up = self.warm_up.max(3.0),
            Scenario::Filters => self.floor = false,
            Scenario::FanoutPaced => {}
        }
    }

    fn flood(&mut self) {
        self.server.history = 10;
        self.server.backlog = "4MiB".into();
    }
}

/// Overrides a value where an option was given.
trait CloneIntoIf {
    fn clone_into_if(&self, target: &mut String);
}

impl CloneIntoIf for Option<String> {
    fn clone_into_if(&self, target: &mut String) {
        if let Some(value) = self {
            target.clone_from(value);
        }
    }
}
