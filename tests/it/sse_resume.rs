//! Clients that lose their connections all the time: at the seam nothing is missing and nothing comes twice.

use crate::event_stream::{EventStream, request};
use crate::harness::{Client, Producer, Server};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Numbers that look random (SplitMix64). The seed is printed, and taken from `SEED`.
struct Random(u64);

impl Random {
    fn new(salt: u64) -> Random {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = seed.unwrap_or_else(|| now().as_nanos() as u64);
        println!("SEED={seed}");
        Random(seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Publishes until it is told to stop, and never far ahead of a reader: rounds of an event for each of three agents, numbered
/// from 1.
struct Publisher {
    rounds: AtomicU64,
    /// Rounds that the reader has had.
    read: AtomicU64,
    stop: AtomicBool,
}

impl Publisher {
    /// Goes on while no more than [`AHEAD`](Self::AHEAD) rounds are unread; `read` is where its reader begins.
    fn new(read: u64) -> Publisher {
        Publisher { rounds: AtomicU64::new(0), read: AtomicU64::new(read), stop: AtomicBool::new(false) }
    }

    /// Rounds that may be unread: more than sockets hold.
    const AHEAD: u64 = 3000;

    /// Rounds of one write.
    const AT_ONCE: u64 = 2;

    fn run(&self, ingest: &str) {
        let fill = "f".repeat(300);
        while !self.stop.load(Ordering::Acquire) {
            let first = self.rounds.load(Ordering::Acquire) + 1;
            if first > self.read.load(Ordering::Acquire).saturating_add(Publisher::AHEAD) {
                std::thread::yield_now();
                continue;
            }
            let mut lines = String::new();
            for n in first..first + Publisher::AT_ONCE {
                for agent in 1..=3 {
                    let keep = n % 3 == 0;
                    lines += &format!(
                        "{{\"type\":\"t\",\"agentId\":\"{agent}\",\"n\":{n},\"keep\":{keep},\"fill\":\"{fill}\"}}\n"
                    );
                }
            }
            let mut producer = Producer::connect(ingest);
            producer.write(&lines);
            producer.finish();
            self.rounds.store(first + Publisher::AT_ONCE - 1, Ordering::Release);
        }
    }

    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }
}

const ROOMS: &str = "[rooms.\"agent:{agentId}\"]\ntypes = [\"*\"]\nhistory = { events = 1000000, bytes = \"1GiB\" }\n\
                     [limits]\nhistory_memory = \"4GiB\"\n[limits.client]\nunsent = \"4KiB\"\n";

/// The events of a block, alone, in a batch or bare.
fn events(message: &Value) -> Vec<&Value> {
    match message["type"].as_str() {
        Some("event") => vec![&message["data"]],
        Some("batch") => message["data"].as_array().unwrap().iter().collect(),
        Some("t") => vec![message],
        Some("welcome" | "subscribed") => vec![],
        _ => panic!("{message}"),
    }
}

/// What a reader has of each agent.
#[derive(Default)]
struct Had(HashMap<u64, u64>);

impl Had {
    /// Events of one agent follow each other by `step`.
    fn take(&mut self, event: &Value, step: u64) {
        let agent = event["agentId"].as_str().unwrap().parse().unwrap();
        let had = self.0.entry(agent).or_insert(0);
        assert_eq!(event["n"], *had + step, "of agent {agent}, after {had}");
        *had += step;
    }

    fn least(&self, rooms: usize) -> u64 {
        if self.0.len() < rooms { 0 } else { self.0.values().copied().min().unwrap() }
    }
}

/// Reads a stream of rooms over a small buffer, cut after any number of bytes, until it has everything.
fn follow(server: &Server, rooms: usize, more: &str, cuts: u64, step: u64) {
    let mut random = Random::new(cuts + rooms as u64);
    let publisher = Publisher::new(0);
    let names: String = (1..=rooms).map(|agent| format!("room=agent%3A{agent}&")).collect();
    let path = format!("/sse?{names}from=start{more}");
    let (clients, ingest) = (&server.clients[0], &server.ingest[0]);
    let (mut had, mut id) = (Had::default(), String::new());
    std::thread::scope(|scope| {
        let mut publishing = Some(scope.spawn(|| publisher.run(ingest)));
        // A failed assertion must not leave the publisher running, or the scope would wait for ever.
        let stop = StopOnDrop(&publisher.stop);
        for cut in 0.. {
            let is_last = cut >= cuts;
            assert!(cut < 2 * cuts, "it comes back and back, and never has everything");
            if let Some(publishing) = publishing.take_if(|_| is_last) {
                publisher.stop.store(true, Ordering::Release);
                publishing.join().unwrap();
            }
            let header = [("Last-Event-ID", id.as_str())];
            let headers = if id.is_empty() { &[][..] } else { &header[..] };
            let asked = request("GET", &path, "1.1", headers);
            let mut stream = EventStream::ask(clients, Some(2048), &asked);
            let most = if random.below(4) == 0 { 700 } else { 40_000 };
            let mut budget = 1 + random.below(most);
            while is_last || budget > 0 {
                let wanted = 1 + random.below(5000);
                let read = stream.read(if is_last { 65_536 } else { wanted.min(budget) as usize });
                if read == 0 {
                    // The daemon gave up who was stalled for some of its short heartbeats: a cut like others.
                    break;
                }
                budget = budget.saturating_sub(read as u64);
                if !stream.take_head() {
                    continue;
                }
                while let Some(block) = stream.take_block() {
                    if block.data.is_some() {
                        for event in events(&block.json()) {
                            had.take(event, step);
                        }
                    }
                }
                publisher.read.store(had.least(rooms), Ordering::Release);
                if is_last && had.least(rooms) + step > publisher.rounds() {
                    drop(stop);
                    return;
                }
            }
            if !stream.last_id.is_empty() {
                id.clone_from(&stream.last_id);
            }
        }
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn one_room_goes_on_after_any_byte() {
    let server = Server::start(ROOMS);
    follow(&server, 1, "", 100, 1);
}

#[test]
fn several_rooms_go_on_after_any_byte() {
    let server = Server::start(ROOMS);
    follow(&server, 3, "", 200, 1);
    assert!(server.metric("broadcastd_short_sends_total") > 0.0, "sockets were full");
    assert_eq!(server.metric("broadcastd_gaps_total"), 0.0);
}

#[test]
fn several_rooms_of_bare_events_go_on_after_any_byte() {
    let server = Server::start(ROOMS);
    follow(&server, 3, "&raw=1", 100, 1);
}

#[test]
fn several_rooms_with_a_filter_go_on_after_any_byte() {
    let server = Server::start(&format!("[server]\nheartbeat = \"100ms\"\n{ROOMS}"));
    follow(&server, 3, "&where=keep%20%3D%3D%20true&event=room", 100, 3);
}

/// What a client has had of one room: events and gaps, each after the one before.
#[derive(Default)]
struct Seam {
    epoch: String,
    offset: u64,
    had: u64,
    missed: u64,
}

impl Seam {
    fn take(&mut self, message: &Value) {
        let Some(offset) = message["offset"].as_u64() else { return };
        let first = match message["type"].as_str() {
            Some("gap") => {
                let first = message["first"].as_u64().unwrap();
                assert_eq!(message["missed"], offset + 1 - first, "{message}");
                self.missed += offset + 1 - first;
                first
            }
            Some("event") => {
                self.had += 1;
                offset
            }
            Some("batch") => {
                let count = message["data"].as_array().unwrap().len() as u64;
                self.had += count;
                offset + 1 - count
            }
            _ => panic!("{message}"),
        };
        assert_eq!(first, self.offset + 1, "after {}: {message}", self.offset);
        self.offset = offset;
    }
}

/// What all the clients of a storm do together.
struct Storm {
    clients: String,
    publisher: Publisher,
    reconnects: AtomicU64,
    seams: Mutex<Vec<Seam>>,
}

/// Reconnects of each client. Each eighth time it stays away until history has lost something.
const RECONNECTS: u64 = 40;
const HISTORY: u64 = 1500;

impl Storm {
    /// Whether a client may come back for the so-manieth time.
    fn may_return(&self, time: u64, left_at: u64) -> bool {
        time % 8 != 7 || self.publisher.rounds() > left_at + 2 * HISTORY
    }

    fn sse(&self, salt: u64) {
        let (mut random, mut seam, mut id) = (Random::new(salt), Seam::default(), String::new());
        let mut left_at = 0;
        for time in 0..RECONNECTS {
            while !self.may_return(time, left_at) {
                std::thread::yield_now();
            }
            let header = [("Last-Event-ID", id.as_str())];
            let headers = if time == 0 { &[][..] } else { &header[..] };
            let path = "/sse?room=agent%3A1&from=start";
            let mut stream = EventStream::open(&self.clients, path, headers);
            let mut events = random.below(60);
            while events > 0 || stream.last_id.is_empty() {
                let Some(block) = stream.next_block() else { panic!("the stream has ended") };
                let Some(_) = block.data else { continue };
                let message = block.json();
                if message["type"] == "subscribed" && time == 0 {
                    seam.offset = message["rooms"][0]["offset"].as_u64().unwrap();
                    seam.missed = seam.offset;
                }
                if block.id.is_some() && message["type"] != "subscribed" {
                    seam.take(&message);
                    events = events.saturating_sub(1);
                }
            }
            id.clone_from(&stream.last_id);
            left_at = self.publisher.rounds();
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.seams.lock().unwrap().push(seam);
    }

    async fn websocket(&self, salt: u64) {
        let (mut random, mut seam) = (Random::new(salt), Seam::default());
        let mut left_at = 0;
        for time in 0..RECONNECTS {
            while !self.may_return(time, left_at) {
                tokio::task::yield_now().await;
            }
            let mut client = Client::connect_to(&format!("ws://{}/ws", self.clients)).await;
            let from = if time == 0 {
                json!("start")
            } else {
                json!({ "after": format!("{}:{}", seam.epoch, seam.offset) })
            };
            let answer = client.subscribe(json!({ "room": "agent:1", "from": from })).await;
            if time == 0 {
                seam.epoch = answer["epoch"].as_str().unwrap().to_owned();
                seam.offset = answer["offset"].as_u64().unwrap();
                seam.missed = seam.offset;
            }
            assert_eq!(answer["epoch"], seam.epoch);
            for _ in 0..random.below(60) {
                let message = client.next().await;
                seam.take(&message);
            }
            left_at = self.publisher.rounds();
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.seams.lock().unwrap().push(seam);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundreds_of_reconnects_while_history_goes_leave_no_seam() {
    let config = ROOMS.replace("events = 1000000", &format!("events = {HISTORY}"));
    let server = Server::start(&config);
    let storm = Arc::new(Storm {
        clients: server.clients[0].clone(),
        // Its readers are behind on purpose.
        publisher: Publisher::new(u64::MAX),
        reconnects: AtomicU64::new(0),
        seams: Mutex::default(),
    });
    let publishing = {
        let (storm, ingest) = (Arc::clone(&storm), server.ingest[0].clone());
        std::thread::spawn(move || storm.publisher.run(&ingest))
    };
    let mut clients = tokio::task::JoinSet::new();
    for salt in 0..5 {
        let (listening, talking) = (Arc::clone(&storm), Arc::clone(&storm));
        clients.spawn_blocking(move || listening.sse(salt));
        clients.spawn(async move { talking.websocket(100 + salt).await });
    }
    let mut outcome = Ok(());
    while let Some(ended) = clients.join_next().await {
        outcome = outcome.and(ended);
    }
    storm.publisher.stop.store(true, Ordering::Release);
    publishing.join().unwrap();
    outcome.unwrap();
    assert_eq!(storm.reconnects.load(Ordering::Relaxed), 10 * RECONNECTS);
    let seams = storm.seams.lock().unwrap();
    let (had, missed) =
        seams.iter().fold((0, 0), |(had, missed), seam| (had + seam.had, missed + seam.missed));
    assert!(had > 1000 && missed > 10 * HISTORY, "{had} had, {missed} in gaps");
    assert!(
        seams.iter().all(|seam| seam.had + seam.missed == seam.offset),
        "an event or a gap for every offset"
    );
}
