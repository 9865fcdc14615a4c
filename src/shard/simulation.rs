//! A seeded simulation: one shard, real rooms, socket pairs with small buffers, and a client's rules as the model.
//!
//! Clients read, stall, come, go, subscribe anew and resume at random while events are published at random. Each checks
//! every byte it gets against what was published: whole frames, offsets that rise by one, the right event at every
//! offset, and a gap for whatever is missing. In the end everybody reads on and must arrive at every room's head.
//!
//! The seed is printed when a run fails; `BROADCASTD_SIM_SEED` runs that one alone, `BROADCASTD_SIM_RUNS` sets how many.

use super::new_client::{ClientSocket, NewClient};
use super::shard::Shard;
use super::shards::ShardPolls;
use crate::config::{BufferConfig, Config, HistoryConfig, Rate, RoomConfig, SlowClient, SnapshotConfig};
use crate::event::Event;
use crate::limits::ClientCounter;
use crate::metrics::Metrics;
use crate::pattern::{Condition, Template, TypePattern};
use crate::room::{Publisher, Rooms, now_ms};
use crate::route::{Destination, Scratch};
use crate::wire::frame::{CLOSE, PING, TEXT, frame_len};
use crate::wire::{From, SubscribeRoom, Wire};
use mio::Events;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const FILTER: &str = "k == \"a\"";
const STEPS: usize = 400;

/// The rooms of the simulation: (name, history, policy, buffer).
const ROOMS: [(&str, usize, SlowClient, bool); 6] = [
    ("long", 100_000, SlowClient::Replay, false),
    ("short", 20, SlowClient::Replay, false),
    ("none", 0, SlowClient::Replay, false),
    ("skips", 50, SlowClient::Skip, false),
    ("cuts", 10, SlowClient::Disconnect, false),
    ("batches", 200, SlowClient::Replay, true),
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

/// What one room was given, in order: the event at offset N is at index N - 1.
type Published = HashMap<String, Vec<u64>>;

/// A client's own view of a subscription.
struct Followed {
    epoch: String,
    position: u64,
    filtered: bool,
}

struct SimClient {
    stream: UnixStream,
    number: u64,
    bytes: Vec<u8>,
    rooms: HashMap<String, Followed>,
    /// Positions of rooms it left, to resume from.
    left: HashMap<String, (String, u64)>,
    closed: bool,
    gaps: u64,
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
    next: u64,
}

fn config() -> Config {
    let mut config = Config::default();
    let room = |(name, events, slow_client, buffered): (&str, usize, SlowClient, bool)| RoomConfig {
        name: Template::parse(name).unwrap(),
        types: vec![TypePattern::parse("*").unwrap()],
        condition: None,
        key: Vec::new(),
        snapshot: SnapshotConfig::ASKED,
        buffer: buffered.then_some(BufferConfig {
            events: Some(7),
            flush_interval: Duration::from_secs(3600),
            group_by: None,
            keep_newest: false,
        }),
        urgent: None,
        history: HistoryConfig { events, age: Duration::from_secs(3600), bytes: 1 << 30 },
        slow_client,
        subscribers: None,
    };
    config.rooms = ROOMS.into_iter().map(room).collect();
    config.limits.client.unsent = 4096;
    config.limits.client.subscriptions.burst = 1_000_000;
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
        let metrics = Arc::new(Metrics::new());
        let polls = ShardPolls::new(1).unwrap();
        let rooms = Rooms::new(&Arc::new(config.clone()), polls.bells(), Arc::clone(&metrics));
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
            published: ROOMS.iter().map(|room| (room.0.to_owned(), Vec::new())).collect(),
            next: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(16) {
                0 => self.connect(),
                1 => self.disconnect(),
                2 | 3 => self.subscribe(),
                4 => self.unsubscribe(),
                5..=8 => self.publish(),
                9..=12 => self.read_some(),
                13 => self.rooms.flush_all(),
                14 => self.shard.ahead += Duration::from_millis(self.random.below(1500)),
                _ => {}
            }
            self.turns(1);
        }
        self.finish();
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.shard.turn(&mut self.events, Duration::ZERO);
        }
    }

    fn connect(&mut self) {
        if self.clients.len() >= 12 {
            return;
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let permit = self.counter.admit(None, &self.limits).unwrap();
        let socket = ClientSocket::Unix(theirs);
        let (wire, head, early, rooms) = (Wire::WebSocket, Vec::new(), Vec::new(), Vec::new());
        let (positions, forwarded) = (Vec::new(), None);
        self.shard.adopt(NewClient { socket, wire, head, early, rooms, positions, permit, forwarded });
        let number = self.shard.parts.numbers.load(std::sync::atomic::Ordering::Relaxed);
        self.clients.push(SimClient {
            stream: ours,
            number,
            bytes: Vec::new(),
            rooms: HashMap::new(),
            left: HashMap::new(),
            closed: false,
            gaps: 0,
        });
    }

    fn disconnect(&mut self) {
        if self.clients.len() > 3 && self.random.one_in(2) {
            let index = self.random.below(self.clients.len() as u64) as usize;
            self.clients.swap_remove(index);
        }
    }

    fn pick(&mut self) -> Option<(usize, u32, &'static str)> {
        if self.clients.is_empty() {
            return None;
        }
        let index = self.random.below(self.clients.len() as u64) as usize;
        let room = ROOMS[self.random.below(ROOMS.len() as u64) as usize].0;
        let number = self.clients[index].number;
        let key = self.shard.clients.iter().find(|(_, client)| client.number == number && !client.closing);
        key.map(|(key, _)| (index, key as u32, room))
    }

    fn subscribe(&mut self) {
        let Some((index, key, room)) = self.pick() else { return };
        let left = self.clients[index].left.get(room).cloned();
        let from = match (self.random.below(5), left) {
            (0, _) => From::Start,
            (1, _) => From::Last(self.random.below(100)),
            (2 | 3, Some((epoch, offset))) => From::After(format!("{epoch}:{offset}").parse().unwrap()),
            (4, _) => From::SinceMs(now_ms() - self.random.below(2)),
            _ => From::Now,
        };
        let condition = self.random.one_in(4).then(|| Condition::parse(FILTER).unwrap());
        let id = if condition.is_some() { "1" } else { "0" };
        let mut out = Vec::new();
        let request = SubscribeRoom { from, condition, ..SubscribeRoom::to(room.to_owned()) };
        self.shard.subscribe(key, Some(id), vec![Ok(request)], &mut out);
        self.shard.answer(key, &out);
    }

    fn unsubscribe(&mut self) {
        let Some((_, key, room)) = self.pick() else { return };
        let mut out = Vec::new();
        self.shard.unsubscribe(key, None, &[room.to_owned()], &mut out);
        self.shard.answer(key, &out);
    }

    fn publish(&mut self) {
        let index = self.random.below(ROOMS.len() as u64) as usize;
        let count = if self.random.one_in(4) { 300 } else { self.random.below(10) + 1 };
        let size = if self.random.one_in(3) { 5000 } else { 20 };
        self.publisher.begin(0);
        for _ in 0..count {
            self.next += 1;
            let kind = ["a", "b", "c"][self.random.below(3) as usize];
            let pad = "x".repeat(self.random.below(size) as usize);
            let json = format!("{{\"type\":\"t\",\"n\":{},\"k\":\"{kind}\",\"pad\":\"{pad}\"}}", self.next);
            let event = Event::new(self.next, now_ms(), &[json.as_bytes()], b"", &mut Vec::new());
            let destination = Destination { room: index, name: 0..0, key: 0..0, group: 0..0, urgent: false };
            let mut scratch = Scratch::default();
            scratch.destinations.push(destination);
            assert!(self.publisher.stage(&event, &scratch));
            // The kind is kept in the number's low digits, so that the model knows what a filter lets pass.
            let kept = self.next * 4 + u64::from(kind == "a");
            self.published.get_mut(ROOMS[index].0).unwrap().push(kept);
        }
        self.publisher.commit();
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
            if read == 0 && !busy && shard.stats.levels.behind == 0 && shard.stats.levels.blocked == 0 {
                break;
            }
        }
        assert_eq!(self.shard.stats.levels.behind, 0, "somebody never became live");
        for client in self.clients.iter().filter(|client| !client.closed) {
            for (room, followed) in &client.rooms {
                let head = self.published[room].len() as u64;
                let passing = |offset: &u64| self.published[room][*offset as usize - 1] % 4 == 1;
                let missing: Vec<u64> = (followed.position + 1..=head)
                    .filter(|offset| !followed.filtered || passing(offset))
                    .collect();
                assert!(missing.is_empty(), "client {} in {room} never got {missing:?}", client.number);
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

impl SimClient {
    fn read(&mut self, most: usize, published: &Published) -> usize {
        let mut buffer = vec![0; most];
        let len = match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.closed = true;
                0
            }
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("client {}: {error}", self.number),
        };
        self.bytes.extend_from_slice(&buffer[..len]);
        let mut at = 0;
        while let Some(frame) = frame_len(&self.bytes[at..]).filter(|frame| at + frame <= self.bytes.len()) {
            let bytes = self.bytes[at..at + frame].to_vec();
            self.frame(&bytes, published);
            at += frame;
        }
        self.bytes.drain(..at);
        len
    }

    fn frame(&mut self, frame: &[u8], published: &Published) {
        assert_eq!(frame[0] & 0xf0, 0x80, "a frame begins where one must");
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        match frame[0] & 0x0f {
            TEXT => self.message(&serde_json::from_slice(&frame[header..]).unwrap(), published),
            CLOSE => self.closed = true,
            PING => {}
            other => panic!("opcode {other}"),
        }
    }

    fn message(&mut self, message: &Value, published: &Published) {
        let room = message["room"].as_str().unwrap_or_default();
        match message["type"].as_str().unwrap() {
            "welcome" | "closing" => {}
            "subscribed" => {
                for room in message["rooms"].as_array().unwrap() {
                    assert!(room.get("error").is_none(), "{room}");
                    let followed = Followed {
                        epoch: room["epoch"].as_str().unwrap().to_owned(),
                        position: room["offset"].as_u64().unwrap(),
                        filtered: message["id"] == 1,
                    };
                    self.rooms.insert(room["room"].as_str().unwrap().to_owned(), followed);
                }
            }
            "unsubscribed" => {
                for room in message["rooms"].as_array().unwrap() {
                    if let Some(followed) = self.rooms.remove(room.as_str().unwrap()) {
                        self.left
                            .insert(room.as_str().unwrap().to_owned(), (followed.epoch, followed.position));
                    }
                }
            }
            "event" => {
                let offset = message["offset"].as_u64().unwrap();
                self.event(room, offset, &message["data"], published);
            }
            "batch" => {
                let data = message["data"].as_array().unwrap();
                let last = message["offset"].as_u64().unwrap();
                assert_eq!(message["seqs"].as_array().unwrap().len(), data.len());
                for (index, event) in data.iter().enumerate() {
                    let consecutive = last + 1 + index as u64 - data.len() as u64;
                    let offset =
                        message.get("offsets").map_or(consecutive, |list| list[index].as_u64().unwrap());
                    self.event(room, offset, event, published);
                }
            }
            "gap" => {
                self.gaps += 1;
                let followed = self.rooms.get_mut(room).unwrap();
                let (first, last) = (message["first"].as_u64().unwrap(), message["offset"].as_u64().unwrap());
                if message["reason"] == "epoch_changed" {
                    followed.epoch = message["epoch"].as_str().unwrap().to_owned();
                } else {
                    for between in followed.position + 1..first {
                        let passing = published[room][between as usize - 1] % 4 == 1;
                        assert!(followed.filtered && !passing, "{message} after {}", followed.position);
                    }
                    assert!(first > followed.position, "{message} after {}", followed.position);
                    assert!(last >= first, "{message}");
                    let missed = if followed.filtered { Value::Null } else { (last - first + 1).into() };
                    assert_eq!(message["missed"], missed, "{message}");
                }
                followed.position = last;
            }
            "position" => {
                let followed = self.rooms.get_mut(room).unwrap();
                assert!(followed.filtered);
                followed.position = message["offset"].as_u64().unwrap();
            }
            other => panic!("{other}"),
        }
    }

    fn event(&mut self, room: &str, offset: u64, event: &Value, published: &Published) {
        let number = self.number;
        let followed = self.rooms.get_mut(room).unwrap_or_else(|| panic!("client {number} is not in {room}"));
        let log = &published[room];
        assert_eq!(event["n"].as_u64().unwrap(), log[offset as usize - 1] / 4, "{room} offset {offset}");
        assert!(offset > followed.position, "{room} offset {offset} after {}", followed.position);
        for between in followed.position + 1..offset {
            let passing = log[between as usize - 1] % 4 == 1;
            assert!(
                followed.filtered && !passing,
                "client {number} in {room} missed {between} before {offset}"
            );
        }
        followed.position = offset;
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
        size_of::<super::client::Client>(),
        size_of::<super::client::Subscription>(),
        size_of::<super::view::View>(),
        size_of::<super::view::Seat>(),
    ];
    assert!(sizes.iter().sum::<usize>() <= 320, "{sizes:?}");
}
