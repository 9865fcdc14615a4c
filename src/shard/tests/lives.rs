//! A seeded simulation of what outlives a connection, a room and a process: positions.
//!
//! Clients come back again and again to where they were, while rooms are published to, age, are reclaimed and made anew, the
//! configuration changes, and the daemon stops, goes on from what it kept, or crashes. The model (`Lives`) knows of every life
//! of a log, by its epoch, which event each offset is. A client checks against it that an offset never names two events, that
//! nothing is missing without a gap that says so, that no gap is told of what there still is, and that an epoch changes only
//! when a crash or a configuration ended it. Many short histories find more here than a few long ones.
//!
//! The seed is printed when one fails; `BROADCASTD_LIVES_SEED` runs that one alone, `BROADCASTD_LIVES_RUNS` sets how many
//! (`tests/simulations`: 200,000).

#[path = "lives_client.rs"]
mod client;

use super::inbox::Message;
use super::new_client::{ClientSocket, NewClient};
use super::shard::Shard;
use super::shards::ShardPolls;
use crate::alert::Alerts;
use crate::config::{BufferConfig, Config, HistoryConfig, RoomConfig};
use crate::event::Event;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::pattern::{Template, TypePattern};
use crate::room::{Generation, Publisher, Rooms};
use crate::route::{Destination, Scratch};
use crate::time::{log_ms, now_ms};
use crate::wire::{Epoch, From, SubscribeRoom, Transfer, Wire};
use client::SimClient;
use mio::Events;
use std::collections::{HashMap, HashSet};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

const STEPS: usize = 40;
const CLIENTS: usize = 4;
/// Bytes that a client reads at once, when it reads all it can.
const READ: usize = 32 << 10;
const AGE: Duration = Duration::from_secs(3600);

/// Rooms that are published and subscribed to, and the configuration's rooms that they are of.
const NAMES: [(&str, &str); 8] = [
    ("long", "long"),
    ("short", "short"),
    ("none", "none"),
    ("batches", "batches"),
    ("comes", "comes"),
    ("a:1", "a:{x}"),
    ("a:2", "a:{x}"),
    ("a:3", "a:{x}"),
];

/// Making them takes longer than a history.
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));
/// A room that is like most.
static ROOM: LazyLock<RoomConfig> = LazyLock::new(|| Config::default().rooms.remove(5));

/// A small generator (xorshift64*), so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// What is known of rooms' lives.
#[derive(Default)]
struct Lives {
    /// By room and epoch, the events' numbers: the one at offset N is at index N - 1.
    events: HashMap<(String, Epoch), Vec<u64>>,
    /// What clients were told, whether they read it or not.
    told: HashSet<(String, Epoch)>,
    /// Lives that may be over.
    over: HashSet<(String, Epoch)>,
}

struct Simulation {
    random: Random,
    config: Arc<Config>,
    rooms: Arc<Rooms>,
    publisher: Publisher,
    shard: Shard,
    polled: Events,
    counter: Arc<ClientCounter>,
    clients: Vec<SimClient>,
    lives: Lives,
    next: u64,
}

fn config(random: &mut Random) -> Arc<Config> {
    let room = |name: &str, events: usize| {
        let mut room = ROOM.clone();
        room.name = Template::parse(name).unwrap();
        room.types = vec![TypePattern::parse("*").unwrap()];
        room.history = HistoryConfig { events, age: AGE, bytes: 1 << 30 };
        room
    };
    let mut batches = room("batches", 40);
    let flush_interval = AGE;
    batches.buffer = (!random.one_in(3)).then_some(BufferConfig {
        events: Some(5),
        flush_interval,
        group_by: None,
        keep_newest: false,
    });
    let short = [3, 6, 20][random.below(3) as usize];
    let mut config = Config { rooms: vec![room("long", 100_000), room("short", short)], ..Config::default() };
    config.rooms.extend([room("none", 0), batches]);
    if random.one_in(2) {
        config.rooms.push(room("comes", 10));
    }
    if !random.one_in(4) {
        config.rooms.push(room("a:{x}", 5));
    }
    config.limits.client.unsent = 4096;
    config.limits.client.subscriptions.burst = 1_000_000;
    config.ingest.backlog = 1 << 40;
    // Compiling routes takes most of a history's time.
    config.ingest.listen.truncate(1);
    Arc::new(config)
}

/// A process's rooms, made by `make`, and its one shard.
fn process(make: impl FnOnce(Vec<Arc<crate::room::Bell>>) -> Arc<Rooms>) -> (Arc<Rooms>, Publisher, Shard) {
    let polls = ShardPolls::new(1).unwrap();
    let rooms = make(polls.bells());
    let alerts = Alerts::new(metrics::Counter::noop()).0;
    let parts = polls.into_parts(&rooms, &METRICS, &alerts).remove(0);
    (Arc::clone(&rooms), Publisher::new(rooms), Shard::new(parts))
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed | 1);
        let config = config(&mut random);
        let (rooms, publisher, shard) =
            process(|bells| Rooms::new(&config, bells, Arc::clone(&METRICS)).unwrap());
        Simulation {
            random,
            config,
            rooms,
            publisher,
            shard,
            polled: Events::with_capacity(16),
            counter: ClientCounter::new(),
            clients: (0..CLIENTS).map(|_| SimClient::default()).collect(),
            lives: Lives::default(),
            next: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(32) {
                0..=5 => self.come_or_go(),
                6..=16 => self.publish(),
                17..=23 => self.read(),
                24 => self.rooms.flush_all(),
                25 | 26 => self.age(),
                27 | 28 => self.reload(),
                29 => self.restart(),
                30 if self.random.one_in(8) => self.crash(),
                _ => self.shard.ahead += Duration::from_millis(self.random.below(1500)),
            }
            self.shard.turn(&mut self.polled, Duration::ZERO);
        }
        self.finish();
    }

    /// A client loses its connection, or comes back to where it was in its rooms; maybe to one more.
    fn come_or_go(&mut self) {
        let index = self.random.below(CLIENTS as u64) as usize;
        if self.clients[index].is_connected() {
            self.clients[index].lose();
            return;
        }
        let mut rooms = self.clients[index].resumed();
        let name = NAMES[self.random.below(NAMES.len() as u64) as usize].0;
        if rooms.len() < 3 && rooms.iter().all(|room| room.room != name) {
            let from = if self.random.one_in(2) { From::Start } else { From::Now };
            rooms.push(SubscribeRoom { from, ..SubscribeRoom::to(name.to_owned()) });
        }
        self.connect(index, rooms);
    }

    fn connect(&mut self, index: usize, rooms: Vec<SubscribeRoom>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let permit = self.counter.admit(None, &self.config.limits).unwrap();
        // Without a room there is no stream.
        let is_stream = !rooms.is_empty() && self.random.one_in(3);
        let lines = Wire::Lines { bare: false, transfer: Transfer::Chunked };
        let (socket, wire) = (ClientSocket::Unix(theirs), if is_stream { lines } else { Wire::WebSocket });
        let (head, early) = (Vec::new(), Vec::new());
        let names: Vec<String> = rooms.iter().map(|room| room.room.clone()).collect();
        let (positions, forwarded) = (Vec::new(), None);
        let first = |name: &String| Some((name.clone(), self.rooms.get(name)?.figures().first));
        let firsts = names.iter().filter_map(first).collect();
        self.shard.adopt(NewClient {
            socket,
            wire,
            head,
            early,
            rooms,
            positions,
            permit,
            forwarded,
            socketio: None,
        });
        self.clients[index].connect(ours, is_stream, firsts);
        let told = names.into_iter().filter_map(|name| {
            let epoch = self.rooms.get(&name)?.epoch();
            Some((name, epoch))
        });
        self.lives.told.extend(told);
    }

    fn publish(&mut self) {
        let (name, of) = NAMES[self.random.below(NAMES.len() as u64) as usize];
        let Some(room) = self.config.rooms.iter().position(|room| room.name.source() == of) else { return };
        let count = if self.random.one_in(5) { 70 } else { self.random.below(6) + 1 };
        let pad = "x".repeat(if self.random.one_in(4) { 900 } else { 4 });
        self.publisher.begin(0);
        let before = self.next;
        for _ in 0..count {
            self.next += 1;
            let json = format!("{{\"type\":\"t\",\"n\":{},\"pad\":\"{pad}\"}}", self.next);
            let event =
                Event::new(self.next, log_ms(Instant::now()), &[json.as_bytes()], b"", &mut Vec::new());
            let mut scratch = Scratch::default();
            if of != name {
                scratch.text.push_str(name);
            }
            let text = 0..scratch.text.len();
            scratch.destinations.push(Destination {
                room,
                name: text,
                key: 0..0,
                group: 0..0,
                urgent: false,
            });
            assert!(self.publisher.stage(&event, &scratch));
        }
        self.publisher.commit();
        let figures = self.rooms.get(name).unwrap().figures();
        let life = self.lives.events.entry((name.to_owned(), figures.epoch)).or_default();
        life.extend(before + 1..=self.next);
        let given = figures.head + figures.buffered as u64;
        assert_eq!(given, life.len() as u64, "{name} goes on where it was in its epoch");
    }

    fn read(&mut self) {
        let index = self.random.below(CLIENTS as u64) as usize;
        let most = [200, 3_000, READ][self.random.below(3) as usize];
        self.clients[index].read(most, &self.rooms, &self.lives);
    }

    /// Time passes: history goes, and rooms that nobody needs are reclaimed.
    fn age(&mut self) {
        let later = if self.random.one_in(2) { AGE * 2 } else { Duration::ZERO };
        self.rooms.sweep_at(log_ms(Instant::now()) + later.as_millis() as u64);
    }

    fn reload(&mut self) {
        self.config = config(&mut self.random);
        self.note_ends();
        self.rooms.reconfigure(Generation::new(Arc::clone(&self.config), &self.config.ingest.listen));
        self.shard.parts.inbox.put(Message::Reconfigure);
    }

    /// Lives of rooms that the configuration does not have may be over.
    fn note_ends(&mut self) {
        let has = |of: &str| self.config.rooms.iter().any(|room| room.name.source() == of);
        let gone: Vec<&str> = NAMES.iter().filter(|(_, of)| !has(of)).map(|(name, _)| *name).collect();
        self.end_lives(|name| gone.contains(&name));
    }

    /// Whoever was told an epoch may find another one.
    fn end_lives(&mut self, ends: impl Fn(&str) -> bool) {
        let known = self.lives.events.keys().chain(&self.lives.told).cloned();
        self.lives.over.extend(known.filter(|(name, _)| ends(name)));
    }

    /// The daemon stops and another process goes on, with another configuration maybe.
    fn restart(&mut self) {
        self.rooms.flush_all();
        for _ in 0..self.random.below(4) {
            self.shard.turn(&mut self.polled, Duration::ZERO);
        }
        let mut kept = Vec::new();
        self.rooms.keep("simulation", &[], &mut kept, Instant::now() + AGE).unwrap();
        if self.random.one_in(2) {
            self.config = config(&mut self.random);
        }
        // What clients were told before, whether they read it yet or not.
        self.lose_everybody();
        self.note_ends();
        let from = ("simulation", kept.as_slice(), kept.len() as u64);
        let config = &self.config;
        let going_on = |bells| Rooms::going_on(config, bells, Arc::clone(&METRICS), from).unwrap().0;
        (self.rooms, self.publisher, self.shard) = process(going_on);
    }

    fn crash(&mut self) {
        self.lose_everybody();
        self.end_lives(|_| true);
        let config = &self.config;
        let anew = |bells| Rooms::new(config, bells, Arc::clone(&METRICS)).unwrap();
        (self.rooms, self.publisher, self.shard) = process(anew);
    }

    fn lose_everybody(&mut self) {
        for client in &mut self.clients {
            if self.random.one_in(2) {
                client.read(READ, &self.rooms, &self.lives);
            }
            client.lose();
        }
    }

    /// Everybody comes back and reads on: within a bounded number of turns all have had everything.
    fn finish(&mut self) {
        self.rooms.flush_all();
        // Streams whose rooms are all gone end, and come back once more.
        self.read_on();
        for index in 0..CLIENTS {
            if !self.clients[index].is_connected() {
                let rooms = self.clients[index].resumed();
                self.connect(index, rooms);
            }
        }
        self.read_on();
        for client in &self.clients {
            client.check_end(&self.rooms);
        }
    }

    fn read_on(&mut self) {
        // Longer than those who are behind in a room that is gone are waited for.
        self.shard.ahead += Duration::from_secs(6);
        let mut quiet = 0;
        for _ in 0..5_000 {
            self.shard.turn(&mut self.polled, Duration::ZERO);
            let clients = self.clients.iter_mut();
            let read: usize = clients.map(|client| client.read(READ, &self.rooms, &self.lives)).sum();
            let levels = self.shard.stats.levels;
            let is_busy = read > 0 || levels.behind > 0 || levels.blocked > 0;
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet > 2 {
                break;
            }
        }
        assert!(quiet > 2, "somebody never became live");
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn positions_stay_true_over_lives_of_rooms_and_processes() {
    let one = from_environment("BROADCASTD_LIVES_SEED");
    let runs = from_environment("BROADCASTD_LIVES_RUNS").unwrap_or(2_000);
    let first = one.unwrap_or_else(|| now_ms().wrapping_mul(2_654_435_761));
    for run in 0..if one.is_some() { 1 } else { runs } {
        let seed = first.wrapping_add(run.wrapping_mul(7919));
        let result = std::panic::catch_unwind(|| Simulation::new(seed).run());
        if let Err(panic) = result {
            eprintln!("run it again with BROADCASTD_LIVES_SEED={seed} cargo test --lib positions_stay_true");
            std::panic::resume_unwind(panic);
        }
    }
}
