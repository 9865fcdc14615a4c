//! A seeded simulation: one shard, real rooms, socket pairs with small buffers, and a client's rules as the model.
//!
//! Clients read, stall, come, go, subscribe anew and resume at random while events are published at random, over WebSockets
//! and as streams. Each checks every byte it gets against what was published (`model`): whole frames and blocks, offsets
//! that rise by one unless a filter or a pace was asked for, the right event at every offset, a gap for whatever is missing,
//! a snapshot with the newest of every key, and `id`s that lead where the client is. In the end everybody reads on and must
//! arrive at every room's head, and with the newest of every key.
//!
//! The seed is printed when a run fails; `BROADCASTD_SIM_SEED` runs that one alone, `BROADCASTD_SIM_RUNS` sets how many.

mod client;
mod composed;
mod emitted;
mod model;
mod stopping;
mod told;

use self::client::{Lost, SimClient, StreamAsked};
use self::model::{Asked, Followed, Made, Published};
use super::new_client::{ClientSocket, NewClient};
use super::shard::Shard;
use super::shards::ShardPolls;
use crate::config::{
    BufferConfig, Config, HistoryConfig, Namespace, Rate, RoomConfig, SlowClient, SnapshotConfig,
};
use crate::event::Event;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::pattern::{Condition, Path, Template, TypePattern};
use crate::room::{Publisher, Rooms};
use crate::route::{Destination, Scratch};
use crate::time::{log_ms, now_ms};
use crate::wire::{From, Naming, Position, Sse, SubscribeRoom, Transfer, Wire};
use mio::Events;
use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FILTER: &str = "k == \"a\"";
const STEPS: usize = 400;

/// A room of the simulation.
struct SimRoom {
    name: &'static str,
    history: usize,
    slow_client: SlowClient,
    buffered: bool,
    /// How many keys its events have; 0: it has no key.
    keys: u64,
    snapshot: bool,
}

const fn plain(name: &'static str, history: usize, slow_client: SlowClient, buffered: bool) -> SimRoom {
    SimRoom { name, history, slow_client, buffered, keys: 0, snapshot: false }
}

const fn keyed(name: &'static str, history: usize, slow_client: SlowClient, keys: u64) -> SimRoom {
    SimRoom { name, history, slow_client, buffered: false, keys, snapshot: true }
}

const ROOMS: [SimRoom; 11] = [
    plain("long", 100_000, SlowClient::Replay, false),
    plain("short", 20, SlowClient::Replay, false),
    plain("none", 0, SlowClient::Replay, false),
    plain("skips", 50, SlowClient::Skip, false),
    plain("cuts", 10, SlowClient::Disconnect, false),
    plain("batches", 200, SlowClient::Replay, true),
    keyed("states", 100, SlowClient::Replay, 200),
    keyed("newest", 0, SlowClient::Replay, 100),
    keyed("few", 10, SlowClient::Replay, 3),
    keyed("board", 30, SlowClient::Skip, 20),
    SimRoom { buffered: true, snapshot: false, ..keyed("asked", 60, SlowClient::Replay, 30) },
];

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

struct Simulation {
    random: Random,
    rooms: Arc<Rooms>,
    publisher: Publisher,
    shard: Shard,
    events: Events,
    counter: Arc<ClientCounter>,
    limits: crate::config::LimitsConfig,
    clients: Vec<SimClient>,
    published: Published,
    /// Streams that were lost, to come back.
    lost: Vec<Lost>,
    next: u64,
    /// Which of the rooms are used. Every other time they are few, so that many clients are in the same ones.
    used: Range<usize>,
}

fn config() -> Config {
    let mut config = Config::default();
    let room = |room: SimRoom| RoomConfig {
        name: Template::parse(room.name).unwrap(),
        types: vec![TypePattern::parse("*").unwrap()],
        condition: None,
        key: if room.keys > 0 { vec![Path::top("id")] } else { Vec::new() },
        snapshot: SnapshotConfig { by_default: room.snapshot, ..SnapshotConfig::ASKED },
        buffer: room.buffered.then_some(BufferConfig {
            events: Some(7),
            flush_interval: Duration::from_secs(3600),
            group_by: None,
            keep_newest: false,
        }),
        urgent: None,
        history: HistoryConfig { events: room.history, age: Duration::from_secs(3600), bytes: 1 << 30 },
        slow_client: room.slow_client,
        subscribers: None,
        emitted_as: Some(format!("\"{}\"", room.name).into()),
    };
    config.rooms = ROOMS.into_iter().map(room).collect();
    config.limits.client.unsent = 4096;
    config.limits.client.subscriptions.burst = 1_000_000;
    config.limits.client.messages.burst = 1_000_000;
    config.socketio.namespaces = emitted::NAMESPACES.map(|name| Namespace::named(name).unwrap()).into();
    config.ingest.backlog = 1 << 40;
    config
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut config = config();
        if seed.is_multiple_of(3) {
            // Every third time clients are paced, and time enough passes for them.
            config.limits.client.deliveries = Some(Rate { per_second: 100_000.0, burst: 30 });
        }
        let few = (seed / 2 % (ROOMS.len() as u64 - 2)) as usize;
        let metrics = Arc::new(Metrics::new());
        let polls = ShardPolls::new(1).unwrap();
        let rooms = Rooms::new(&Arc::new(config.clone()), polls.bells(), Arc::clone(&metrics)).unwrap();
        let parts = polls
            .into_parts(&rooms, &metrics, &crate::alert::Alerts::new(metrics::Counter::noop()).0)
            .remove(0);
        Simulation {
            random: Random(seed | 1),
            publisher: Publisher::new(Arc::clone(&rooms)),
            rooms,
            shard: Shard::new(parts),
            events: Events::with_capacity(64),
            counter: ClientCounter::new(),
            limits: config.limits,
            clients: Vec::new(),
            published: Published(ROOMS.iter().map(|room| (room.name.to_owned(), Vec::new())).collect()),
            lost: Vec::new(),
            next: 0,
            used: if seed.is_multiple_of(2) { 0..ROOMS.len() } else { few..few + 3 },
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(17) {
                0 => self.connect(),
                16 => self.connect_stream(),
                1 => self.disconnect(),
                2 | 3 => self.subscribe(),
                4 => self.unsubscribe(),
                5..=8 => self.publish(),
                9..=12 => self.read_some(),
                13 => self.rooms.flush_all(),
                14 => self.shard.ahead += Duration::from_millis(self.random.below(1500)),
                _ => {}
            }
            // Often the shard has not come to what was published when the next thing happens.
            let turns = self.random.below(4).min(1) as usize;
            self.turns(turns);
        }
        self.finish();
    }

    /// One of the rooms that are used, by its place.
    fn any_room(&mut self) -> usize {
        self.used.start + self.random.below(self.used.len() as u64) as usize
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.shard.turn(&mut self.events, Duration::ZERO);
        }
    }

    fn connect(&mut self) {
        if self.clients.len() < 12 {
            let client = self.adopt(Wire::WebSocket, Vec::new(), Vec::new());
            self.clients.push(client);
        }
    }

    /// A stream: a new one, or one that was lost and comes back where it was.
    fn connect_stream(&mut self) {
        if self.clients.len() >= 12 {
            return;
        }
        let naming = [Naming::None, Naming::Type, Naming::Room][self.random.below(3) as usize];
        let transfer = if self.random.one_in(4) { Transfer::Plain } else { Transfer::Chunked };
        let lines = Wire::Lines { bare: false, transfer };
        let sse = Wire::Sse(Sse { bare: false, naming, transfer });
        let mut wire = if self.random.one_in(4) { lines } else { sse };
        let mut from = match self.random.below(4) {
            0 => From::Start,
            1 => From::Last(self.random.below(100)),
            _ => From::Now,
        };
        let mut rooms = Vec::new();
        for _ in 0..=self.random.below(3) {
            let name = ROOMS[self.any_room()].name.to_owned();
            // With `snapshot` asked for, which only a room with a key can be.
            if !rooms.contains(&name) {
                rooms.push(name);
            }
        }
        let asked = Asked { filtered: self.random.one_in(4), paced: self.random.one_in(3) };
        let snapshot = self.random.one_in(4).then_some(false);
        let mut stream = StreamAsked { rooms, from: from.clone(), asked, snapshot };
        let (mut left, mut positions) = (HashMap::new(), Vec::new());
        if self.random.one_in(2)
            && let Some(lost) = self.lost.pop()
        {
            stream = lost.asked;
            from = stream.from.clone();
            wire = lost.wire;
            if let Some(id) = &lost.last_id {
                positions = id.split(',').map(|position| position.parse().unwrap()).collect();
                left = lost.rooms;
            }
        }
        let requests = stream.rooms.iter().map(|room| SubscribeRoom {
            from: from.clone(),
            condition: stream.asked.filtered.then(|| Condition::parse(FILTER).unwrap()),
            every: stream.asked.paced.then_some(Duration::from_millis(400)),
            snapshot: stream.snapshot,
            ..SubscribeRoom::to(room.clone())
        });
        let mut client = self.adopt(wire, requests.collect(), positions);
        client.asked = Some(stream);
        client.left = left;
        self.clients.push(client);
    }

    fn adopt(&mut self, wire: Wire, rooms: Vec<SubscribeRoom>, positions: Vec<Position>) -> SimClient {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let permit = self.counter.admit(None, &self.limits).unwrap();
        let socket = ClientSocket::Unix(theirs);
        let (head, early, forwarded) = (Vec::new(), Vec::new(), None);
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
        let number = self.shard.parts.numbers.load(std::sync::atomic::Ordering::Relaxed);
        SimClient::new(ours, number, wire)
    }

    fn disconnect(&mut self) {
        if self.clients.len() > 3 && self.random.one_in(2) {
            let index = self.random.below(self.clients.len() as u64) as usize;
            let gone = self.clients.swap_remove(index);
            self.lost.extend(gone.lose());
        }
    }

    /// A WebSocket, and a room.
    fn pick(&mut self) -> Option<(usize, u32, &'static SimRoom)> {
        if self.clients.is_empty() {
            return None;
        }
        let index = self.random.below(self.clients.len() as u64) as usize;
        let room = &ROOMS[self.any_room()];
        let number = self.clients[index].number;
        let key = self.shard.clients.iter().find(|(_, client)| client.number == number && !client.closing);
        key.filter(|_| self.clients[index].asked.is_none()).map(|(key, _)| (index, key as u32, room))
    }

    fn subscribe(&mut self) {
        let Some((index, key, room)) = self.pick() else { return };
        let left = self.clients[index].left.get(room.name).map(|left| (left.epoch.clone(), left.position));
        let mut id = 0;
        let from = match (self.random.below(5), left) {
            (0, _) => From::Start,
            (1, _) => From::Last(self.random.below(100)),
            (2 | 3, Some((epoch, offset))) => {
                id += 4;
                From::After(format!("{epoch}:{offset}").parse().unwrap())
            }
            (4, _) => From::SinceMs(now_ms() - self.random.below(2)),
            _ => From::Now,
        };
        let condition = self.random.one_in(4).then(|| Condition::parse(FILTER).unwrap());
        let paces = [250, 700];
        let every = self.random.one_in(3).then(|| paces[self.random.below(2) as usize]);
        let every = every.map(Duration::from_millis);
        let snapshot = match self.random.below(4) {
            0 => Some(false),
            1 if room.keys > 0 => Some(true),
            _ => None,
        };
        id += u64::from(condition.is_some()) + 2 * u64::from(every.is_some());
        let mut out = Vec::new();
        let request = SubscribeRoom { room: room.name.to_owned(), from, condition, every, snapshot };
        self.shard.subscribe(key, Some(&id.to_string()), vec![Ok(request)], &mut out);
        self.shard.answer(key, &out);
    }

    fn unsubscribe(&mut self) {
        let Some((_, key, room)) = self.pick() else { return };
        let mut out = Vec::new();
        self.shard.unsubscribe(key, None, &[Ok(room.name.to_owned())], &mut out);
        self.shard.answer(key, &out);
    }

    fn publish(&mut self) {
        let index = self.any_room();
        let count = if self.random.one_in(4) { 300 } else { self.random.below(10) + 1 };
        let size = if self.random.one_in(3) { 5000 } else { 20 };
        self.publisher.begin(0);
        for _ in 0..count {
            let kind = ["a", "b", "c"][self.random.below(3) as usize];
            let pad = "x".repeat(self.random.below(size) as usize);
            let keys = ROOMS[index].keys;
            // Now and then an event has none of the key's fields.
            let key = if keys > 0 { self.random.below(keys + 1) as u8 } else { 0 };
            self.stage(index, kind, &pad, key);
        }
        self.publisher.commit();
    }

    /// Publishes an event to a room once that is committed.
    fn stage(&mut self, index: usize, kind: &str, pad: &str, key: u8) {
        self.next += 1;
        let json = format!("{{\"type\":\"t\",\"n\":{},\"k\":\"{kind}\",\"pad\":\"{pad}\"}}", self.next);
        let event = Event::new(self.next, log_ms(Instant::now()), &[json.as_bytes()], b"", &mut Vec::new());
        let room = &ROOMS[index];
        let mut scratch = Scratch::default();
        if key > 0 {
            scratch.text.push_str(&key.to_string());
        }
        let text = 0..scratch.text.len();
        scratch.destinations.push(Destination {
            room: index,
            name: 0..0,
            key: text,
            group: 0..0,
            urgent: false,
        });
        assert!(self.publisher.stage(&event, &scratch));
        let made = Made { n: self.next, passes: kind == "a", key };
        self.published.0.get_mut(room.name).unwrap().push(made);
    }

    fn read_some(&mut self) {
        if !self.clients.is_empty() {
            let index = self.random.below(self.clients.len() as u64) as usize;
            let most = [100, 5_000, 1 << 20][self.random.below(3) as usize];
            self.clients[index].read(most, &self.published);
        }
    }

    /// Everybody reads on: within a bounded number of turns all must be live and have had everything.
    fn finish(&mut self) {
        self.rooms.flush_all();
        for _ in 0..20_000 {
            self.turns(1);
            let read: usize =
                self.clients.iter_mut().map(|client| client.read(1 << 20, &self.published)).sum();
            let shard = &self.shard;
            let busy = !shard.ready.is_empty() || !shard.catching.is_empty() || !shard.held.is_empty();
            if !shard.due.is_empty() {
                self.shard.ahead += Duration::from_millis(20);
                continue;
            }
            if read == 0 && !busy && shard.stats.levels.behind == 0 && shard.stats.levels.blocked == 0 {
                break;
            }
        }
        assert_eq!(self.shard.stats.levels.behind, 0, "somebody never became live: {}", self.behind());
        for client in self.clients.iter_mut().filter(|client| !client.closed) {
            for followed in client.rooms.values_mut() {
                followed.check_end(&self.published);
            }
        }
        self.clients.clear();
        // Another test may be starting a process, which has our sockets until it runs its program.
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !self.shard.clients.is_empty() {
            assert!(std::time::Instant::now() < until, "{} clients are left", self.shard.clients.len());
            self.turns(4);
        }
        assert_eq!((self.shard.views.len(), self.shard.seats.len(), self.shard.passing), (0, 0, 0));
        let levels = self.shard.stats.levels;
        assert_eq!(levels, super::stats::Levels::default(), "every level is back at zero");
        assert_eq!(self.rooms.totals().backlog_bytes(), 0, "nothing is kept for nobody");
    }
}

impl Simulation {
    /// Who is behind, for a person.
    fn behind(&self) -> String {
        let mut out = String::new();
        for (_, client) in &self.shard.clients {
            for subscription in client.subscriptions.iter().filter(|subscription| !subscription.live) {
                let view = &self.shard.views[subscription.view as usize];
                let room = &self.shard.seats[view.seat as usize].room;
                out += &format!(
                    "client {} at {} in {room:?} (cursor {}, passed {}, snapshot_to {}, waiting {}, blocked {}, queued {})\n",
                    client.number,
                    subscription.position,
                    view.cursor,
                    view.passed(),
                    subscription.snapshot_to,
                    subscription.waiting,
                    client.blocked,
                    client.queued,
                );
            }
        }
        out
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn clients_get_everything_in_order_or_are_told() {
    let one = from_environment("BROADCASTD_SIM_SEED");
    let runs = from_environment("BROADCASTD_SIM_RUNS").unwrap_or(40);
    let first = one.unwrap_or_else(|| now_ms().wrapping_mul(2_654_435_761));
    for run in 0..if one.is_some() { 1 } else { runs } {
        let seed = first.wrapping_add(run * 7919);
        let result = std::panic::catch_unwind(|| Simulation::new(seed).run());
        if let Err(panic) = result {
            eprintln!("simulation failed: run it again with BROADCASTD_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn parts_are_small() {
    // Ten thousand idle clients are kept as records of these sizes (docs/performance.md).
    let sizes = [
        // Without its socket, of 8 bytes: where debug assertions are on, mio's remember more.
        size_of::<super::client::Client>() - size_of::<super::socket::Socket>(),
        size_of::<super::client::Subscription>(),
        size_of::<super::view::View>(),
        size_of::<super::view::Seat>(),
        // Two counters beside it make it 128 bytes, a size that the allocator has.
        size_of::<crate::room::Room>(),
    ];
    assert!(sizes.iter().sum::<usize>() <= 352, "{sizes:?}");
}
