//! Paces (`every`): what is new, at most so often; of each key the newest.

use crate::harness::{Client, Producer, Server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Their history has all that a test sends, so that its clients may read late.
const ROOMS: &str = "[room_defaults]\nhistory = { events = 10000, bytes = \"64MiB\" }\n[rooms.keyed]\ntypes = [\"t\"]\nkey = \"id\"\n[rooms.plain]\ntypes = [\"t\"]\n";

fn line(id: u64, n: u64) -> String {
    format!("{{\"type\":\"t\",\"id\":{id},\"n\":{n}}}\n")
}

/// What one subscription was sent.
#[derive(Default)]
struct Seen {
    newest: HashMap<u64, u64>,
    events: u64,
    skipped: u64,
    position: u64,
    frames: usize,
}

impl Seen {
    fn take(&mut self, message: &Value) {
        assert_eq!(message["type"], "batch", "{message}");
        let data = message["data"].as_array().unwrap();
        let position = message["offset"].as_u64().unwrap();
        let first = position + 1 - data.len() as u64;
        let offset = |index: usize| {
            message["offsets"].get(index).and_then(Value::as_u64).unwrap_or(first + index as u64)
        };
        assert!(
            data.len() <= 64 && offset(data.len() - 1) <= position && offset(0) > self.position,
            "{message}"
        );
        assert!((1..data.len()).all(|index| offset(index) > offset(index - 1)), "{message}");
        for event in data {
            self.newest.insert(event["id"].as_u64().unwrap(), event["n"].as_u64().unwrap());
        }
        self.events += data.len() as u64;
        self.skipped += message["skipped"].as_u64().unwrap_or(0);
        (self.position, self.frames) = (position, self.frames + 1);
    }

    async fn until(&mut self, client: &mut Client, position: u64) {
        while self.position < position {
            let message = client.next().await;
            self.take(&message);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_the_newest_of_every_key_at_each_beat() {
    const KEYS: u64 = 200;
    const EVENTS: u64 = 4000;
    let server = Server::start(ROOMS);
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(&server).await;
        client.subscribe(json!({ "room": "keyed", "every": "500ms" })).await;
        clients.push(client);
    }
    let began = Instant::now();
    let addr = server.ingest[0].clone();
    let producer = std::thread::spawn(move || {
        let mut producer = Producer::connect(&addr);
        for n in 0..EVENTS {
            producer.write(&line(n % KEYS, n));
        }
        producer.finish()
    });
    for client in &mut clients {
        let mut seen = Seen::default();
        seen.until(client, EVENTS).await;
        assert_eq!(seen.newest.len(), KEYS as usize);
        assert!(seen.newest.iter().all(|(id, n)| *n == EVENTS - KEYS + id), "{:?}", seen.newest);
        assert_eq!(seen.events + seen.skipped, EVENTS, "what was left out is counted");
        // At most so many sendings, each of every key once: 4 frames.
        let beats = began.elapsed().as_millis() as u64 / 500 + 2;
        assert!(seen.events <= beats * KEYS, "{} events in {beats} beats", seen.events);
    }
    assert_eq!(producer.join().unwrap().last().unwrap()["accepted"], EVENTS);
    let (sends, deliveries) =
        (server.metric("broadcastd_sends_total"), server.metric("broadcastd_deliveries_total"));
    assert!(deliveries < 5.0 * EVENTS as f64, "{deliveries} deliveries in {sends} sends");
}

#[tokio::test]
async fn without_a_key_nothing_is_left_out() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    client.subscribe(json!({ "room": "plain", "every": "250ms" })).await;
    let mut seen = Seen::default();
    let mut began = Instant::now();
    for round in 0..3 {
        let lines: String = (0..100).map(|n| line(1, round * 100 + n)).collect();
        server.pipe(&lines);
        seen.until(&mut client, (round + 1) * 100).await;
        if round > 0 {
            assert!(began.elapsed() >= Duration::from_millis(200), "a round took {:?}", began.elapsed());
        }
        began = Instant::now();
    }
    assert_eq!((seen.events, seen.skipped), (300, 0));
}

#[tokio::test]
async fn memory_is_worth_more_than_the_pace() {
    let server = Server::start(ROOMS);
    let mut clients = Vec::new();
    for room in ["plain", "keyed"] {
        let mut client = Client::connect(&server).await;
        client.subscribe(json!({ "room": room, "every": "60s" })).await;
        clients.push(client);
    }
    server.pipe(&line(0, 0));
    let pad = "x".repeat(1000);
    let lines: String =
        (1..=1500).map(|n| format!("{{\"type\":\"t\",\"id\":{n},\"n\":{n},\"pad\":\"{pad}\"}}\n")).collect();
    server.pipe(&lines);
    for (client, least) in clients.iter_mut().zip([1200, 900]) {
        let mut seen = Seen::default();
        seen.until(client, least).await;
        assert_eq!(seen.events, seen.position, "every key is another");
    }
}

#[tokio::test]
async fn it_comes_back_where_it_was() {
    let server = Server::start(ROOMS);
    let mut client = Client::connect(&server).await;
    let answer = client.subscribe(json!({ "room": "keyed", "every": "250ms" })).await;
    let lines: String = (0..300).map(|n| line(n % 10, n)).collect();
    server.pipe(&lines);
    let mut seen = Seen::default();
    seen.until(&mut client, 1).await;
    drop(client);
    let position = format!("{}:{}", answer["epoch"].as_str().unwrap(), seen.position);
    server.pipe(&lines.replace("\"n\":", "\"n\":9"));
    let mut client = Client::connect(&server).await;
    let request = json!({ "room": "keyed", "every": "250ms", "from": { "after": position } });
    assert_eq!(client.subscribe(request).await["resumed"], true);
    seen.until(&mut client, 600).await;
    assert_eq!(seen.newest.len(), 10);
    let newest = |id: u64| format!("9{}", 290 + id).parse::<u64>().unwrap();
    assert!(seen.newest.iter().all(|(id, n)| *n == newest(*id)), "{:?}", seen.newest);
    assert!(seen.events < 200, "pages are of the newest as well: {}", seen.events);
}

#[tokio::test]
async fn views_with_a_pace_are_bounded() {
    let server = Server::start(&format!("{ROOMS}[limits]\nviews = 2\n"));
    let mut client = Client::connect(&server).await;
    for (room, every, refused) in
        [("plain", "1s", false), ("keyed", "1s", false), ("plain", "2s", true), ("plain", "1s", false)]
    {
        let answer = client.subscribe(json!({ "room": room, "every": every })).await;
        assert_eq!(answer["error"]["code"] == "limit", refused, "{room} {every}: {answer}");
    }
    let answer = client.subscribe(json!({ "room": "plain", "where": "n == 1" })).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("limits.views"), "{answer}");
    client.send(json!({ "type": "unsubscribe", "rooms": ["plain", "keyed"] })).await;
    client.wait_for("unsubscribed").await;
    assert!(client.subscribe(json!({ "room": "plain", "every": "60s" })).await["error"].is_null());
}

#[tokio::test]
async fn streams_have_a_pace_too() {
    let server = Server::start(ROOMS);
    let mut stream = Producer::connect(&server.clients[0]);
    stream.write("GET /sse?room=keyed&every=250ms HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.read_until(|text| text.contains("\"type\":\"subscribed\""));
    let lines: String = (0..300).map(|n| line(n % 3, n)).collect();
    server.pipe(&lines);
    let text = stream.read_until(|text| text.contains(":300\ndata: ") && text.ends_with("\n\n"));
    let batches: Vec<&str> =
        text.split("\n\n").filter(|block| block.contains("\"type\":\"batch\"")).collect();
    let last: Value = serde_json::from_str(batches.last().unwrap().split_once("data: ").unwrap().1).unwrap();
    assert_eq!(last["offset"], 300);
    assert!(batches.iter().all(|block| block.starts_with("id: ")), "{text}");

    let mut bare = Producer::connect(&server.clients[0]);
    bare.write("GET /sse?room=keyed&every=250ms&raw=1 HTTP/1.0\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n");
    bare.read_until(|text| text.contains("\r\n\r\n"));
    server.until_metric("broadcastd_clients", |clients| clients == 2.0);
    server.pipe(&line(7, 7));
    let text = bare.read_until(|text| text.ends_with("}\n"));
    assert!(text.contains("\"n\":7}") && !text.contains("batch"), "{text}");

    let mut refused = Producer::connect(&server.clients[0]);
    refused.write("GET /sse?room=keyed&every=2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(refused.read_to_end().contains("`every` cannot be `2`"));
}

#[tokio::test]
async fn encoding_follows_views_and_not_clients() {
    const FILTERS: u64 = 10;
    const CLIENTS: u64 = 1_000;
    // Their descriptors, beside those of the tests that run meanwhile.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let server = Server::start(&format!("[server]\nshards = 1\n{ROOMS}"));
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let mut client = Client::connect(&server).await;
        // A tenth of what has a small id, and everything else.
        let condition = format!("id == {} || id >= 100", index % FILTERS);
        client.subscribe(json!({ "room": "plain", "where": condition })).await;
        clients.push(client);
    }
    let encoded = |events: f64, why: &str| {
        let counted = server.until_metric("broadcastd_shard_pass_events_total", |counted| counted >= events);
        assert_eq!(counted, events, "{why}");
    };
    let lines: String = (0..100).map(|n| line(n % FILTERS, n)).collect();
    server.pipe(&lines);
    for client in &mut clients {
        assert_eq!(client.events(10).await.len(), 10);
    }
    encoded(100.0, "each event once, for the one view that it passes in");
    server.pipe(&(0..10).map(|n| line(100 + n, n)).collect::<String>());
    for client in &mut clients {
        assert_eq!(client.events(10).await.len(), 10);
    }
    encoded(200.0, "each of ten events once for each of ten views, for a thousand clients");
}
